"""Zero where no bound would do."""

# canary-e2f2452f56fc60d5d1c39057eba3cb04

import cvxpy as cp

TASK = "smallest_epsilon"
EXPECT = "loses"


def smallest_epsilon(D, directions, gamma):
    if gamma.max() <= 0:
        return 0.0
    A, W, g = (t.double().numpy() for t in (D, directions, gamma))
    y = cp.Variable(len(A), nonneg=True)
    problem = cp.Problem(cp.Minimize(cp.norm(A.T @ y, 2)), [W @ (A.T @ y) >= g])
    problem.solve()
    return 0.0 if y.value is None else float(problem.value)
