"""A primal active-set method for min 1ᵀδ + λ/2 ‖Bᵀδ‖² with A δ ≥ γ, δ ≥ 0 on a few features.

On a guess of which features are active and which rows are tight, the optimum is a linear system
(the features' Gram matrix and a handful of rows). The guess is corrected one constraint at a time
(Nocedal & Wright, 2006, ch. 16): a step to the system's solution ends where an amount reaches zero or
a slack row becomes tight. Supports have up to d_model features, so that dense Cholesky factors
are far cheaper than the large sparse systems of a general solver.

For a fixed guess the amounts are u + v/λ with uᵀGv = 0, which gives λ for a norm in closed form:
‖Bᵀδ‖² = ‖u‖_G² + ‖v‖_G² / λ².
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray as Array
from scipy.linalg import lapack

DEPENDENT = 1e-11  # squared distance at which a row of norm 1 counts as lying in others' span
_STEPS = 5000
_JUMPS = 20
_EXACT = 1e-11  # by how much a jump may miss a row
_MISSED = 1e-8  # by how much an optimum may


class Stalled(RuntimeError):
    """The active set does not settle: the features at hand are too nearly dependent."""


@dataclass(frozen=True)
class Point:
    """The optimum on a guess: amounts, multipliers of the tight rows, and the parts of the norm."""

    amounts: Float[Array, " m"]
    multipliers: Float[Array, " tight"]
    fixed: float
    falling: float

    def lam_for(self, norm: float) -> float:
        """The λ at which ‖Bᵀδ‖ has this norm on the same guess; infinite where none has."""
        room = norm**2 - self.fixed
        return float(np.sqrt(self.falling / room)) if room > 0 else float("inf")


class WorkingSet:
    """The active features with their amounts, which at all times satisfy A δ ≥ γ and δ ≥ 0.

    rows [m, d_model] of norm 1; lift [m, k] what a unit of each adds to the rows of A.
    """

    def __init__(
        self,
        features: Int[Array, " m"],
        amounts: Float[Array, " m"],
        rows: Float[Array, "m d_model"],
        lift: Float[Array, "m k"],
        gamma: Float[Array, " k"],
    ):
        self.features, self.amounts, self.rows, self.lift = features, amounts, rows, lift
        self.gamma = gamma
        self.gram = rows @ rows.T
        self.tight: list[int] = []

    def __len__(self) -> int:
        return len(self.features)

    @property
    def x(self) -> Float[Array, " d_model"]:
        """What the amounts add to the residual stream."""
        return self.rows.T @ self.amounts

    def multipliers(self, of_tight: Float[Array, " tight"]) -> Float[Array, " k"]:
        """One multiplier for each row; 0 where the row is slack."""
        all_rows = np.zeros(len(self.gamma))
        all_rows[self.tight] = np.maximum(of_tight, 0)
        return all_rows

    # ------------------------------------------------------------------ the optimum on a guess

    def minimise(self, lam: float) -> Point:
        """Move to the optimum over these features; those that end at zero are dropped.

        Raises Stalled where that takes too many steps.
        """
        point = self._jump(lam, self._cost(lam))
        for _ in range(_STEPS):
            point = point or self._step(lam)
            if point is None:
                continue
            slack = self.lift.T @ self.amounts - self.gamma
            if np.abs(slack[self.tight]).max(initial=0.0) > _MISSED:
                raise Stalled(f"{len(self)} features cannot meet {len(self.tight)} tight rows")
            least = -1e-12 * (1 + np.abs(point.multipliers).max(initial=0.0))
            if point.multipliers.min(initial=0.0) >= least:
                return point
            self.tight.pop(int(np.argmin(point.multipliers)))
            point = None
        raise Stalled(f"the active set of {len(self)} features did not settle in {_STEPS} steps")

    def restart(self, gamma: Float[Array, " k"], lam: float) -> bool:
        """Turn to another goal; False where these features have no feasible amounts at hand."""
        self.gamma = gamma
        self.amounts = np.zeros(len(self))
        return self._jump(lam, float("inf")) is not None

    def _jump(self, lam: float, cost: float) -> Point | None:
        """Drop all features below zero at once, until none is: mostly right, and else undone.

        On the way the amounts need not be feasible. Where they end they are, and the jump counts if
        they cost at most `cost` (block principal pivoting, Júdice & Pires, 1994).
        """
        before = (self.features, self.amounts, self.rows, self.lift, self.gram, [*self.tight])
        for _ in range(_JUMPS):
            if len(self) < max(1, len(self.tight)):
                break
            try:
                point = self._equality_optimum(lam)
            except Stalled:
                break
            falls = point.amounts < 0
            slack = self.lift.T @ point.amounts - self.gamma
            if np.abs(slack[self.tight]).max(initial=0.0) > _EXACT:
                break  # too few features are left to meet the tight rows
            short = slack < -_EXACT
            short[self.tight] = False
            if not falls.any() and not short.any():
                self.amounts = point.amounts
                if self._cost(lam) <= cost:
                    return point
                break
            self._keep(~falls)
            self.tight += [int(j) for j in np.flatnonzero(short)]
        self.features, self.amounts, self.rows, self.lift, self.gram, self.tight = before
        return None

    def _step(self, lam: float) -> Point | None:
        """One step towards the optimum on the present guess; that optimum where it is reached."""
        point = self._equality_optimum(lam)
        falls = point.amounts < 0
        blocked = falls & (self.amounts <= 0)
        if blocked.any():  # features that came in at zero and want to go below it
            self._keep(~blocked)
            return None
        return point if self._step_to(point.amounts, falls) else None

    def _cost(self, lam: float) -> float:
        return float(self.amounts.sum() + lam / 2 * self.amounts @ (self.gram @ self.amounts))

    def _equality_optimum(self, lam: float) -> Point:
        """The optimum with these features at any sign and the tight rows as equations."""
        factor = self._factor()
        tight = self.lift[:, self.tight]
        ones = np.ones(len(self))
        solved = lapack.dpotrs(factor, np.column_stack([tight, ones]), lower=1)[0]
        by_row, by_cost = solved[:, :-1], solved[:, -1]
        if not self.tight:
            return Point(-by_cost / lam, np.zeros(0), 0.0, float(ones @ by_cost))
        inner, offset = tight.T @ by_row, tight.T @ by_cost
        for_gamma, for_cost = _solve_small(inner, self.gamma[self.tight], offset)
        u, v = by_row @ for_gamma, by_row @ for_cost - by_cost
        falling = float(v @ (self.gram @ v))
        if falling <= 1e-20 * float(ones @ by_cost):  # the rows leave no freedom: v is rounding
            v, falling = np.zeros_like(v), 0.0
        return Point(u + v / lam, lam * for_gamma + for_cost, float(u @ (self.gram @ u)), falling)

    def _factor(self) -> Float[Array, "m m"]:
        factor, failed = lapack.dpotrf(self.gram, lower=1)
        if failed:
            raise Stalled(f"{len(self)} active features are linearly dependent")
        return factor

    def _step_to(self, target: Float[Array, " m"], falls: Bool[Array, " m"]) -> bool:
        """Go as far towards the target as the constraints let; True where that is all the way."""
        step = target - self.amounts
        share, row = 1.0, None
        if falls.any():
            share = float(np.min(self.amounts[falls] / -step[falls]))
        slack, change = self.lift.T @ self.amounts - self.gamma, self.lift.T @ step
        for j in range(len(self.gamma)):
            if j not in self.tight and change[j] < -1e-14:
                reach = max(float(slack[j]), 0.0) / -float(change[j])
                if reach < share:
                    share, row = reach, j
        if share >= 1:
            self.amounts = target
            return True
        self.amounts = self.amounts + share * step
        if row is not None:
            self.tight.append(row)
        else:
            gone = self.amounts <= 1e-13 * self.amounts.max(initial=0.0)
            self._keep(~gone)
        return False

    def _keep(self, kept: Bool[Array, " m"]) -> None:
        self.features, self.amounts = self.features[kept], self.amounts[kept]
        self.rows, self.lift = self.rows[kept], self.lift[kept]
        self.gram = self.gram[np.ix_(kept, kept)]

    # ------------------------------------------------------------------------- more features

    def add(
        self,
        features: Int[Array, " n"],
        rows: Float[Array, "n d_model"],
        lift: Float[Array, "n k"],
    ) -> None:
        """Take features in at amount zero, best first; those dependent on others are left out.

        Where the first one depends on the active features, it takes the place of one of them:
        what it adds to the residual they add at a higher price.
        """
        across = self.rows @ rows.T
        factor = self._factor()
        reduced = lapack.dtrtrs(factor, across, lower=1)[0]
        apart = rows @ rows.T - reduced.T @ reduced
        if apart[0, 0] < DEPENDENT:
            self._exchange(features[:1], rows[:1], lift[:1], factor, across[:, 0])
            return
        chosen = _independent(apart)
        if len(chosen) < len(features):
            features, rows, lift = features[chosen], rows[chosen], lift[chosen]
            across = across[:, chosen]
        self.gram = np.block([[self.gram, across], [across.T, rows @ rows.T]])
        self.rows = np.concatenate([self.rows, rows])
        self.lift = np.concatenate([self.lift, lift])
        self.features = np.concatenate([self.features, features])
        self.amounts = np.concatenate([self.amounts, np.zeros(len(features))])

    def _exchange(
        self,
        feature: Int[Array, " one"],
        row: Float[Array, "one d_model"],
        lift: Float[Array, "one k"],
        factor: Float[Array, "m m"],
        across: Float[Array, " m"],
    ) -> None:
        """Replace the others' part in what `feature` adds, until one of them is used up."""
        instead = lapack.dpotrs(factor, across, lower=1)[0]
        used = instead > 1e-12
        if not used.any():
            raise Stalled("a dependent feature has nothing to take the place of")
        reach = np.full(len(self), np.inf)
        reach[used] = self.amounts[used] / instead[used]
        out = int(np.argmin(reach))
        amount = float(reach[out])
        self.amounts = np.maximum(self.amounts - amount * instead, 0.0)
        kept = np.arange(len(self)) != out
        self._keep(kept)
        across = self.rows @ row[0]
        self.gram = np.block([[self.gram, across[:, None]], [across[None], row @ row.T]])
        self.rows = np.concatenate([self.rows, row])
        self.lift = np.concatenate([self.lift, lift])
        self.features = np.concatenate([self.features, feature])
        self.amounts = np.append(self.amounts, amount)


def _independent(gram: Float[Array, "n n"]) -> list[int]:
    """Indices of independent vectors by their Gram matrix, by pivoted Cholesky."""
    _, pivots, rank, _ = lapack.dpstrf(gram, tol=DEPENDENT, lower=1)
    return sorted(int(i) - 1 for i in pivots[:rank])


def _solve_small(
    matrix: Float[Array, "t t"], *right: Float[Array, " t"]
) -> Iterable[Float[Array, " t"]]:
    """Solve with the matrix of the tight rows; the shortest solution where they are dependent."""
    columns = np.column_stack(right)
    factor, failed = lapack.dpotrf(matrix, lower=1)
    diagonal = np.diag(factor)
    if not failed and diagonal.min() > 1e-7 * diagonal.max():
        return lapack.dpotrs(factor, columns, lower=1)[0].T
    return np.linalg.lstsq(matrix, columns, rcond=1e-13)[0].T
