"""Nine ways to steer towards one class of texts, behind one interface.

Each gives a vector for a residual h, which some of them look at and most do not:

    none, random                        controls
    class means, pairs, persona         dense differences of activations (CAA, RepE)
    single feature, top-k features      decoder rows by correlation with the labels
    SOCP, QP                            the convex programs, solved for each h

A vector says which way; how far is for whoever applies it to decide, so that methods can be compared at
one dose.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from steerlab.activations import collect
from steerlab.data.contrasts import Contrast
from steerlab.directions import contrastive_pairs, persona_direction, random_directions
from steerlab.hooks import check_hook_names
from steerlab.sae.features import document_scores
from steerlab.sae.model import SAE
from steerlab.sparse.answers import SparseAnswer
from steerlab.sparse.solver import SparseSolver
from steerlab.sparse.subspace import ConceptSubspace, Pooling, concept_subspace
from steerlab.tokens import Mode

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

METHODS = (
    "none", "random", "class means", "pairs", "persona", "single feature", "top-k features",
    "SOCP", "QP",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class SteeringVector:
    """A direction to steer along: vector [d_model], zero only for "none".

    features: those of the autoencoder it is made of, or None for a dense vector. answer: the convex
    program's, with its certificate.
    """

    vector: Float[Tensor, " d_model"]
    features: tuple[int, ...] | None = None
    answer: SparseAnswer | None = None


@dataclass(frozen=True, eq=False)
class SteeringMethod:
    """A named way from a residual h [d_model] to a vector.

    Calling it raises `Infeasible` where it has no vector for this h.
    """

    name: str
    find: Callable[[Float[Tensor, " d_model"]], SteeringVector]

    def __call__(self, h: Float[Tensor, " d_model"]) -> SteeringVector:
        return self.find(h)


@dataclass(frozen=True, eq=False)
class Methods:
    """All nine methods for one contrast at one hook point, and the subspace that two of them reach for."""

    by_name: dict[str, SteeringMethod]
    subspace: ConceptSubspace
    solver: SparseSolver
    hook_name: str

    def __getitem__(self, name: str) -> SteeringMethod:
        if name not in self.by_name:
            raise ValueError(f"no method {name!r}; there are {', '.join(self.by_name)}")
        return self.by_name[name]


def steering_methods(
    model: TransformerBridge,
    sae: SAE,
    contrast: Contrast,
    *,
    k: int = 5,
    top_k: int = 10,
    epsilon: float | None = None,
    lam: float = 1.0,
    pooling: Pooling = "mean",
    seed: int = 0,
    mode: Mode = "raw",
) -> Methods:
    """Fit all nine methods on a contrast's texts, at the hook point of the autoencoder.

    k: directions of the subspace; top_k: features that are weighted by their correlation. epsilon, lam:
    as `SparseSolver.socp` and `.qp` take them. The vectors of the first seven are fitted once.

    Raises ValueError for an SAE without a hook point of this model, and what the fits raise.
    """
    hook = _hook_of(sae, model)
    subspace = concept_subspace(
        model, contrast.target_texts, contrast.other_texts, hook, k=k, pooling=pooling, mode=mode
    )
    means = subspace.target_mean - subspace.other_mean
    pairs = contrastive_pairs(model, contrast.target_pairs, contrast.other_pairs, hook, mode=mode)
    persona = persona_direction(
        model, contrast.statements, contrast.target_prefix, contrast.other_prefix, hook, mode=mode
    )
    r = feature_correlations(model, sae, contrast, mode=mode)
    best, top = int(r.argmax()), r.abs().topk(min(top_k, sae.d_sae)).indices
    if not r[best] > 0:
        raise ValueError(
            "no feature of this SAE fires more on the target's texts than on the others"
        )
    rows = sae.W_dec.detach().float().cpu()
    solver = SparseSolver(sae.W_dec, subspace.directions)

    def convex(answer: SparseAnswer) -> SteeringVector:
        return SteeringVector(answer.vector, answer.features, answer)

    fixed = {
        "none": SteeringVector(torch.zeros_like(means), ()),
        "random": SteeringVector(random_directions(1, means, seed)[0]),
        "class means": SteeringVector(means),
        "pairs": SteeringVector(pairs),
        "persona": SteeringVector(persona),
        "single feature": SteeringVector(rows[best], (best,)),
        "top-k features": SteeringVector(r[top] @ rows[top], tuple(top.tolist())),
    }

    def always(found: SteeringVector) -> Callable[[Tensor], SteeringVector]:
        return lambda h: found

    finders = {name: always(found) for name, found in fixed.items()}
    finders["SOCP"] = lambda h: convex(solver.socp(subspace.missing(h), epsilon))
    finders["QP"] = lambda h: convex(solver.qp(subspace.missing(h), lam))
    return Methods(
        {name: SteeringMethod(name, finders[name]) for name in METHODS}, subspace, solver, hook
    )


def feature_correlations(
    model: TransformerBridge, sae: SAE, contrast: Contrast, *, mode: Mode = "raw"
) -> Float[Tensor, " d_sae"]:
    """Pearson correlation of every feature's mean activation over a text with the text's class.

    Positive where the target's texts have more of it; 0 for a feature that never fires.
    """
    hook = _hook_of(sae, model)
    texts = [*contrast.target_texts, *contrast.other_texts]
    scores = document_scores(collect(model, texts, hook, mode=mode), hook, sae.encode)
    label = torch.zeros(len(texts))
    label[: len(contrast.target_texts)] = 1
    label, scores = label - label.mean(), scores - scores.mean(0)
    spread = scores.norm(dim=0) * label.norm()
    return torch.where(spread > 1e-9, label @ scores / spread.clamp(min=1e-9), 0.0)


def _hook_of(sae: SAE, model: TransformerBridge) -> str:
    if sae.hook_name is None:
        raise ValueError("this SAE does not say which hook point it belongs to")
    return check_hook_names(model, sae.hook_name)[0]
