"""Labelled text: the embedded concept corpus."""

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
