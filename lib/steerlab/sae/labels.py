"""Names for features, each with the score that says how far to trust it, and search among them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from steerlab.activations import Activations
from steerlab.sae.features import auroc, document_scores
from steerlab.sae.model import SAE
from steerlab.sae.scores import CHUNK, Scores


@dataclass(frozen=True)
class FeatureLabel:
    """What a feature is called, and why.

    concept: the concept that its document mean separates best ("topic: ocean"), None for a feature
    that never fires. detection: the AUROC of that on documents that had no say in the choice; 0.5
    is chance. tokens: on which its activation is largest in sum. rate: share of tokens on which it
    fires. p999: 99.9th percentile of its non-zero activations, the reference of a clamp.
    """

    feature: int
    concept: str | None
    detection: float | None
    tokens: tuple[str, ...]
    rate: float
    p999: float


class FeatureLabels(Mapping[int, FeatureLabel]):
    """The labels of an autoencoder, by feature index."""

    def __init__(self, labels: Iterable[FeatureLabel]):
        self._labels = {label.feature: label for label in labels}

    def __getitem__(self, feature: int) -> FeatureLabel:
        if feature not in self._labels:
            raise ValueError(f"feature {feature} has no label; labelled: {self._span()}")
        return self._labels[feature]

    def __contains__(self, feature: object) -> bool:
        return feature in self._labels

    def __iter__(self) -> Iterator[int]:
        return iter(self._labels)

    def __len__(self) -> int:
        return len(self._labels)

    def _span(self) -> str:
        return f"{min(self._labels)} to {max(self._labels)}" if self._labels else "none"

    @property
    def concepts(self) -> tuple[str, ...]:
        """Every concept that some feature is labelled with, sorted."""
        return tuple(sorted({label.concept for label in self.values() if label.concept}))

    def search(self, concept: str, *, n: int = 5, at_least: float = 0.7) -> list[FeatureLabel]:
        """Features for a concept or a word, best detection first.

        A query matches a label's concept ("ocean" finds "topic: ocean") or else one of its tokens,
        in any case. `at_least` leaves out labels with a lower detection score.
        Raises ValueError where nothing matches, naming the concepts that come closest.
        """
        query = concept.strip().lower()
        if not query:
            raise ValueError("concept is empty; expected a concept or a word to search for")
        trusted = [label for label in self.values() if (label.detection or 0) >= at_least]
        found = [label for label in trusted if label.concept and _matches(query, label.concept)]
        if not found:
            found = [x for x in trusted if query in {t.strip().lower() for t in x.tokens}]
        if not found:
            near = sorted(self.concepts, key=lambda c: -SequenceMatcher(None, query, c).ratio())
            raise ValueError(
                f"no feature is labelled {concept!r} with a detection score of {at_least} or more; "
                f"close concepts: {', '.join(near[:5]) or 'none'}"
            )
        return sorted(found, key=lambda label: -(label.detection or 0))[:n]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the labels as JSON, one line a feature."""
        lines = [
            json.dumps(asdict(label), ensure_ascii=False, sort_keys=True) for label in self.values()
        ]
        Path(path).write_text("[\n" + ",\n".join(lines) + "\n]\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> FeatureLabels:
        """Read what `save` wrote. Raises FileNotFoundError, and ValueError for another file."""
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"there are no feature labels at {path}")
        try:
            rows = json.loads(path.read_text(encoding="utf-8"))
            return cls(FeatureLabel(**row | {"tokens": tuple(row["tokens"])}) for row in rows)
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{path} holds no feature labels: {error}") from None


def _matches(query: str, concept: str) -> bool:
    """Whether the query is a concept's full name or its value: all words after the colon."""
    name = concept.lower()
    return query in (name, name.partition(": ")[2])


@torch.no_grad()
def label_features(
    sae: SAE,
    hook_name: str,
    select: tuple[Activations, Sequence[Mapping[str, str | None]]],
    judge: tuple[Activations, Sequence[Mapping[str, str | None]]],
    scores: Scores,
    tokenizer: Any,
) -> FeatureLabels:
    """Label every feature by the concept that its document mean separates best.

    select, judge: activations of two sets of documents with one {attribute: value} a document,
    e.g. {"topic": "ocean", "sentiment": None}. A concept is an attribute's value against its other
    values, among the documents that carry the attribute. The concept is chosen on `select` and its
    AUROC taken on `judge`. scores: of held-out residuals, for rates and percentiles.
    """
    by_set = [
        document_scores(activations, hook_name, sae.encode) for activations, _ in (select, judge)
    ]
    names, areas = [], []
    for attribute in sorted({key for labels in select[1] for key in labels}):
        values = sorted({v for labels in select[1] if (v := labels.get(attribute)) is not None})
        for value in values:
            pair = [
                _area(scored, [labels.get(attribute) for labels in documents], value)
                for scored, (_, documents) in zip(by_set, (select, judge), strict=True)
            ]
            names.append(f"{attribute}: {value}")
            areas.append(torch.stack(pair))
    if not names:
        raise ValueError("the documents carry no attribute to label features by")
    table = torch.stack(areas)  # [concept, set, feature]
    best = table[:, 0].argmax(0)
    tokens = _strongest_tokens(sae, select[0], hook_name, tokenizer)
    return FeatureLabels(
        FeatureLabel(
            feature=i,
            concept=names[int(best[i])] if scores.rate[i] > 0 else None,
            detection=round(float(table[best[i], 1, i]), 4) if scores.rate[i] > 0 else None,
            tokens=tokens[i],
            rate=round(float(scores.rate[i]), 6),
            p999=round(float(scores.p999[i]), 4),
        )
        for i in range(sae.d_sae)
    )


def _area(
    scored: Float[Tensor, "document feature"], labels: Sequence[str | None], value: str
) -> Float[Tensor, " feature"]:
    kept = torch.tensor([label is not None for label in labels])
    positive = torch.tensor([label == value for label in labels])[kept]
    return auroc(scored[kept], positive)


def _strongest_tokens(
    sae: SAE, activations: Activations, hook_name: str, tokenizer: Any, n: int = 5
) -> list[tuple[str, ...]]:
    """For each feature the tokens on which it is most active in sum."""
    values, ids = activations.values[hook_name], activations.tokens
    n_ids = int(ids.max()) + 1
    keys, strengths = [], []
    for start in range(0, len(values), CHUNK):
        code = sae.encode(values[start : start + CHUNK]).cpu()
        place, feature = code.nonzero(as_tuple=True)
        keys.append(feature * n_ids + ids[start : start + CHUNK][place])
        strengths.append(code[place, feature].float())
    pairs, where = torch.cat(keys).unique(return_inverse=True)
    sums = torch.zeros(len(pairs)).index_add_(0, where, torch.cat(strengths))
    found: list[list[int]] = [[] for _ in range(sae.d_sae)]
    for pair in pairs[sums.argsort(descending=True)].tolist():
        feature_tokens = found[pair // n_ids]
        if len(feature_tokens) < n:
            feature_tokens.append(pair % n_ids)
    return [
        tuple(tokenizer.decode([i], clean_up_tokenization_spaces=False) for i in each)
        for each in found
    ]
