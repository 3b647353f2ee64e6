"""Labelled text: the embedded concept corpus, and topics of real language; and made-up features.

`import steerlab.data` is light: torch is imported when made-up features are first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from steerlab.data.concepts import (
    CIVILITIES,
    REGISTERS,
    SENTIMENTS,
    TOPICS,
    Document,
    Span,
    generate,
    sentences,
    sentiment_words,
    token_labels,
    topic_words,
)
from steerlab.data.contrasts import Contrast, contrast
from steerlab.data.topics import topic_texts, words_of_topics

if TYPE_CHECKING:
    from steerlab.data.superposition import Planted, planted_features

__all__ = [
    "CIVILITIES",
    "REGISTERS",
    "SENTIMENTS",
    "TOPICS",
    "Contrast",
    "Document",
    "Planted",
    "Span",
    "contrast",
    "generate",
    "planted_features",
    "sentences",
    "sentiment_words",
    "token_labels",
    "topic_texts",
    "topic_words",
    "words_of_topics",
]


def __getattr__(name: str) -> Any:
    if name not in ("Planted", "planted_features"):
        raise AttributeError(f"module 'steerlab.data' has no attribute '{name}'")
    from steerlab.data import superposition

    return getattr(superposition, name)
