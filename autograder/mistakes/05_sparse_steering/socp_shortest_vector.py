"""Minimises the length of the vector."""

# canary-e2f2452f56fc60d5d1c39057eba3cb04

import cvxpy as cp
import torch

TASK = "solve_socp"
EXPECT = "loses"


def solve_socp(D, directions, gamma, epsilon):
    if gamma.max() <= 0:
        return "already_satisfied", torch.zeros(len(D))
    A, W, g = (t.double().numpy() for t in (D, directions, gamma))
    y = cp.Variable(len(A), nonneg=True)
    problem = cp.Problem(
        cp.Minimize(cp.norm(A.T @ y, 2)), [W @ (A.T @ y) >= g, cp.norm(A.T @ y, 2) <= epsilon]
    )
    problem.solve()
    if problem.status not in ("optimal", "optimal_inaccurate"):
        return "infeasible", None
    return "optimal", torch.tensor(y.value).float()
