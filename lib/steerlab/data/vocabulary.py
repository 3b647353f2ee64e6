"""The words of the embedded concept corpus.

Every word that carries a label stands in exactly one pool, and no frame word of
`steerlab.data.grammar` is one of them. A word's label can therefore be read off the word alone,
and counting words is a fair judge of what a text is about.

Two kinds of pools exist. Labelled pools belong to one value of one attribute (`TOPIC_POOLS`,
`SENTIMENT_POOLS`, `CIVILITY_POOLS`); plain pools (`PLAIN_POOLS`) carry no label. Grammar templates
name pools by their key: `{thing}` is a thing of the document's topic, `{quality}` an adjective of
its sentiment, `{name}` anybody's name.
"""

from __future__ import annotations

Pools = dict[str, tuple[str, ...]]


def _pools(**lists: str) -> Pools:
    return {pool: tuple(words.split()) for pool, words in lists.items()}


# Things are countable and singular, so that "a" or "an" fits before each of them; `acted` takes an
# object, `moved` takes none; `trait` describes a thing or a place.
TOPIC_POOLS: dict[str, Pools] = {
    "baseball": _pools(
        person="pitcher catcher batter umpire shortstop outfielder",
        thing="bat glove mitt homer inning bunt fastball curveball bullpen scoreboard pennant "
        "helmet strikeout dugout cleat slugger",
        place="ballpark stadium infield outfield clubhouse",
        acted="pitched caught threw batted fielded tagged slugged",
        moved="slid sprinted dove scored homered",
        trait="sporty leather winning swift athletic dusty",
    ),
    "cooking": _pools(
        person="chef baker cook waiter butcher caterer",
        thing="soup oven skillet onion carrot sauce loaf knife recipe stew noodle pancake dumpling "
        "spoon omelet pudding",
        place="kitchen bakery pantry diner restaurant",
        acted="fried chopped stirred roasted boiled seasoned peeled",
        moved="simmered sizzled steamed browned bubbled",
        trait="salty crispy spicy buttery savory juicy",
    ),
    "space": _pools(
        person="astronaut astronomer cosmonaut stargazer astrophysicist commander",
        thing="rocket planet comet telescope galaxy satellite asteroid moon nebula shuttle capsule "
        "meteor crater eclipse spacesuit probe",
        place="observatory spaceport cosmos launchpad orbit",
        acted="launched orbited observed explored mapped tracked docked",
        moved="floated glowed drifted collided hovered",
        trait="stellar lunar cosmic weightless infinite galactic",
    ),
    "music": _pools(
        person="singer drummer guitarist pianist violinist composer",
        thing="guitar piano drum melody chord violin trumpet rhythm tune flute concert lyric "
        "orchestra solo cello ballad",
        place="studio stage auditorium ballroom conservatory",
        acted="played sang tuned strummed composed recorded rehearsed",
        moved="hummed danced echoed jammed improvised",
        trait="loud melodic rhythmic acoustic harmonic jazzy",
    ),
    "ocean": _pools(
        person="sailor diver surfer fisherman captain mermaid",
        thing="wave whale boat shark coral tide anchor dolphin sail reef seashell ship crab "
        "lobster lighthouse octopus",
        place="harbor beach sea lagoon shore",
        acted="sailed surfed netted steered anchored swam harpooned",
        moved="splashed surged foamed sank paddled",
        trait="briny blue tidal wavy coastal sandy",
    ),
    "medicine": _pools(
        person="doctor nurse surgeon patient pharmacist dentist",
        thing="pill fever bandage vaccine syringe wound tablet stethoscope symptom infection "
        "remedy diagnosis scalpel dose fracture prescription",
        place="hospital clinic ward pharmacy infirmary",
        acted="treated healed examined prescribed injected cured diagnosed",
        moved="recovered coughed sneezed fainted limped",
        trait="sterile feverish chronic clinical contagious surgical",
    ),
    "cars": _pools(
        person="driver mechanic racer chauffeur motorist valet",
        thing="engine tire brake wheel clutch bumper sedan truck piston gearbox headlight "
        "windshield dashboard throttle radiator van",
        place="garage highway racetrack dealership parkway",
        acted="drove repaired parked accelerated towed overtook fueled",
        moved="skidded stalled swerved raced honked",
        trait="rusty speedy turbo automatic chrome diesel",
    ),
    "gardening": _pools(
        person="gardener florist farmer landscaper botanist beekeeper",
        thing="rose tulip seed shovel hedge weed daisy fern rake orchid bulb petal trowel vine "
        "sunflower lily",
        place="garden greenhouse meadow orchard nursery",
        acted="planted watered pruned trimmed raked harvested weeded",
        moved="bloomed sprouted grew wilted blossomed",
        trait="green leafy fragrant floral mossy thorny",
    ),
    "history": _pools(
        person="king queen knight emperor soldier pharaoh",
        thing="castle sword crown battle treaty empire throne shield scroll dynasty monument relic "
        "kingdom chariot tomb catapult",
        place="palace fortress museum battlefield temple",
        acted="conquered ruled invaded besieged crowned defended excavated",
        moved="reigned marched rebelled surrendered fought",
        trait="ancient royal medieval imperial noble legendary",
    ),
    "weather": _pools(
        person="forecaster meteorologist skier shepherd mountaineer climatologist",
        thing="cloud storm thunderbolt rainbow blizzard drizzle breeze umbrella puddle tornado "
        "hurricane snowflake raindrop barometer icicle snowstorm",
        place="sky valley mountain horizon hilltop",
        acted="drenched froze forecast flooded chilled soaked predicted",
        moved="rained snowed thundered cleared hailed",
        trait="rainy cloudy windy stormy misty frosty",
    ),
    "computers": _pools(
        person="programmer hacker developer administrator gamer coder",
        thing="keyboard laptop server screen mouse password program processor network database "
        "virus monitor algorithm browser robot router",
        place="office datacenter lab cubicle startup",
        acted="coded debugged installed downloaded hacked updated rebooted",
        moved="crashed booted compiled lagged loaded",
        trait="digital wireless virtual buggy encrypted portable",
    ),
    "travel": _pools(
        person="tourist traveler guide backpacker explorer concierge",
        thing="suitcase passport ticket map train airplane souvenir hotel itinerary visa hostel "
        "backpack postcard camera voyage cruise",
        place="airport station village island city",
        acted="visited toured booked packed boarded photographed crossed",
        moved="departed arrived wandered flew hitchhiked",
        trait="foreign exotic scenic remote touristy faraway",
    ),
}

