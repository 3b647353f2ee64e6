"""The root of the least squared length, by a quadratic program."""

# canary-e2f2452f56fc60d5d1c39057eba3cb04

import cvxpy as cp

TASK = "smallest_epsilon"
EXPECT = "keeps"


def smallest_epsilon(D, directions, gamma):
    if gamma.max() <= 0:
        return 0.0
    A, W, g = (t.double().numpy() for t in (D, directions, gamma))
    y = cp.Variable(len(A), nonneg=True)
    problem = cp.Problem(cp.Minimize(cp.quad_form(y, cp.psd_wrap(A @ A.T))), [W @ (A.T @ y) >= g])
    problem.solve(solver="CLARABEL")
    return float("inf") if y.value is None else max(float(problem.value), 0.0) ** 0.5
