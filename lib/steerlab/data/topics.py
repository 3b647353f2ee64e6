"""Texts about topics, from the corpus that suits a model, and the words that show a topic.

Which corpus suits a model is `course_settings(model).topics`: "concepts" for the embedded model,
which knows nothing else, and "newsgroups" for models of real language.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from steerlab.data.concepts import TOPICS, generate, topic_words
from steerlab.data.newsgroups import newsgroups

CORPORA = ("concepts", "newsgroups")


def topic_texts(corpus: str, n: int, seed: int) -> tuple[list[str], list[str]]:
    """n texts, each about one topic, and their topics, in a seeded order.

    "concepts" draws documents of the embedded corpus that have a topic; "newsgroups" takes posts of
    20 Newsgroups from the Hugging Face hub. Raises ValueError for another corpus or n below 1, and
    what `newsgroups` raises.
    """
    _check(corpus)
    if n < 1:
        raise ValueError(f"n is {n}; ask for at least one text")
    if corpus == "newsgroups":
        return newsgroups("train", n, seed)
    texts: list[str] = []
    labels: list[str] = []
    while len(texts) < n:  # about one document in three has no topic
        for document in generate(2 * n, seed):
            if document.topic is not None and len(texts) < n:
                texts.append(document.text)
                labels.append(document.topic)
        seed += 1_000_003
    return texts, labels


def words_of_topics(
    corpus: str, texts: Sequence[str], labels: Sequence[str], n: int = 40
) -> dict[str, tuple[str, ...]]:
    """Words by which a topic is recognised in a text, lower case, none in two topics.

    "concepts" has a vocabulary for each topic. For another corpus, of the words in at least five of
    `texts`, each topic gets the n most of its own: those with the largest share of their texts in
    it. Take texts that the vectors to be judged were not fitted on.

    Raises ValueError for another corpus or a count of labels that does not fit.
    """
    _check(corpus)
    if corpus == "concepts":
        return {topic: topic_words(topic) for topic in TOPICS}
    if len(texts) != len(labels):
        raise ValueError(f"{len(labels)} labels for {len(texts)} texts; expected one each")
    found: dict[str, Counter[str]] = {label: Counter() for label in sorted(set(labels))}
    for text, label in zip(texts, labels, strict=True):
        found[label].update(set(re.findall("[a-z]{4,}", text.lower())))
    total: Counter[str] = sum(found.values(), Counter())
    own: dict[str, list[tuple[float, str]]] = {label: [] for label in found}
    for word, count in total.items():
        if count >= 5:
            label = max(found, key=lambda name: found[name][word])
            own[label].append((-found[label][word] / count, word))
    return {label: tuple(word for _, word in sorted(ranked)[:n]) for label, ranked in own.items()}


def _check(corpus: str) -> None:
    if corpus not in CORPORA:
        raise ValueError(f"corpus is one of {', '.join(map(repr, CORPORA))}, not {corpus!r}")
