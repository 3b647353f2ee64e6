"""What features stand for: top contexts, labels by AUROC, search by concept.

A feature is chosen on one set of documents and scored on another: among a thousand candidates
some separate any one set well by chance. "Features found" means little alone, so it is counted
beside the same number for coordinates of the residual, principal components and an untrained
autoencoder of the same width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from steerlab.activations import Activations
from steerlab.sae.model import SAE
from steerlab.sae.scores import CHUNK

Score = Callable[[Float[Tensor, "token d_model"]], Float[Tensor, "token score"]]


@torch.no_grad()
def document_scores(
    activations: Activations, hook_name: str, score: Score | None = None
) -> Float[Tensor, "document score"]:
    """Mean over each document's tokens of `score(residual)`, e.g. `sae.encode`.

    Without `score`, of the residual itself. Raises ValueError for a document without a token.
    """
    values = activations._values(hook_name)
    counts = activations._counts()
    sums: Tensor | None = None
    for start in range(0, len(values), CHUNK):
        part = values[start : start + CHUNK]
        scored = (part if score is None else score(part)).float().cpu()
        if sums is None:
            sums = torch.zeros(activations.n_documents, scored.shape[1])
        sums.index_add_(0, activations.document[start : start + CHUNK], scored)
    assert sums is not None
    return sums / counts[:, None]


def auroc(
    scores: Float[Tensor, "document score"], positive: Bool[Tensor, " document"]
) -> Float[Tensor, " score"]:
    """Area under the ROC curve of every score for the positive documents; ties count half.

    The chance that a positive document has the higher score. Raises ValueError for scores that
    are not finite, labels of another length, or documents of one class alone.
    """
    from scipy.stats import rankdata

    positive = torch.as_tensor(positive).bool()
    if scores.ndim != 2 or len(scores) != len(positive):
        raise ValueError(
            f"scores is {list(scores.shape)} and positive {list(positive.shape)}; expected "
            "[document, score] and one label a document"
        )
    if not torch.isfinite(scores).all():
        raise ValueError("scores holds NaN or infinite values; expected finite scores")
    n, rest = int(positive.sum()), int((~positive).sum())
    if not n or not rest:
        raise ValueError(
            f"positive marks {n} of {n + rest} documents; expected some of either class"
        )
    ranks = torch.from_numpy(rankdata(scores.numpy(), axis=0))
    return ((ranks[positive].sum(0) - n * (n + 1) / 2) / (n * rest)).float()


@dataclass(frozen=True)
class FeatureMatch:
    """The feature for a concept: chosen by `selected` on some documents, worth `held_out` on others.

    Both are AUROCs. sign is −1 for a score that is low where the concept is (never for a feature).
    """

    concept: str
    feature: int
    selected: float
    held_out: float
    sign: int = 1


def match_concepts(
    select: Float[Tensor, "document score"],
    select_labels: Sequence[str | None],
    judge: Float[Tensor, "document score"],
    judge_labels: Sequence[str | None],
    *,
    concepts: Sequence[str] | None = None,
    both_signs: bool = False,
    top: int = 1,
) -> list[FeatureMatch]:
    """The best scores for each concept against the rest, chosen on one set, judged on the other.

    labels: one concept a document; documents labelled None take no part. `top`: how many for each
    concept, best first. both_signs also tries −score, as coordinates without a sign deserve.
    Raises ValueError for a concept that one of the two sets lacks, or has nothing else beside it.
    """
    sides = []
    for scores, labels, name in ((select, select_labels, "select"), (judge, judge_labels, "judge")):
        if len(scores) != len(labels):
            raise ValueError(f"{name} has {len(scores)} documents and {len(labels)} labels")
        kept = torch.tensor([label is not None for label in labels])
        sides.append((scores[kept], [label for label in labels if label is not None]))
    concepts = concepts or sorted(set(sides[0][1]))
    if not concepts:
        raise ValueError("select_labels names no concept")
    matches = []
    for concept in concepts:
        areas = []
        for (scores, labels), name in zip(sides, ("select", "judge"), strict=True):
            positive = torch.tensor([label == concept for label in labels])
            if not positive.any() or positive.all():
                raise ValueError(
                    f"{name}_labels has {int(positive.sum())} of {len(labels)} documents of "
                    f"{concept!r}; expected some, and some of others"
                )
            areas.append(auroc(scores, positive))
        chosen = torch.maximum(areas[0], 1 - areas[0]) if both_signs else areas[0]
        for feature in chosen.topk(min(top, len(chosen))).indices.tolist():
            down = both_signs and float(areas[0][feature]) < 0.5
            chose, held = (1 - float(a[feature]) if down else float(a[feature]) for a in areas)
            matches.append(FeatureMatch(concept, feature, chose, held, -1 if down else 1))
    return matches


def baselines(
    x: Float[Tensor, "token d_model"], sae: SAE, seed: int = 0
) -> dict[str, tuple[Score | None, bool]]:
    """{name: (score, whether both signs count)} of what features are compared with.

    Coordinates of the residual, principal components of `x`, and an untrained autoencoder of the
    same kind and width (for ReLU and JumpReLU as sparse as chance makes it).
    """
    centre = x.mean(0)
    axes = torch.linalg.svd(x[:20_000].float() - centre, full_matrices=False).Vh
    generator = torch.Generator().manual_seed(seed)
    rows = torch.nn.functional.normalize(
        torch.randn(sae.d_sae, sae.d_in, generator=generator), dim=1
    )
    untrained = SAE(
        rows.T.contiguous(),
        torch.zeros(sae.d_sae),
        rows,
        centre.float().cpu(),
        activation="topk" if sae.activation == "topk" else "relu",
        k=sae.k,
    )
    return {
        "raw coordinates": (None, True),
        "PCA": (lambda part: (part - centre) @ axes.T, True),
        "untrained SAE": (untrained.encode, False),
    }


# ---------------------------------------------------------------------------------- contexts


@dataclass(frozen=True)
class Context:
    """One place where a feature fires: the tokens around it with the feature's activations.

    peak: index of the place among `tokens`; quartile: None among the top contexts, else which
    quarter (1 to 4) of the non-zero activations it was drawn from.
    """

    document: int
    tokens: tuple[str, ...]
    activations: tuple[float, ...]
    peak: int
    quartile: int | None = None

    @property
    def activation(self) -> float:
        """The feature's activation at the peak."""
        return self.activations[self.peak]

    @property
    def text(self) -> str:
        """The context as text."""
        return "".join(self.tokens)


