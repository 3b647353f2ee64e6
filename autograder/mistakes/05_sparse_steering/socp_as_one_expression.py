"""Without a name for the vector, by an interior-point solver, δ ≥ 0 as a comparison."""

# canary-e2f2452f56fc60d5d1c39057eba3cb04

import cvxpy as cp
import torch

TASK = "solve_socp"
EXPECT = "keeps"


def solve_socp(D, directions, gamma, epsilon):
    if gamma.max() <= 0:
        return "already_satisfied", torch.zeros(len(D))
    A, W, g = (t.double().numpy() for t in (D, directions, gamma))
    y = cp.Variable(len(A))
    problem = cp.Problem(
        cp.Minimize(cp.norm1(y)), [W @ A.T @ y >= g, cp.norm(A.T @ y) <= epsilon, y >= 0]
    )
    problem.solve(solver="CLARABEL")
    if y.value is None:
        return "infeasible", None
    return "optimal", torch.as_tensor(y.value, dtype=torch.float32).relu()
