"""Labelled text, the embedded concept corpus; and made-up vectors whose features are known."""

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
from steerlab.data.superposition import Planted, planted_features

__all__ = [
    "CIVILITIES",
    "REGISTERS",
    "SENTIMENTS",
    "TOPICS",
    "Document",
    "Planted",
    "Span",
    "generate",
    "planted_features",
    "sentences",
    "sentiment_words",
    "token_labels",
    "topic_words",
]
