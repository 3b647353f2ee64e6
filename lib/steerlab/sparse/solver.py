"""Sparse steering as a convex program over a whole dictionary, with a proof of optimality.

    SOCP   min 1ᵀδ                  with  (D w_j)ᵀδ ≥ γ_j,  ‖Dᵀδ‖₂ ≤ ε,  δ ≥ 0
    QP     min 1ᵀδ + λ/2 ‖Dᵀδ‖²    with  (D w_j)ᵀδ ≥ γ_j,                δ ≥ 0

D holds the decoder's rows at norm 1, w_j the concept's directions. Both have one dual, over μ ∈ R^k and
z ∈ R^d, with one constraint for each feature:

    D (Wᵀμ − z) ≤ 1,  μ ≥ 0:     max γᵀμ − ε‖z‖     or     max γᵀμ − ‖z‖² / 2λ

A solution has few active features, so an active set finds it (`active_set`), and the product D y tells
which features are still missing. Dividing y = Wᵀμ − λ Dᵀδ by its largest product makes it feasible:
that is the certificate, and it covers every feature, kept or not.

The SOCP is the QP whose λ makes the norm ε. ‖Dᵀδ‖² is piecewise linear in 1/λ² and each piece is
known in closed form, so λ takes a few Newton steps. Features once needed are kept, and the active ones
start the next problem, over prompts as over a path of α, ε or λ.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy import ndarray as Array
from torch import Tensor

from steerlab.sparse.active_set import Point, Stalled, WorkingSet
from steerlab.sparse.answers import SparseAnswer, Status
from steerlab.sparse.linear import basic_solution, shortest
from steerlab.sparse.rows import Prices, UnitRows, check_directions

DEFAULT_SLACK = 1.25  # ε over the norm of what is missing, where none is given
GAP = 1e-6  # certified relative gap that an answer must have
_AIM = 1e-9  # violation of a dual constraint at which a feature counts as missing
_BLOCK = 40  # features taken in at once
_POOL = 512  # features that a full product brings to the kept ones
_MOST_KEPT = 2048
_GROWTH = 3.0  # by how much λ rises at most while the norm is too large
_FINE = 1e-8  # relative gap at which λ is good enough
_ROUNDS = 100
_STEEPEST = 1e7  # λ (for γ and D of size 1) beyond which the norm is as small as it gets


@dataclass(frozen=True)
class _Solved:
    """A point and its dual: x = Dᵀδ, y = Wᵀμ − λx, and κ ≥ every d_iᵀ y."""

    mu: Float[Array, " k"]
    lam: float
    x: Float[Array, " d_model"]
    cost: float
    kappa: float

    @property
    def norm(self) -> float:
        return float(np.linalg.norm(self.x))


class SparseSolver:
    """Solves the SOCP and the QP for one dictionary and one set of directions, again and again.

    W_dec [d_sae, d_model]: the decoder, in any scale. directions [k, d_model]: independent rows w_j,
    such as `ConceptSubspace.directions`. Solving a problem leaves behind the features it needed, which
    makes the next one faster and changes no optimum; `forget()` starts afresh.

    Raises TypeError and ValueError for matrices of the wrong kind, shape or with values that are not
    finite.
    """

    def __init__(
        self, W_dec: Float[Tensor, "d_sae d_model"], directions: Float[Tensor, "k d_model"]
    ):
        self.rows = UnitRows(W_dec)
        W = check_directions(directions, self.rows.d_model)
        self._lengths = np.linalg.norm(W, axis=1)
        self._W = W / self._lengths[:, None]
        self._lift = self.rows.times(self._W.T)
        self.forget()

    def forget(self) -> None:
        """Solve the next problem from nothing."""
        self._kept = np.zeros(0, dtype=int)
        self._kept_rows = np.zeros((0, self.rows.d_model))
        self._last: tuple[WorkingSet, float] | None = None  # and λ‖Dᵀδ‖ there

    # ---------------------------------------------------------------------------------- programs

    def socp(
        self, gamma: Float[Tensor, " k"] | Sequence[float], epsilon: float | None = None
    ) -> SparseAnswer:
        """Fewest (in 1-norm) features that lift each direction by γ_j within ‖Dᵀδ‖ ≤ ε.

        gamma: what is missing along each direction (`ConceptSubspace.missing(h)`); rows with γ_j ≤ 0
        bind the answer, too. epsilon: 1.25 ‖γ₊‖ where it is left out, in the residual's units.
        Raises ValueError for a gamma of another length or not finite, or ε not positive.
        """
        started = time.perf_counter()
        goal = self._goal(gamma)
        reach = float(np.linalg.norm(np.maximum(goal, 0)))
        if epsilon is None:
            epsilon = DEFAULT_SLACK * reach
        elif not (math.isfinite(epsilon) and epsilon > 0):
            raise ValueError(f"epsilon is {epsilon}; a norm bound is a finite number above 0")
        if reach == 0:
            return self._nothing_to_do("socp", started, epsilon=epsilon)
        scaled = epsilon / reach
        return self._certified(lambda: self._bounded(goal / reach, scaled, reach, started))

    def qp(self, gamma: Float[Tensor, " k"] | Sequence[float], lam: float = 1.0) -> SparseAnswer:
        """Fewest features that lift each direction by γ_j, with a penalty λ/2 ‖Dᵀδ‖² on the norm.

        lam: the penalty, in 1 / the residual's units. Raises ValueError for a gamma of another length
        or not finite, or λ not positive.
        """
        started = time.perf_counter()
        goal = self._goal(gamma)
        if not (math.isfinite(lam) and lam > 0):
            raise ValueError(f"lam is {lam}; a penalty is a finite number above 0")
        reach = float(np.linalg.norm(np.maximum(goal, 0)))
        if reach == 0:
            return self._nothing_to_do("qp", started, lam=lam)
        scaled = lam * reach
        return self._certified(lambda: self._penalised(goal / reach, scaled, reach, started))

    def socp_path(
        self, gamma: Float[Tensor, " k"] | Sequence[float], epsilons: Iterable[float]
    ) -> list[SparseAnswer]:
        """The SOCP at several norm bounds, each started from the last, in the order given."""
        return [self.socp(gamma, epsilon) for epsilon in epsilons]

    def qp_path(
        self, gamma: Float[Tensor, " k"] | Sequence[float], lams: Iterable[float]
    ) -> list[SparseAnswer]:
        """The QP at several penalties, each started from the last, in the order given."""
        return [self.qp(gamma, lam) for lam in lams]

    def _goal(self, gamma: Any) -> Float[Array, " k"]:
        if isinstance(gamma, Tensor):
            gamma = gamma.detach().cpu()
        goal = np.asarray(gamma, dtype=np.float64)
        if goal.shape != (len(self._W),):
            raise ValueError(
                f"gamma has shape {list(goal.shape)}; expected [{len(self._W)}], one for each direction"
            )
        if not np.isfinite(goal).all():
            raise ValueError("gamma holds NaN or infinite values")
        return goal / self._lengths

    def _certified(self, solve: Callable[[], SparseAnswer]) -> SparseAnswer:
        """An answer with its certificate; a warm start that leads astray is forgotten."""
        for _ in range(2):
            try:
                answer = solve()
            except Stalled as error:
                failure = str(error)
            else:
                if answer.status != "optimal" or (answer.gap <= GAP and answer.violation <= GAP):
                    return answer
                failure = f"relative gap {answer.gap:.1e}, violation {answer.violation:.1e}"
            self.forget()
        raise RuntimeError(
            f"no answer could be certified ({failure}): the dictionary is too nearly dependent; "
            "steerlab.sparse.solve_reference takes such problems to a general solver"
        )

    # ------------------------------------- both, scaled so that γ₊ has norm 1, and so ε and λ are of size 1

    def _penalised(self, goal: Array, lam: float, reach: float, started: float) -> SparseAnswer:
        working = self._resumed(goal, lam)
        if working is None:
            begun = self._begin(goal)
            if begun is None:
                return self._infeasible("qp", started, lam=lam / reach)
            working = begun[0]
        solved, _ = self._priced(working, goal, lam)
        self._last = (working, lam * solved.norm)
        cost = solved.cost + lam / 2 * solved.norm**2
        # Any multiple of a dual point up to 1/κ is feasible; this one has the highest value.
        value, squared = float(goal @ solved.mu), (lam * solved.norm) ** 2
        part = min(1 / solved.kappa, lam * value / squared) if squared else 1 / solved.kappa
        dual = self._dual(solved, part)
        return self._answer("qp", working, goal, reach, started, cost, dual, lam=lam / reach)

    def _bounded(self, goal: Array, epsilon: float, reach: float, started: float) -> SparseAnswer:
        asked = {"epsilon": epsilon * reach}
        possible = epsilon >= (1 - 1e-9) * shortest(self._W, goal)
        tension = self._last[1] if self._last else None
        working = self._resumed(goal, tension / epsilon) if possible and tension else None
        if working is None:
            begun = self._begin(goal)
            if begun is None:
                return self._infeasible("socp", started, **asked)
            working, mu = begun
            cost = float(working.amounts.sum())
            if possible and np.linalg.norm(working.x) <= epsilon:
                # The norm bound is loose: the vertex of the linear program is the optimum.
                dual = mu, self._W.T @ mu
                return self._answer("socp", working, goal, reach, started, cost, dual, **asked)
        if possible:
            guess = tension or 0.05 * float(working.amounts.sum()) / epsilon
            solved = self._search(working, goal, epsilon, guess / epsilon)
            if solved.norm <= epsilon * (1 + 1e-9):
                self._last = (working, solved.lam * epsilon)
                dual = self._dual(solved, 1 / solved.kappa)
                return self._answer(
                    "socp", working, goal, reach, started, solved.cost, dual, **asked
                )
        smallest = self._smallest(working, goal) * reach
        return self._infeasible("socp", started, smallest, **asked)

    def _dual(self, solved: _Solved, part: float) -> tuple[Array, Array]:
        """(μ, y), scaled by `part` so that no feature's d_iᵀ y exceeds 1."""
        return part * solved.mu, part * (self._W.T @ solved.mu - solved.lam * solved.x)

    def _begin(self, goal: Array) -> tuple[WorkingSet, Array] | None:
        """The optimum without norm, which satisfies the rows, and multipliers that prove it."""
        basic = basic_solution(self._lift, goal)
        if basic is None:
            return None
        rows = self.rows[basic.features]
        lift = self._lift[basic.features]
        working = WorkingSet(basic.features, basic.amounts, rows, lift, goal)
        highest = max(1.0, float((self._lift @ basic.multipliers).max()))
        return working, basic.multipliers / highest

    def _search(self, working: WorkingSet, goal: Array, epsilon: float, lam: float) -> _Solved:
        """The QP whose solution has norm ε; or, where even a huge λ leaves it longer, that one."""
        low, high = 0.0, math.inf

        def far_off(norm: float, kappa: float) -> bool:
            return norm > 1.02 * epsilon and kappa < 1.05

        for _ in range(_ROUNDS):
            solved, point = self._priced(working, goal, lam, far_off)
            next_lam = point.lam_for(epsilon)
            settled = solved.kappa <= 1 + GAP
            if solved.norm > epsilon * (1 + 1e-10):
                if lam >= _STEEPEST:
                    return solved
                low = lam if settled else low
                lam = min(next_lam, _GROWTH * lam, _STEEPEST)
            else:
                if solved.cost - _bound(solved, goal, epsilon) <= _FINE * solved.cost:
                    return solved
                high, lam = lam, max(next_lam, lam / 30)
            if not low < lam < high:
                lam = math.sqrt(low * high) if low else high / 3
        raise Stalled(f"no penalty was found at which the norm is {epsilon:.6g}")

    def _smallest(self, working: WorkingSet, goal: Array) -> float:
        """The smallest norm at which amounts of any size lift the rows by `goal`.

        The features found have that norm, and no dictionary allows less than `shortest`.
        """
        floor = shortest(self._W, goal)

        def as_short_as_can_be(norm: float, kappa: float) -> bool:
            return norm <= floor * (1 + 1e-9) or kappa < 1 + 1e-3

        return self._priced(working, goal, _STEEPEST, as_short_as_can_be)[0].norm

    def _priced(
        self,
        working: WorkingSet,
        goal: Array,
        lam: float,
        enough: Callable[[float, float], bool] = lambda norm, kappa: False,
    ) -> tuple[_Solved, Point]:
        """The QP's optimum over the whole dictionary, or a rougher point that is `enough`.

        enough: told the norm, and κ ≥ every d_iᵀ y, infinite where not every feature was looked at.
        """
        block, before = _BLOCK, math.inf
        while True:
            point = working.minimise(lam)
            x, cost = working.x, float(working.amounts.sum())
            mu = working.multipliers(point.multipliers)
            y = self._W.T @ mu - lam * x
            norm = float(np.linalg.norm(x))
            value = cost + lam / 2 * norm**2
            if value >= before * (1 - 1e-14):  # features taken in together were in each other's way
                block = 1 if block > 1 else 0
            before = value
            missing, kappa = self._missing(self._kept, self._kept_rows @ y, working), math.inf
            if (not len(missing) or not block) and not enough(norm, kappa):
                prices = self.rows.prices(y)
                kappa = max(1.0, prices.bound)
                self._keep(prices)
                missing = self._missing(self._kept, self._kept_rows @ y, working)
            if enough(norm, kappa) or (kappa < math.inf and not (len(missing) and block)):
                return _Solved(mu, lam, x, cost, kappa), point
            most = max(block, len(working) // 2) if block > 1 else 1
            taken = missing[:most]
            working.add(taken, self.rows[taken], self._lift[taken])

    def _missing(self, features: Array, prices: Array, working: WorkingSet) -> Array:
        """Of some features those that would lower the cost, best first."""
        order = np.argsort(-prices)
        order = order[prices[order] > 1 + _AIM]
        return features[order][~np.isin(features[order], working.features)]

    # ---------------------------------------------------------------------------- warm starts

    def _keep(self, prices: Prices) -> None:
        """Hold on to the features nearest to their constraints: the next ones come from among them."""
        new = prices.highest(_POOL)
        new = new[~np.isin(new, self._kept)]
        self._kept = np.concatenate([new, self._kept])[:_MOST_KEPT]
        self._kept_rows = np.concatenate([self.rows[new], self._kept_rows])[:_MOST_KEPT]

    def _resumed(self, goal: Array, lam: float) -> WorkingSet | None:
        """The last problem's active features with amounts for this one, where they have some."""
        if self._last is None or not self._last[0].restart(goal, lam):
            return None
        return self._last[0]

    # -------------------------------------------------------------------------------- answers

    def _answer(
        self,
        kind: Literal["socp", "qp"],
        working: WorkingSet,
        goal: Array,
        reach: float,
        started: float,
        cost: float,
        dual: tuple[Array, Array],
        **asked: float,
    ) -> SparseAnswer:
        order = np.argsort(-working.amounts)
        order = order[working.amounts[order] > 0]
        features, amounts = working.features[order], working.amounts[order] * reach
        x, (mu, y) = working.x, dual
        missed = float(np.max(goal - working.lift.T @ working.amounts))
        z, bound = self._W.T @ mu - y, reach * float(goal @ mu)
        if kind == "socp":
            missed = max(missed, float(np.linalg.norm(x)) * reach / asked["epsilon"] - 1)
            bound -= asked["epsilon"] * float(np.linalg.norm(z))
        else:
            bound -= float(z @ z) / (2 * asked["lam"])
        return SparseAnswer(
            status="optimal",
            kind=kind,
            features=tuple(int(i) for i in features),
            amounts=torch.from_numpy(amounts).float(),
            activations=torch.from_numpy(amounts / self.rows.norms[features]).float(),
            objective=cost * reach,
            bound=bound,
            gap=abs(cost * reach - bound) / (cost * reach),
            violation=max(0.0, missed),
            norm=float(np.linalg.norm(x)) * reach,
            multipliers=torch.from_numpy(mu / self._lengths),
            dual=torch.from_numpy(y),
            seconds=time.perf_counter() - started,
            d_sae=len(self.rows),
            _vector=torch.from_numpy(x * reach).float(),
            **asked,
        )

    def _nothing_to_do(
        self, kind: Literal["socp", "qp"], started: float, **asked: float
    ) -> SparseAnswer:
        return self._empty("already_satisfied", kind, started, **asked)

    def _infeasible(
        self,
        kind: Literal["socp", "qp"],
        started: float,
        smallest: float = math.inf,
        **asked: float,
    ) -> SparseAnswer:
        return self._empty("infeasible", kind, started, smallest_epsilon=smallest, **asked)

    def _empty(
        self, status: Status, kind: Literal["socp", "qp"], started: float, **asked: float
    ) -> SparseAnswer:
        shape = (len(self._W), len(self.rows), self.rows.d_model)
        seconds = time.perf_counter() - started
        return SparseAnswer.without_features(status, kind, shape, seconds, **asked)


def _bound(solved: _Solved, goal: Array, epsilon: float) -> float:
    """What no answer of the SOCP over the whole dictionary can cost less than."""
    return (float(goal @ solved.mu) - epsilon * solved.lam * solved.norm) / solved.kappa
