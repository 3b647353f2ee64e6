"""The decoder's rows at norm 1, and which of them a dual point y violates: d_iᵀ y > 1.

A dictionary is large and has to be read whole for every such question, so it stays in single
precision and is multiplied once. What the rounding of that product leaves open, and no more, is
multiplied again in double precision: the largest violation found is then the true one, which is
what a certificate of optimality stands on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy import ndarray as Array
from torch import Tensor

CHUNK = 4096  # rows brought to double precision at once
_UNIT = 2.0**-24  # rounding unit of single precision


class UnitRows:
    """Rows of a decoder [d_sae, d_model] as directions of norm 1.

    norms [d_sae]: what the rows were divided by; a row of zeros has no direction, takes no part, and
    has norm 0. Rescaling a feature, f_i → c f_i and W_dec,i → W_dec,i / c, changes nothing here but
    its norm.

    Raises TypeError for something else than a float tensor, ValueError for another shape, values
    that are not finite, or zeros alone.
    """

    def __init__(self, W_dec: Float[Tensor, "d_sae d_model"]):
        if not isinstance(W_dec, Tensor) or not W_dec.is_floating_point():
            kind = W_dec.dtype if isinstance(W_dec, Tensor) else type(W_dec).__name__
            raise TypeError(f"W_dec is {kind}; expected a float tensor [d_sae, d_model]")
        if W_dec.ndim != 2 or 0 in W_dec.shape:
            raise ValueError(f"W_dec has shape {list(W_dec.shape)}; expected [d_sae, d_model]")
        kept = W_dec.detach().cpu()
        # Half precision is exact in single; double is kept beside its rounding.
        self._exact: Array = (kept if kept.dtype == torch.float64 else kept.float()).numpy()
        self.norms: Float[Array, " d_sae"] = np.empty(len(self._exact))
        for start in range(0, len(self._exact), CHUNK):
            part = self._exact[start : start + CHUNK].astype(np.float64)
            if not np.isfinite(part).all():
                bad = start + int(np.flatnonzero(~np.isfinite(part).all(1))[0])
                raise ValueError(f"W_dec holds NaN or infinite values (first: row {bad})")
            self.norms[start : start + CHUNK] = np.linalg.norm(part, axis=1)
        if not self.norms.any():
            raise ValueError("W_dec holds zeros alone: no feature has a direction")
        self._single = np.ascontiguousarray(self._exact, dtype=np.float32)
        live = self.norms > 0
        self._inverse = np.divide(1.0, self.norms, out=np.zeros_like(self.norms), where=live)

    def __len__(self) -> int:
        return len(self.norms)

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return int(self._single.shape[1])

    def __getitem__(self, features: Int[Array, " n"]) -> Float[Array, "n d_model"]:
        """Some rows at norm 1, in double precision."""
        return self._exact[features].astype(np.float64) * self._inverse[features, None]

    def times(self, columns: Float[Array, "d_model m"]) -> Float[Array, "d_sae m"]:
        """The product with a few vectors, all in double precision."""
        parts = [
            self[np.arange(start, min(start + CHUNK, len(self)))] @ columns
            for start in range(0, len(self), CHUNK)
        ]
        return np.concatenate(parts)

    def prices(self, y: Float[Array, " d_model"]) -> Prices:
        """d_iᵀ y for every row, those near or above 1 exactly."""
        single = (self._single @ y.astype(np.float32)).astype(np.float64) * self._inverse
        # Rounding y and summing d_model products each err by at most so much (Higham, 2002, ch. 3).
        slack = 1.01 * (self.d_model + 1) * _UNIT * float(np.linalg.norm(y))
        near = np.flatnonzero(single > 1 - slack)
        if len(near) > CHUNK:  # far from optimal: an estimate will do to go on
            return Prices(single, float(single.max()) + slack)
        single[near] = self[near] @ y
        return Prices(single, max(float(single.max()), 0.0))


@dataclass(frozen=True)
class Prices:
    """d_iᵀ y for every feature, and a bound that none of them exceeds."""

    values: Any  # Float[Array, " d_sae"]
    bound: float

    def highest(self, n: int) -> Int[Array, " n"]:
        """The n features with the highest prices, in falling order."""
        n = min(n, len(self.values))
        top = np.argpartition(-self.values, n - 1)[:n]
        return top[np.argsort(-self.values[top])]


def check_directions(directions: Any, d_model: int) -> Float[Array, "k d_model"]:
    """Directions in double precision, as they should be: finite, independent, as wide as the rows.

    Raises TypeError for something else than a float tensor, ValueError for everything else.
    """
    if not isinstance(directions, Tensor) or not directions.is_floating_point():
        kind = directions.dtype if isinstance(directions, Tensor) else type(directions).__name__
        raise TypeError(f"directions is {kind}; expected a float tensor [k, d_model]")
    if directions.ndim != 2 or directions.shape[1] != d_model or not len(directions):
        raise ValueError(
            f"directions has shape {list(directions.shape)}; expected [k, {d_model}], as wide as the "
            "decoder's rows"
        )
    W = directions.detach().cpu().double().numpy()
    if not np.isfinite(W).all():
        raise ValueError("directions holds NaN or infinite values")
    singular = np.linalg.svd(W, compute_uv=False)
    if len(W) > d_model or singular[-1] <= 1e-8 * singular[0]:
        raise ValueError("directions are linearly dependent: one of them says nothing of its own")
    return W
