"""The hand that writes the corpus: draws words, fills templates, places spans, accounts for nats."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

from steerlab.data import grammar
from steerlab.data.vocabulary import (
    CIVILITY_POOLS,
    PLAIN_POOLS,
    SENTIMENT_POOLS,
    TOPIC_POOLS,
    Pools,
)

TOPICS: tuple[str, ...] = tuple(TOPIC_POOLS)
SENTIMENTS = ("positive", "negative", "neutral")
CIVILITIES = ("polite", "rude")
REGISTERS = ("story", "review", "chat", "code", "math", "haiku", "instruction")

SENTIMENT_NOISE = 0.12
TOPIC_NOISE = 0.06
CIVILITY_NOISE = 0.06

VALUES = {
    "register": REGISTERS,
    "topic": TOPICS,
    "sentiment": SENTIMENTS,
    "civility": CIVILITIES,
}
_LABELLED: dict[str, tuple[dict[str, Pools], float]] = {
    "topic": (TOPIC_POOLS, TOPIC_NOISE),
    "sentiment": (SENTIMENT_POOLS, SENTIMENT_NOISE),
    "civility": (CIVILITY_POOLS, CIVILITY_NOISE),
}
_ATTRIBUTE_OF_POOL = {
    pool: attribute
    for attribute, (pools, _) in _LABELLED.items()
    for pool in pools[VALUES[attribute][0]]
}

T = TypeVar("T")
_Labelled = tuple[str, str | None, str | None]  # text, attribute, value


@dataclass(frozen=True)
class Span:
    """Characters `start:end` of a text carry `value` of `attribute`.

    `attribute` is "topic", "sentiment", "civility" or "register". Spans of one attribute never
    overlap. A word's span names the word's own class, which noise lets differ from the document's.
    """

    start: int
    end: int
    attribute: str
    value: str


@dataclass(frozen=True)
class _Slot:
    pool: str
    key: str | None
    adjective: bool


@cache
def _parse(template: str) -> tuple[str | _Slot, ...]:
    parts: list[str | _Slot] = []
    for part in re.split(r"(\{\w+\+?(?::\w+)?\})", template):
        slot = re.fullmatch(r"\{(\w+)(\+?)(?::(\w+))?\}", part)
        if slot:
            parts.append(_Slot(slot[1], slot[3], bool(slot[2])))
        elif part:
            parts.append(part)
    return tuple(parts)


class Writer:
    """Writes one text from given labels: draws words, places spans, keeps account of nats."""

    def __init__(self, rng: random.Random, labels: Mapping[str, str]):
        self.rng = rng
        self.labels = labels
        self.text = ""
        self.spans: list[Span] = []
        self.nats = 0.0
        self._capital = False

    # Draws. Each adds −log of its probability to the account.

    def pick(self, options: Sequence[T]) -> T:
        option = options[int(self.rng.random() * len(options))]
        self.nats -= math.log(options.count(option) / len(options))
        return option

    def chance(self, probability: float) -> bool:
        happens = self.rng.random() < probability
        self.nats -= math.log(probability if happens else 1 - probability)
        return happens

    def weighted(self, weights: Mapping[T, float]) -> T:
        value = self.rng.choices(list(weights), list(weights.values()))[0]
        self.nats -= math.log(weights[value] / sum(weights.values()))
        return value

    def word(self, pool: str) -> _Labelled:
        """A word of `pool` with its attribute and value; a labelled pool may give a noise word."""
        attribute = _ATTRIBUTE_OF_POOL.get(pool)
        if attribute is None:
            return self.pick(PLAIN_POOLS[pool]), None, None
        pools, noise = _LABELLED[attribute]
        value = self.labels[attribute]
        if self.rng.random() < noise:
            value = self.rng.choice(tuple(pools))
        # The right value can also come up as noise: what counts is its whole probability.
        probability = noise / len(pools) + (1 - noise) * (value == self.labels[attribute])
        self.nats -= math.log(probability)
        return self.pick(pools[value][pool]), attribute, value

    # Writing.

    def put(self, text: str, attribute: str | None = None, value: str | None = None) -> None:
        """Append text, as a labelled span if it has a label; mend "a" before a vowel."""
        vowel = text[0] in "aeiou" and not text.startswith("us")
        if vowel and re.search(r"\b[aA] $", self.text[-3:]):
            self.text = self.text[:-1] + "n "
        if self._capital:
            text = text[0].upper() + text[1:]
            self._capital = False
        if attribute is not None and value is not None:
            self.spans.append(Span(len(self.text), len(self.text) + len(text), attribute, value))
        self.text += text

    def fill(self, template: str) -> dict[str, _Labelled]:
        """Write a template; returns the words bound to its keys."""
        bound: dict[str, _Labelled] = {}
        for part in _parse(template):
            if isinstance(part, str):
                self.put(part)
                continue
            if part.adjective and self.chance(0.35):
                self.put(*self._adjective())
                self.put(" ")
            if part.key is None:
                self.put(*self._draw(part.pool))
                continue
            key = f"{part.pool}:{part.key}"
            if key not in bound:
                bound[key] = self._draw(part.pool)
            self.put(*bound[key])
        return bound

    def _draw(self, pool: str) -> _Labelled:
        if pool == "name_of":  # an identifier in code
            pool = "thing" if self.chance(0.3) else "variable"
        return self.word(pool)

    def _adjective(self) -> _Labelled:
        carried = [p for p, a in (("quality", "sentiment"), ("trait", "topic")) if a in self.labels]
        return self.word(self.pick(carried))

    # Sentences.

    def begin(self) -> None:
        if self.text and not self.text[-1].isspace():
            self.put(" ")
        self._capital = True

    def opinion(self, templates: Sequence[str], subject: str) -> None:
        """A sentence that judges `subject` ("thing" of the topic, or "item" of no topic)."""
        self.decorated(self.pick(templates).replace("{subject", "{" + subject), 0.35, 0.25)

    def topical(self) -> None:
        """A sentence about the topic, coloured by the sentiment if there is one."""
        template = self.pick(grammar.TOPIC_SENTENCES)
        if "sentiment" in self.labels:
            if self.chance(0.3):
                template += " {manner}"
            self.decorated(template, 0.2, 0.1)
        else:
            self.decorated(template, 0, 0)

    def decorated(self, template: str, opener: float, feeling: float) -> None:
        """A sentence, with an opener or a closing feeling at these probabilities."""
        self.begin()
        if opener and self.chance(opener):
            self.fill("{opener}, ")
        self.fill(template)
        if feeling and self.chance(feeling):
            self.fill(" with {feeling}")
        self.put(".")
