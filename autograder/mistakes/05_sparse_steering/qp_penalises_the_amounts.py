"""The penalty is on ‖δ‖² and not on ‖Dᵀδ‖²."""

# canary-e2f2452f56fc60d5d1c39057eba3cb04

import cvxpy as cp
import torch

TASK = "solve_qp"
EXPECT = "loses"


def solve_qp(D, directions, gamma, lam):
    if gamma.max() <= 0:
        return "already_satisfied", torch.zeros(len(D))
    A, W, g = (t.double().numpy() for t in (D, directions, gamma))
    y = cp.Variable(len(A), nonneg=True)
    problem = cp.Problem(cp.Minimize(cp.sum(y) + lam / 2 * cp.sum_squares(y)), [W @ (A.T @ y) >= g])
    problem.solve()
    if problem.status not in ("optimal", "optimal_inaccurate"):
        return "infeasible", None
    return "optimal", torch.tensor(y.value).float()
