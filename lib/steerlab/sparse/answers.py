"""What the convex programs answer: which features, how much of each, and how good that provably is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

Status = Literal["already_satisfied", "optimal", "infeasible"]


class Infeasible(ValueError):
    """There is no steering vector within the norm bound; the message says which bound would do."""


@dataclass(frozen=True, eq=False)
class SparseAnswer:
    """The sparsest change of features that reaches the thresholds, with its certificate.

    status: "optimal", "already_satisfied" (nothing to do: the one case in which the vector is zero) or
    "infeasible". features: the active ones, strongest first, and amounts [n_active] of them as
    lengths in the residual stream (rows at norm 1); activations [n_active] are the same in the
    autoencoder's own units.

    objective: 1ᵀδ, for the QP with the penalty. bound: what no answer over the whole dictionary can
    be below, from a feasible dual point; gap: (objective − bound) / objective. violation: by how much
    the worst constraint is missed, relative to its right-hand side.

    multipliers μ [k] and dual y [d_model], in double precision, are that dual point: whoever doubts the
    bound checks μ ≥ 0 and d_iᵀ y ≤ 1 for every row d_i at norm 1, and with z = Wᵀμ − y finds
    bound = γᵀμ − ε‖z‖, for the QP γᵀμ − ‖z‖²/2λ.

    norm: ‖Dᵀδ‖. epsilon or lam: what was asked for. smallest_epsilon: for an infeasible SOCP the
    smallest norm bound that would do; infinite where no bound would.
    """

    status: Status
    kind: Literal["socp", "qp"]
    features: tuple[int, ...]
    amounts: Float[Tensor, " n_active"]
    activations: Float[Tensor, " n_active"]
    objective: float
    bound: float
    gap: float
    violation: float
    norm: float
    multipliers: Float[Tensor, " k"]
    dual: Float[Tensor, " d_model"]
    seconds: float
    d_sae: int
    epsilon: float | None = None
    lam: float | None = None
    smallest_epsilon: float | None = None
    _vector: Tensor = field(default_factory=lambda: torch.zeros(0), repr=False)

    @classmethod
    def without_features(
        cls,
        status: Status,
        kind: Literal["socp", "qp"],
        shape: tuple[int, int, int],
        seconds: float,
        **asked: float,
    ) -> SparseAnswer:
        """Nothing to do, or nothing to be done. shape: (k, d_sae, d_model)."""
        k, d_sae, d_model = shape
        value = 0.0 if status == "already_satisfied" else float("inf")
        return cls(
            status=status,
            kind=kind,
            features=(),
            amounts=torch.zeros(0),
            activations=torch.zeros(0),
            objective=value,
            bound=value,
            gap=0.0,
            violation=value,
            norm=0.0,
            multipliers=torch.zeros(k, dtype=torch.double),
            dual=torch.zeros(d_model, dtype=torch.double),
            seconds=seconds,
            d_sae=d_sae,
            _vector=torch.zeros(d_model),
            **asked,
        )

    @property
    def vector(self) -> Float[Tensor, " d_model"]:
        """Dᵀδ, to be added to the residual: `AddVector(answer.vector)`.

        Raises Infeasible where there is none; zero would look like an answer.
        """
        self.check()
        return self._vector

    @property
    def delta(self) -> Float[Tensor, " d_sae"]:
        """The amount of every feature, most of them zero. Raises Infeasible where there is none."""
        self.check()
        delta = torch.zeros(self.d_sae, dtype=self.amounts.dtype)
        delta[list(self.features)] = self.amounts
        return delta

    @property
    def l0(self) -> int:
        """How many features are active."""
        return len(self.features)

    def check(self) -> SparseAnswer:
        """The answer itself. Raises Infeasible where it has no vector."""
        if self.status != "infeasible":
            return self
        if self.smallest_epsilon == float("inf"):
            raise Infeasible(
                "no amount of any feature reaches the thresholds, whatever the norm: the dictionary "
                "has nothing that points there; use another layer, concept or autoencoder"
            )
        raise Infeasible(
            f"no features reach the thresholds within ‖Dᵀδ‖ ≤ {self.epsilon:.6g}: the smallest ε that "
            f"would do is {self.smallest_epsilon:.6g}; leave epsilon out for 1.25 times what is missing"
        )
