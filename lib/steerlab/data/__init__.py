"""Labelled text: the embedded concept corpus, and topics of real language; and made-up features."""

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
from steerlab.data.topics import topic_texts, words_of_topics

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
    "topic_texts",
    "topic_words",
    "words_of_topics",
]
