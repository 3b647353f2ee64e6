"""Where the features of an autoencoder fire on a set of shards, and in what surroundings.

Kept are the non-zero activations alone, 8 bytes each, sorted by feature: on half a million tokens
with fifty active features each 200 MB, however wide the dictionary.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.stats import rankdata
from torch import Tensor

from steerlab.pipeline.errors import PipelineError
from steerlab.pipeline.shards import Shards
from steerlab.sae.features import Context, FeatureContexts
from steerlab.sae.model import SAE
from steerlab.sae.scores import percentiles

CODE_BYTES = 64 * 2**20  # of a dense code [token, d_sae] at a time
_WIDTH = 256  # features whose document means are dense at a time


@dataclass(frozen=True)
class Firings:
    """Every non-zero activation, by feature: those of feature i stand at start[i] to start[i + 1].

    row: of `token`, `document` and `position`, rising within a feature; strength: the activation.
    """

    row: Int[Tensor, " firing"]
    strength: Float[Tensor, " firing"]
    start: Int[Tensor, " d_sae_plus_1"]
    token: Int[Tensor, " n"]
    document: Int[Tensor, " n"]
    position: Int[Tensor, " n"]

    @property
    def d_sae(self) -> int:
        return len(self.start) - 1

    @property
    def count(self) -> Int[Tensor, " d_sae"]:
        """How often each feature fires."""
        return self.start.diff()

    @property
    def rate(self) -> Float[Tensor, " d_sae"]:
        """Share of tokens on which each feature fires."""
        return self.count / len(self.token)

    @property
    def p999(self) -> Float[Tensor, " d_sae"]:
        """99.9th percentile of each feature's non-zero activations."""
        feature = torch.repeat_interleave(torch.arange(self.d_sae), self.count)
        return percentiles(feature, self.strength, self.count)

    def of(self, feature: int) -> tuple[Int[Tensor, " m"], Float[Tensor, " m"]]:
        """(rows, activations) of one feature."""
        here = slice(int(self.start[feature]), int(self.start[feature + 1]))
        return self.row[here], self.strength[here]

    def strongest_tokens(self, feature: int, n: int = 5) -> list[int]:
        """Ids of the tokens on which a feature is most active in sum."""
        rows, strength = self.of(feature)
        ids, where = self.token[rows].unique(return_inverse=True)
        sums = torch.zeros(len(ids)).index_add_(0, where, strength)
        return [int(i) for i in ids[sums.argsort(descending=True, stable=True)[:n]]]


