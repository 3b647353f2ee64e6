"""The cone is written as cp.SOC, in float64, and what the solver says is read as a word."""

# canary-e2f2452f56fc60d5d1c39057eba3cb04

import cvxpy as cp
import numpy as np
import torch

TASK = "solve_socp"
EXPECT = "keeps"


def solve_socp(D, directions, gamma, epsilon):
    if not (gamma > 0).any():
        return "already_satisfied", torch.zeros_like(D[:, 0])
    A, W, g = D.double().numpy(), directions.double().numpy(), gamma.double().numpy()
    x = cp.Variable(A.shape[1])
    y = cp.Variable(len(A), nonneg=True)
    cone = cp.SOC(cp.Constant(float(epsilon)), x)
    found = cp.Problem(cp.Minimize(np.ones(len(A)) @ y), [cone, x == y @ A, g - W @ x <= 0])
    found.solve(solver="SCS", eps=1e-6)
    word = found.status.split("_")[0]
    return word, torch.from_numpy(y.value) if word == "optimal" else None
