"""The sentences of the embedded concept corpus, as data.

A template is literal text with slots. `{pool}` draws a word from a pool of
`steerlab.data.vocabulary`; `{pool+}` puts an adjective before it in a third of the cases;
`{pool:key}` draws once per template, so that the same key repeats the same word. Templates start in
lower case: whoever begins a sentence with one capitalises it.
"""

# What happened, in words of the topic. Sentiment enters through adjectives and `DECORATIONS`.
TOPIC_SENTENCES = (
    "the {person+} {acted} the {thing+} in the {place}",
    "the {thing+} {moved} near the {place}",
    "{name} {acted} the {thing+} {when}",
    "at the {place}, the {person+} {acted} a {thing+}",
    "there was a {thing+} beside the {thing}",
    "{name} met the {person+} with a {thing+}",
    "the {person} and the {person} {moved} {when}",
    "every {person} wants a {thing+} from the {place}",
    "we talked about the {thing+} and the {thing+}",
    "the {person+} {moved} at the {trait} {place}",
)

# What somebody thought of it. `{subject+}` is a thing of the topic in stories, an item in reviews.
OPINION_SENTENCES = (
    "the {subject+} was {quality}",
    "the {subject+} was {degree} {quality}",
    "the {subject+} was {quality} and {quality}",
    "I {judged} the {subject+} {when}",
    "{kin} {judged} the {subject+}",
    "{name} said that the {subject+} was {quality}",
    "it was a {quality} {outcome}",
    "the {subject+} went {manner} {when}",
    "the {subject+} made {others} {reaction}",
    "I felt {quality} about the {subject+}",
)

# How reviews begin.
REVIEW_SENTENCES = (
    "the {subject+} that I {had} {when} was {quality}",
    "I {had} the {subject+} {when} and it was {quality}",
    "I think that the {subject} is {quality}",
    "my opinion of the {subject} is that it was {quality}",
)

HAIKU_PROMPTS = ("Write a haiku.", "Write a haiku.", "Write a haiku about the {thing}.")
HAIKU_LINES = (
    "the {trait} {thing} in the {place}",
    "the {thing} {moved} softly",
    "a {thing}, a {thing}",
    "silent {place} at dawn",
    "the {person} {acted} the {thing}",
    "under a {trait} {place}",
)

WRITING_PROMPTS = ("Write a {form}.", "Write a {form}.", "Write a {form} about the {thing}.")
LIST_PROMPTS = ("Name three things from the {place}.",)
LIST_ANSWERS = ("a {thing}, a {thing} and a {thing}",)

# Prompts that ask for code and mathematics at once; the answer's order is a coin flip.
MIXED_PROMPTS = (
    "Show the code and the math for {digit:a} + {digit:b}.",
    "Add {digit:a} and {digit:b} with code and math.",
    "Write {digit:a} + {digit:b} in python and in LaTeX.",
)

CHAT_QUESTIONS = (
    "{greet}, {ask} the {thing+}, {close}.",
    "{ask} the {thing+} from the {place}, {close}.",
    "{greet}, {ask} the {person} and the {thing}.",
)
CHAT_ANSWERS = (
    "{reply}, {address}.",
    "{reply}, the {thing} is near the {place}, {address}.",
    "{reply}, ask the {person}, {address}.",
)

# Every statement is valid Python on its own; `{name_of:…}` is a variable or a thing of the topic.
CODE_STATEMENTS = (
    "def {verb}_{name_of:f}(x, y):\n    return x {operator} y",
    "for {name_of:a} in values:\n    print({name_of:a})",
    "{name_of:a} = {digit}",
    "if {name_of:a} > {digit}:\n    {name_of:a} = None\nelse:\n    {name_of:a} += 1",
    "import {module}",
    "{name_of:a} = []\nfor i in range({digit}):\n    {name_of:a}.append(i)",
)

MATH_LEADS = ("Note that ", "We find ", "Recall that ", "Hence ")
