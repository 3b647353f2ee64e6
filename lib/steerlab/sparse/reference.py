"""The two programs as one writes them down, for CVXPY: what the solver here is held against.

Any of CVXPY's solvers takes them (Clarabel, SCS, OSQP for the QP). They need the whole dictionary in
memory several times over and give no statement about features that were left out, which is why
`SparseSolver` exists; on a dictionary of some thousand features both give the same optimum.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from steerlab.sparse.rows import UnitRows


def cvxpy_problem(
    W_dec: Float[Tensor, "d_sae d_model"],
    directions: Float[Tensor, "k d_model"],
    gamma: Float[Tensor, " k"],
    *,
    epsilon: float | None = None,
    lam: float | None = None,
) -> tuple[Any, Any]:
    """(problem, δ): the SOCP for an `epsilon`, the QP for a `lam`, as CVXPY objects.

        min 1ᵀδ (+ λ/2 ‖Dᵀδ‖²)   with   (D w_j)ᵀδ ≥ γ_j,  (‖Dᵀδ‖₂ ≤ ε,)  δ ≥ 0

    D: the rows of W_dec at norm 1. Raises ValueError unless one of epsilon and lam is given.
    """
    import cvxpy as cp

    if (epsilon is None) == (lam is None):
        raise ValueError("pass epsilon for the SOCP or lam for the QP, and not both")
    unit = UnitRows(W_dec)
    D = unit[np.arange(len(unit))]
    W = np.asarray(directions.detach().cpu(), dtype=np.float64)
    delta = cp.Variable(len(D), nonneg=True)
    moved = D.T @ delta
    reached = [(D @ W.T).T @ delta >= np.asarray(gamma, dtype=np.float64)]
    if lam is not None:
        return cp.Problem(
            cp.Minimize(cp.sum(delta) + lam / 2 * cp.sum_squares(moved)), reached
        ), delta
    return cp.Problem(cp.Minimize(cp.sum(delta)), [*reached, cp.norm(moved, 2) <= epsilon]), delta


def solve_reference(
    W_dec: Float[Tensor, "d_sae d_model"],
    directions: Float[Tensor, "k d_model"],
    gamma: Float[Tensor, " k"],
    *,
    epsilon: float | None = None,
    lam: float | None = None,
    solver: str = "CLARABEL",
    **options: Any,
) -> Float[Tensor, " d_sae"] | None:
    """δ by CVXPY, or None where its solver finds the problem infeasible.

    solver, options: as CVXPY's `solve` takes them. Raises ValueError as `cvxpy_problem` does, and
    RuntimeError where the solver gives up or is not sure.
    """
    import cvxpy as cp

    problem, delta = cvxpy_problem(W_dec, directions, gamma, epsilon=epsilon, lam=lam)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an inaccurate solution, which is refused below
        try:
            problem.solve(solver=solver, **options)
        except cp.error.SolverError as error:
            raise RuntimeError(f"{solver} gave up: {error}") from error
    if problem.status == "infeasible":
        return None
    if problem.status != "optimal":
        raise RuntimeError(
            f"{solver} gave up: status {problem.status}; allow it more iterations or take another"
        )
    return torch.from_numpy(np.maximum(delta.value, 0.0))
