"""A labelled corpus that the package generates: what the embedded model reads and is probed with.

Every document is drawn from hidden labels (a topic, a sentiment, a civility) and a register. The
labels are *soft*: a slot meant for the document's sentiment takes a word of any sentiment in 12% of
the cases, a topic slot a word of any topic in 6%. With hard labels one word would settle the label
and a language model could look it up when needed; with soft labels the evidence has to be carried
along, and that running belief is what the course finds and steers.

The generator keeps account of the probability of everything it draws. `Document.nats` is
−log p(text, labels), so the mean over documents per token bounds what any language model of this
corpus can reach from above, and closely: it exceeds the entropy of the text by no more than what
the text leaves open about its labels.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from steerlab.data import grammar
from steerlab.data.registers import FORMS, Form, review_opening
from steerlab.data.vocabulary import SENTIMENT_POOLS, TOPIC_POOLS
from steerlab.data.writer import CIVILITIES, REGISTERS, SENTIMENTS, TOPICS, VALUES, Span, Writer

__all__ = [
    "CIVILITIES",
    "REGISTERS",
    "SENTIMENTS",
    "TOPICS",
    "Document",
    "Span",
    "generate",
    "sentences",
    "sentiment_words",
    "token_labels",
    "topic_words",
]


@dataclass(frozen=True)
class Document:
    """One text with the labels it was drawn from; a label its register does not carry is None.

    `nats` is −log p(text, labels) under the generator, given the filters it was drawn with.
    """

    text: str
    register: str
    topic: str | None
    sentiment: str | None
    civility: str | None
    spans: tuple[Span, ...]
    nats: float


def generate(
    n: int,
    seed: int,
    *,
    register: str | None = None,
    topic: str | None = None,
    sentiment: str | None = None,
    civility: str | None = None,
) -> list[Document]:
    """Draw `n` documents; the same arguments give the same documents.

    Filters condition the draw: only registers that carry every attribute asked for take part.
    Raises ValueError for an unknown value, and where no document carries all that is asked for.
    """
    if n < 0:
        raise ValueError(f"generate: n must be 0 or more, not {n}.")
    filters = {"topic": topic, "sentiment": sentiment, "civility": civility}
    asked = {attribute: value for attribute, value in filters.items() if value is not None}
    for attribute, value in asked.items():
        _check_value(attribute, value)
    if register is not None:
        _check_value("register", register)
    forms = [f for f in FORMS if register in (None, f.register) and set(asked) <= set(f.carries)]
    if not forms:
        where = f"of register {register!r} " if register else ""
        what = " and ".join(asked)
        raise ValueError(f"generate: no document {where}carries {what}; leave out a filter.")
    rng = random.Random(f"steerlab-corpus-{seed}")
    return [_draw_document(rng, forms, asked) for _ in range(n)]


def sentences(sentiment: str, n: int, seed: int) -> list[str]:
    """Draw `n` single opinions of one sentiment, half from reviews, half from stories.

    Each holds at least one word of that sentiment; noise leaves some words of others in.
    Raises ValueError for an unknown sentiment.
    """
    _check_value("sentiment", sentiment)
    rng = random.Random(f"steerlab-sentences-{seed}")
    drawn: list[str] = []
    while len(drawn) < n:
        writer = Writer(rng, {"topic": rng.choice(TOPICS), "sentiment": sentiment})
        if rng.random() < 0.5:
            writer.opinion(review_opening(writer), subject="item")
        else:
            writer.opinion(grammar.OPINION_SENTENCES, subject="thing")
        if any(s.value == sentiment for s in writer.spans):
            drawn.append(writer.text)
    return drawn


@cache
def topic_words(topic: str) -> tuple[str, ...]:
    """The words of a topic, lower case, each of them in no other topic. ValueError if unknown."""
    _check_value("topic", topic)
    return tuple(word for words in TOPIC_POOLS[topic].values() for word in words)


@cache
def sentiment_words(sentiment: str) -> tuple[str, ...]:
    """The words of a sentiment, lower case, each in no other sentiment. ValueError if unknown."""
    _check_value("sentiment", sentiment)
    return tuple(word for words in SENTIMENT_POOLS[sentiment].values() for word in words)


def token_labels(document: Document, tokenizer: Any, attribute: str) -> list[str | None]:
    """One label (or None) for each token of `tokenizer(document.text)`, special tokens left out.

    A token carries a span's value if it shares a character with it that is not white space.
    `tokenizer` is a Hugging Face fast tokenizer. ValueError for an unknown attribute or a slow one.
    """
    if attribute not in VALUES:
        raise ValueError(
            f"token_labels: unknown attribute {attribute!r}; known: {', '.join(VALUES)}."
        )
    if not getattr(tokenizer, "is_fast", False):
        raise ValueError("token_labels: needs a fast tokenizer, which knows its character offsets.")
    encoded = tokenizer(document.text, return_offsets_mapping=True, add_special_tokens=False)
    label_at: list[str | None] = [None] * len(document.text)
    for span in document.spans:
        if span.attribute == attribute:
            label_at[span.start : span.end] = [span.value] * (span.end - span.start)
    return [
        next(
            (
                label_at[i]
                for i in range(start, end)
                if label_at[i] and not document.text[i].isspace()
            ),
            None,
        )
        for start, end in encoded["offset_mapping"]
    ]


def _check_value(attribute: str, value: str) -> None:
    if value not in VALUES[attribute]:
        known = ", ".join(VALUES[attribute])
        raise ValueError(f"steerlab.data: unknown {attribute} {value!r}; known: {known}.")


def _draw_document(rng: random.Random, forms: Sequence[Form], asked: Mapping[str, str]) -> Document:
    labels: dict[str, str] = dict(asked)
    writer = Writer(rng, labels)
    form = writer.weighted({form: form.weight for form in forms})
    for attribute in form.carries:
        if attribute not in labels:
            labels[attribute] = writer.pick(VALUES[attribute])
    segments = form.write(writer)
    spans = writer.spans + [Span(start, end, "register", value) for start, end, value in segments]
    return Document(
        text=writer.text,
        register=form.register,
        topic=labels.get("topic"),
        sentiment=labels.get("sentiment"),
        civility=labels.get("civility"),
        spans=tuple(sorted(spans, key=lambda s: (s.start, s.attribute))),
        nats=writer.nats,
    )