@dataclass(frozen=True)
class FeatureContexts:
    """A feature's strongest contexts, one from each quartile, and how often it fires."""

    feature: int
    rate: float
    maximum: float
    top: tuple[Context, ...]
    quartiles: tuple[Context, ...]


@torch.no_grad()
def feature_activations(
    sae: SAE, x: Float[Tensor, "token d_model"], feature: int
) -> Float[Tensor, " token"]:
    """One feature's activation on every token. Raises ValueError for one out of range."""
    [feature] = sae.check_features([feature])
    return torch.cat([sae.encode(part)[:, feature].float().cpu() for part in x.split(CHUNK)])


def contexts(
    activations: Activations,
    hook_name: str,
    sae: SAE,
    feature: int,
    tokenizer: Any,
    *,
    n: int = 8,
    before: int = 8,
    after: int = 4,
    skip: Sequence[int] = (),
    seed: int = 0,
) -> FeatureContexts:
    """Where a feature fires most, one context a document, and one place of each quartile.

    skip: token ids that no context may peak at (special tokens, line breaks). The quartiles are of
    the non-zero activations; a feature that never fires has no contexts at all. Top contexts alone
    flatter a feature: what it does at a quarter of its strength is often something else.
    """
    strengths = feature_activations(sae, activations._values(hook_name), feature)
    peaks = strengths.clone()
    if skip:
        peaks[torch.isin(activations.tokens, torch.tensor(list(skip)))] = 0
    firing = peaks.nonzero().flatten()
    empty = FeatureContexts(feature, float((strengths > 0).float().mean()), 0.0, (), ())
    if not len(firing):
        return empty
    order = firing[torch.argsort(peaks[firing], descending=True)]

    def around(place: int, quartile: int | None = None) -> Context:
        return _context(activations, strengths, place, tokenizer, before, after, quartile)

    seen: set[int] = set()
    top: list[int] = []
    for place in order.tolist():
        document = int(activations.document[place])
        if document not in seen and len(top) < n:
            seen.add(document)
            top.append(place)
        if len(top) == n:
            break
    generator = torch.Generator().manual_seed(seed)
    quarters = order.flip(0).tensor_split(4)
    drawn = [
        around(int(part[torch.randint(len(part), (1,), generator=generator)]), quarter)
        for quarter, part in enumerate(quarters, start=1)
        if len(part)
    ]
    return FeatureContexts(
        feature, empty.rate, float(peaks.max()), tuple(map(around, top)), tuple(drawn)
    )


def _context(
    activations: Activations,
    strengths: Float[Tensor, " token"],
    place: int,
    tokenizer: Any,
    before: int,
    after: int,
    quartile: int | None,
) -> Context:
    """The tokens of the same document around one place."""
    document = activations.document
    low, high = max(0, place - before), min(len(document), place + after + 1)
    inside = [i for i in range(low, high) if document[i] == document[place]]
    ids: Int[Tensor, " n"] = activations.tokens[inside]
    return Context(
        document=int(document[place]),
        tokens=tuple(
            tokenizer.decode([i], clean_up_tokenization_spaces=False) for i in ids.tolist()
        ),
        activations=tuple(strengths[inside].tolist()),
        peak=inside.index(place),
        quartile=quartile,
    )
