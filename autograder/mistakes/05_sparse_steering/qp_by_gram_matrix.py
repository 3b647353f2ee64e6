"""The penalty by the Gram matrix of the rows, an interior-point solver."""

# canary-e2f2452f56fc60d5d1c39057eba3cb04

import cvxpy as cp
import torch

TASK = "solve_qp"
EXPECT = "keeps"


def solve_qp(D, directions, gamma, lam):
    if gamma.max() <= 0:
        return "already_satisfied", torch.zeros(len(D))
    A, W, g = (t.double().numpy() for t in (D, directions, gamma))
    y = cp.Variable(len(A), nonneg=True)
    problem = cp.Problem(
        cp.Minimize(cp.sum(y) + cp.quad_form(y, cp.psd_wrap(0.5 * lam * (A @ A.T)))),
        [W @ (A.T @ y) >= g],
    )
    problem.solve(solver="CLARABEL")
    if problem.status not in ("optimal", "optimal_inaccurate"):
        return "infeasible", None
    return "optimal", torch.tensor(y.value).float()
