"""Where the norm bound plays no part: min 1ᵀδ with A δ ≥ γ, δ ≥ 0, over the whole dictionary.

A linear program with k rows has an optimum on at most k features. Its dual has k unknowns and one
constraint for each feature, max γᵀμ with A μ ≤ 1, μ ≥ 0; of those only a few ever matter, and they
are found as they are violated. HiGHS solves each small program by its simplex method, so that the
solution is a vertex.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray as Array

HUGE = 1e7  # what a multiplier may not reach where some features can lift its row
_BLOCK = 30
_ROUNDS = 200


@dataclass(frozen=True)
class Basic:
    """A basic solution: features with their amounts, and the multipliers μ of the rows."""

    features: Int[Array, " m"]
    amounts: Float[Array, " m"]
    multipliers: Float[Array, " k"]


def basic_solution(lift: Float[Array, "d_sae k"], gamma: Float[Array, " k"]) -> Basic | None:
    """The cheapest amounts with liftᵀδ ≥ gamma; None where no amounts would do.

    lift: what a unit of each feature adds to each row, at most about 1 in size.
    """
    from scipy.optimize import linprog

    scale = float(gamma.max())
    if scale <= 0:
        nothing = np.zeros(0)
        return Basic(nothing.astype(int), nothing, np.zeros(len(gamma)))
    chosen = np.unique(np.argsort(-(lift @ np.maximum(gamma, 0)))[:_BLOCK])
    chosen = np.union1d(chosen, np.argsort(-lift, axis=0)[:_BLOCK].ravel())
    for _ in range(_ROUNDS):
        solved = linprog(
            -gamma / scale,
            A_ub=lift[chosen],
            b_ub=np.ones(len(chosen)),
            bounds=(0, HUGE),
            method="highs-ds",
        )
        if solved.status != 0:
            raise RuntimeError(f"HiGHS could not solve the linear program: {solved.message}")
        values = lift @ solved.x
        values[chosen] = -np.inf
        worst = np.argsort(-values)[:_BLOCK]
        worst = worst[values[worst] > 1 + 1e-9]
        if not len(worst):
            break
        chosen = np.concatenate([chosen, worst])
    if solved.x.max() >= HUGE * (1 - 1e-6):
        return None
    amounts = np.maximum(-solved.ineqlin.marginals, 0) * scale
    used = amounts > 1e-12 * scale
    return Basic(chosen[used], amounts[used], solved.x)


def shortest(W: Float[Array, "k d_model"], goal: Float[Array, " k"]) -> float:
    """The norm of the shortest x with W x ≥ goal, in any direction (Lawson & Hanson, 1974, ch. 23)."""
    from scipy.optimize import nnls

    rows = np.concatenate([W.T, goal[None]])
    u, _ = nnls(rows, np.append(np.zeros(W.shape[1]), 1.0))
    residual = rows @ u
    residual[-1] -= 1
    return float(np.linalg.norm(residual[:-1] / residual[-1]))
