"""Asks the solver although nothing is missing, and calls its zeros optimal."""

# canary-e2f2452f56fc60d5d1c39057eba3cb04

import cvxpy as cp
import torch

TASK = "solve_socp"
EXPECT = "loses"


def solve_socp(D, directions, gamma, epsilon):
    A, W, g = (t.double().numpy() for t in (D, directions, gamma))
    y = cp.Variable(len(A), nonneg=True)
    problem = cp.Problem(
        cp.Minimize(cp.sum(y)), [W @ (A.T @ y) >= g, cp.norm(A.T @ y, 2) <= epsilon]
    )
    problem.solve()
    if problem.status not in ("optimal", "optimal_inaccurate"):
        return "infeasible", None
    return "optimal", torch.tensor(y.value).float()