@torch.no_grad()
def gather_firings(
    sae: SAE, shards: Shards, tokens: int, report: Callable[[int], Any] | None = None
) -> Firings:
    """Encode the first documents of the shards, `tokens` rows of them or all there are.

    report is called with the rows done. Raises PipelineError for shards without tokens, or of
    another hook point, width or model than the autoencoder's.
    """
    check_shards_fit(sae, shards)
    at_once = max(1, CODE_BYTES // (4 * sae.d_sae))
    features, rows, strengths = [], [], []
    beside: list[tuple[Tensor, Tensor, Tensor]] = []
    n = 0
    for part in shards.documents():
        for x in part.residual.split(at_once):
            code = sae.encode(x.to(sae.W_enc.device)).cpu()
            row, feature = code.nonzero(as_tuple=True)
            features.append(feature.int())
            strengths.append(code[row, feature].float())
            rows.append((row + n).int())
            n += len(x)
        beside.append((part.token.int(), part.document, part.position.int()))
        if report is not None:
            report(n)
        if n >= tokens:
            break
    feature = torch.cat(features)
    order = torch.argsort(feature, stable=True)
    count = torch.bincount(feature, minlength=sae.d_sae)
    start = torch.cat([torch.zeros(1, dtype=torch.long), count.cumsum(0)])
    token, document, position = (torch.cat(parts) for parts in zip(*beside, strict=True))
    return Firings(
        torch.cat(rows)[order], torch.cat(strengths)[order], start,
        token.long(), document, position.long(),
    )  # fmt: skip


def check_shards_fit(sae: SAE, shards: Shards) -> None:
    """Raise PipelineError for shards of another width, hook point or model than the autoencoder's."""
    if shards.d_model != sae.d_in:
        raise PipelineError(
            f"the shards at {shards.place} are {shards.d_model} wide, but the autoencoder reads "
            f"{sae.d_in}: they are of another model"
        )
    origin = shards.origin
    for what, mine in (("hook_name", sae.hook_name), ("model_name", sae.model_name)):
        theirs = getattr(origin, what, None)
        if mine is not None and theirs is not None and mine != theirs:
            raise PipelineError(
                f"the shards at {shards.place} are of {theirs}, but the autoencoder was trained on "
                f"{mine}"
            )


# ---------------------------------------------------------------- contexts


def feature_contexts(
    firings: Firings,
    feature: int,
    tokenizer: Any,
    *,
    n: int = 8,
    before: int = 8,
    after: int = 4,
    skip: Collection[int] = (),
    documents: Callable[[Tensor], Tensor] | None = None,
    seed: int = 0,
) -> FeatureContexts:
    """A feature's strongest contexts, one a document, and one of each quartile.

    skip: token ids that no context may peak at. documents: a mask of those that may be shown.
    """
    rows, strength = firings.of(feature)
    kept = ~torch.isin(firings.token[rows], torch.tensor(list(skip), dtype=torch.long))
    if documents is not None:
        kept &= documents(firings.document[rows])
    places, peaks = rows[kept], strength[kept]
    order = torch.argsort(peaks, descending=True, stable=True)
    seen: set[int] = set()
    top: list[int] = []
    for place in places[order].tolist():
        document = int(firings.document[place])
        if document not in seen:
            seen.add(document)
            top.append(place)
        if len(top) == n:
            break
    draws = torch.Generator().manual_seed(seed)
    quarters = places[order].flip(0).tensor_split(4)
    drawn = [
        (int(part[torch.randint(len(part), (1,), generator=draws)]), number)
        for number, part in enumerate(quarters, start=1)
        if len(part)
    ]

    def around(place: int, quartile: int | None = None) -> Context:
        return context_at(firings, feature, place, tokenizer, before, after, quartile)

    return FeatureContexts(
        feature,
        float(firings.rate[feature]),
        float(peaks.max()) if len(peaks) else 0.0,
        tuple(around(place) for place in top),
        tuple(around(place, number) for place, number in drawn),
    )


def context_at(
    firings: Firings,
    feature: int,
    place: int,
    tokenizer: Any,
    before: int = 8,
    after: int = 4,
    quartile: int | None = None,
) -> Context:
    """The tokens around a place, as far as the same window of the same document reaches."""
    low, high = place, place + 1
    document, position = firings.document, firings.position

    def joined(left: int) -> bool:
        same = document[left] == document[left + 1]
        return bool(same and position[left] + 1 == position[left + 1])

    while low > 0 and place - low < before and joined(low - 1):
        low -= 1
    while high < len(document) and high - place <= after and joined(high - 1):
        high += 1
    rows, strength = firings.of(feature)
    first, last = torch.searchsorted(rows, torch.tensor([low, high], dtype=rows.dtype)).tolist()
    activations = torch.zeros(high - low)
    activations[(rows[first:last] - low).long()] = strength[first:last]
    return Context(
        document=int(document[place]),
        tokens=tuple(
            tokenizer.decode([i], clean_up_tokenization_spaces=False)
            for i in firings.token[low:high].tolist()
        ),
        activations=tuple(activations.tolist()),
        peak=place - low,
        quartile=quartile,
    )


# ---------------------------------------------------------------- labels by the corpus's own


def concept_areas(
    firings: Firings, labels: dict[int, dict[str, str]]
) -> tuple[list[str], Float[Tensor, "concept half d_sae"]]:
    """(concepts, AUROC of every feature's document mean for each) on two halves of the documents.

    A concept is an attribute's value against its other values, "topic: ocean". Documents of even
    number are one half, those of odd number the other, so that a feature can be chosen on the
    first and judged on the second. Raises PipelineError where no concept can be judged.
    """
    documents, index, lengths = firings.document.unique(return_inverse=True, return_counts=True)
    known = [labels.get(int(i), {}) for i in documents]
    tasks: list[tuple[str, list[tuple[np.ndarray, np.ndarray]]]] = []
    for attribute in sorted({name for each in known for name in each}):
        values = np.array([each.get(attribute, "") for each in known])
        halves = [(values != "") & (documents.numpy() % 2 == half) for half in (0, 1)]
        for value in sorted(set(values) - {""}):
            sides = [(kept, values[kept] == value) for kept in halves]
            if all(positive.any() and not positive.all() for _, positive in sides):
                tasks.append((f"{attribute}: {value}", sides))
    if not tasks:
        raise PipelineError(
            "no label has two values with documents in both halves: collect with --labels and "
            "enough documents, or label through an endpoint"
        )
    areas = torch.zeros(len(tasks), 2, firings.d_sae)
    for low in range(0, firings.d_sae, _WIDTH):
        means = _document_means(firings, low, min(low + _WIDTH, firings.d_sae), index, lengths)
        ranks: dict[bytes, np.ndarray] = {}
        for task, (_, sides) in enumerate(tasks):
            for half, (kept, positive) in enumerate(sides):
                key = kept.tobytes()
                if key not in ranks:
                    ranks[key] = rankdata(means[kept], axis=0)
                n, rest = int(positive.sum()), int((~positive).sum())
                u = ranks[key][positive].sum(0) - n * (n + 1) / 2
                areas[task, half, low : low + means.shape[1]] = torch.from_numpy(u / (n * rest))
    return [name for name, _ in tasks], areas


def _document_means(
    firings: Firings, low: int, high: int, index: Tensor, lengths: Tensor
) -> np.ndarray:
    """Mean activation of some features on each document [document, feature]."""
    here = slice(int(firings.start[low]), int(firings.start[high]))
    count = firings.count[low:high]
    column = torch.repeat_interleave(torch.arange(high - low), count)
    place = index[firings.row[here].long()] * (high - low) + column
    sums = torch.zeros(len(lengths) * (high - low), dtype=torch.float64)
    sums.index_add_(0, place, firings.strength[here].double())
    return (sums.view(len(lengths), -1) / lengths[:, None]).numpy()