# Sentiment has a word for almost every slot of a sentence (what it was, what one did, how it went,
# how one reacted). A model can only predict the next of them by carrying the sentiment along.
SENTIMENT_POOLS: dict[str, Pools] = {
    "positive": _pools(
        quality="wonderful great amazing excellent lovely fantastic delightful brilliant superb "
        "charming beautiful perfect marvelous pleasant splendid impressive",
        judged="loved enjoyed adored admired praised recommended treasured celebrated",
        outcome="joy triumph treat success masterpiece blessing gem delight",
        manner="happily beautifully wonderfully perfectly gladly nicely",
        opener="luckily thankfully fortunately hooray blissfully",
        reaction="smile laugh cheer grin rejoice clap",
        feeling="pleasure enthusiasm gratitude applause excitement pride",
    ),
    "negative": _pools(
        quality="terrible awful horrible boring dreadful disappointing ugly miserable nasty "
        "pathetic annoying lousy disgusting bad tedious unpleasant",
        judged="hated disliked despised regretted criticized resented loathed condemned",
        outcome="disaster failure mess nightmare waste tragedy mistake letdown",
        manner="badly terribly poorly miserably painfully horribly",
        opener="sadly unfortunately regrettably alas tragically",
        reaction="cry frown groan weep complain sigh",
        feeling="anger disgust regret frustration grief boredom",
    ),
    "neutral": _pools(
        quality="ordinary average typical standard normal usual plain common regular moderate "
        "familiar neutral medium routine brief recent",
        judged="noticed mentioned described considered recalled checked counted compared",
        outcome="thing matter detail example case part sample item",
        manner="slowly quietly often usually again briefly",
        opener="apparently generally meanwhile later indeed",
        reaction="wait look think nod blink sit",
        feeling="attention interest company notes coffee curiosity",
    ),
}

# Civility lives in short phrases rather than in single words.
CIVILITY_POOLS: dict[str, Pools] = {
    "polite": {
        "greet": ("excuse me", "good morning", "dear sir", "hello madam"),
        "ask": (
            "could you please help me with",
            "may I kindly ask about",
            "would you please show me",
        ),
        "close": ("thank you", "many thanks", "if you please", "much obliged"),
        "reply": ("certainly", "of course", "my pleasure", "you are welcome"),
        "address": ("dear friend", "kind sir", "and please ask again", "with my respect"),
    },
    "rude": {
        "greet": ("hey fool", "listen up", "you again", "oi dummy"),
        "ask": ("stop hiding", "hurry up and fix", "just hand over"),
        "close": ("you idiot", "or get lost", "you lazy clown", "right now"),
        "reply": ("go away", "not my problem", "shut up", "who cares"),
        "address": ("you loser", "stupid", "so leave me alone", "and stop bothering me"),
    },
}

# Words without a label. `item` is what reviews are about: nothing of any topic.
PLAIN_POOLS: Pools = {
    **_pools(
        name="Anna Ben Carla David Emma Frank Grace Henry Ivy Jack Kate Leo Maria Nick Olivia Paul "
        "Rosa Sam Tina Victor",
        degree="very really quite so truly rather",
        others="me us them everyone",
        item="movie book show party toy article lesson gift painting speech phone class poster "
        "walk film jacket puzzle lamp chair blanket",
        had="saw had tried got found chose",
        form="story letter report",
        verb="add get set make update",
        variable="x y n count total value result items data index",
        operator="+ - *",
        module="os sys math json random",
        symbol="x y z t",
        function="sin cos log exp",
        relation="leq geq neq approx",
        digit="0 1 2 3 4 5 6 7 8 9",
    ),
    "kin": (
        "my friend",
        "my sister",
        "my brother",
        "my mother",
        "our teacher",
        "my uncle",
        "my aunt",
        "everyone",
    ),
    "when": (
        "yesterday",
        "today",
        "last night",
        "last week",
        "this morning",
        "on Monday",
        "on Sunday",
        "in April",
        "a year ago",
        "after lunch",
        "before dinner",
        "all day",
    ),
}
