"""A concept as a few directions: where two classes of texts differ most, and by how much.

    S = principal components of the centred residuals,  s_j = v_jᵀ(μ_target − μ_other)

The k components with the largest |s_j| are kept, with the sign that points to the target class. They
are orthonormal, and they are directions in which residuals vary, unlike a classifier's normal.
Steering is then a set of linear demands on the residual, w_jᵀ(h + x) ≥ w_jᵀμ_target.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from steerlab.activations import collect
from steerlab.hooks import check_hook_names
from steerlab.sae.model import check_residuals
from steerlab.tokens import Mode, check_texts

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Pooling = Literal["mean", "last"]

_ROUNDING = 1e-6  # of a residual's norm
_ALIKE = 1e-6  # distance of class means, in typical deviations from the mean, that is rounding


@dataclass(frozen=True, eq=False)
class ConceptSubspace:
    """k orthonormal directions that tell a target class from another, and where its mean lies on them.

    directions [k, d_model], largest separation first; separations [k], s_j > 0, in the residual's
    units; target_mean and other_mean [d_model]. pooling: how texts became residuals ("mean" over
    their tokens or "last" token), which what is steered has to share. concentration: the share of
    ‖μ_target − μ_other‖² that lies in the subspace, R²_k.
    """

    directions: Float[Tensor, "k d_model"]
    separations: Float[Tensor, " k"]
    target_mean: Float[Tensor, " d_model"]
    other_mean: Float[Tensor, " d_model"]
    concentration: float
    pooling: Pooling = "mean"
    hook_name: str | None = None

    @property
    def explained(self) -> float:
        """Σ s_j²: the part of the squared distance of the class means that lies in the subspace."""
        return float((self.separations**2).sum())

    @property
    def thresholds(self) -> Float[Tensor, " k"]:
        """w_jᵀμ_target: what the residual has to reach along each direction."""
        return self.directions @ self.target_mean

    def missing(self, h: Float[Tensor, " d_model"], alpha: float = 1.0) -> Float[Tensor, " k"]:
        """γ_j = α w_jᵀ(μ_target − h): what `h` lacks along each direction; negative where it has more.

        alpha: 1 asks for the target's mean, 2 for as much beyond it again. What single precision cannot
        tell from nothing is 0: a residual that was steered there lacks nothing.
        Raises ValueError for an h of another width or not finite, or α not above 0.
        """
        if not isinstance(h, Tensor) or h.shape != self.target_mean.shape:
            shape = list(h.shape) if isinstance(h, Tensor) else type(h).__name__
            raise ValueError(f"h is {shape}; expected one residual, [{len(self.target_mean)}]")
        if not torch.isfinite(h).all():
            raise ValueError("h holds NaN or infinite values")
        if not (math.isfinite(alpha) and alpha > 0):
            raise ValueError(f"alpha is {alpha}; expected a finite number above 0")
        h = h.detach().float().cpu()
        lacks = self.directions @ (self.target_mean - h)
        rounding = _ROUNDING * float(torch.maximum(h.norm(), self.target_mean.norm()))
        return alpha * torch.where(lacks.abs() <= rounding, 0.0, lacks)

    def score(self, h: Float[Tensor, "text d_model"]) -> float:
        """Share of thresholds that residuals reach, over texts and directions."""
        reached = h.detach().float().cpu() @ self.directions.T >= self.thresholds
        return float(reached.float().mean())

    def reversed(self) -> ConceptSubspace:
        """The same directions negated, for steering towards the other class."""
        return replace(
            self,
            directions=-self.directions,
            target_mean=self.other_mean,
            other_mean=self.target_mean,
        )

    def read(
        self, model: TransformerBridge, texts: Sequence[str], *, mode: Mode = "raw"
    ) -> Float[Tensor, "text d_model"]:
        """Residuals of texts at the subspace's hook point, pooled as those it was fitted on.

        Raises ValueError where the subspace does not know its hook point.
        """
        if self.hook_name is None:
            raise ValueError("this subspace does not say which hook point it belongs to")
        return read_texts(model, texts, self.hook_name, self.pooling, mode=mode)


def fit_subspace(
    residuals: Float[Tensor, "text d_model"],
    labels: Sequence[Any],
    target: Any = 1,
    *,
    n_components: int = 50,
    k: int = 5,
    pooling: Pooling = "mean",
    hook_name: str | None = None,
) -> ConceptSubspace:
    """The k of the first `n_components` principal components along which the class means differ most.

    labels: one of two values for each residual; target: the one to steer towards. Fewer components
    than asked for are taken where there are fewer texts or dimensions.

    Raises ValueError for residuals that are not finite, a count of labels that does not fit, labels
    of one value alone or of more than two, a target that is not among them, class means that
    coincide, k below 1 or above n_components; TypeError for residuals that are no float tensor.
    """
    x = check_residuals(residuals, "residuals").detach().double().cpu()
    is_target = _is_target(labels, target, len(x))
    if not 1 <= k <= n_components:
        raise ValueError(f"k is {k}; expected 1 to n_components = {n_components}")
    if pooling not in get_args(Pooling):
        raise ValueError(f'pooling is "mean" or "last", not {pooling!r}')
    centred = x - x.mean(0)
    target_mean, other_mean = x[is_target].mean(0), x[~is_target].mean(0)
    apart = target_mean - other_mean
    spread = float(centred.norm(dim=1).mean())
    if float(apart.norm()) <= _ALIKE * max(spread, _ALIKE * float(x.norm(dim=1).mean())):
        raise ValueError(
            "both classes have the same mean residual: nothing tells them apart at this hook point"
        )
    values, components = torch.linalg.svd(centred, full_matrices=False)[1:]
    # Components without variance are rounding noise.
    rank = int((values > 1e-9 * values[0]).sum())
    components = components[: min(n_components, rank)]
    separations = components @ apart
    order = separations.abs().argsort(descending=True, stable=True)[:k]
    signs = torch.where(separations[order] < 0, -1.0, 1.0).double()
    return ConceptSubspace(
        directions=(components[order] * signs[:, None]).float(),
        separations=(separations[order] * signs).float(),
        target_mean=target_mean.float(),
        other_mean=other_mean.float(),
        concentration=float((separations[order] ** 2).sum() / (apart @ apart)),
        pooling=pooling,
        hook_name=hook_name,
    )


def concept_subspace(
    model: TransformerBridge,
    target: Sequence[str],
    other: Sequence[str],
    hook_name: str,
    *,
    n_components: int = 50,
    k: int = 5,
    pooling: Pooling = "mean",
    mode: Mode = "raw",
) -> ConceptSubspace:
    """The subspace in which texts of one class differ from those of another, at a hook point.

    What `fit_subspace` raises, and what `collect` raises for texts and hook names.
    """
    texts = [*check_texts(target, "target"), *check_texts(other, "other")]
    residuals = read_texts(model, texts, hook_name, pooling, mode=mode)
    labels = [1] * len(target) + [0] * len(other)
    return fit_subspace(
        residuals, labels, n_components=n_components, k=k, pooling=pooling, hook_name=hook_name
    )


def read_texts(
    model: TransformerBridge,
    texts: Sequence[str],
    hook_name: str,
    pooling: Pooling = "mean",
    *,
    mode: Mode = "raw",
) -> Float[Tensor, "text d_model"]:
    """One residual for each text: the mean over its tokens, or its last token's.

    Padding and position 0 are left out. Raises ValueError for another pooling.
    """
    if pooling not in get_args(Pooling):
        raise ValueError(f'pooling is "mean" or "last", not {pooling!r}')
    [hook_name] = check_hook_names(model, hook_name)
    read = collect(model, texts, hook_name, mode=mode)
    if pooling == "last":
        return read.last_per_document(hook_name)
    return read.mean_per_document(hook_name)


def _is_target(labels: Sequence[Any], target: Any, n: int) -> Tensor:
    values = labels.tolist() if isinstance(labels, Tensor) else list(labels)
    if len(values) != n:
        raise ValueError(f"{len(values)} labels for {n} residuals; expected one each")
    kinds = sorted({str(value) for value in values})
    if len(kinds) != 2:
        raise ValueError(
            f"labels hold {len(kinds)} value{'' if len(kinds) == 1 else 's'} ({', '.join(kinds[:5])}); "
            "a subspace tells two classes apart"
        )
    if str(target) not in kinds:
        raise ValueError(f"target is {target!r}, but labels are {kinds[0]} and {kinds[1]}")
    return torch.tensor([str(value) == str(target) for value in values])
