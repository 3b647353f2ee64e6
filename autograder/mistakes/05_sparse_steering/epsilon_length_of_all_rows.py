"""The length of γ with its negative rows."""

# canary-e2f2452f56fc60d5d1c39057eba3cb04

TASK = "smallest_epsilon"
EXPECT = "loses"


def smallest_epsilon(D, directions, gamma):
    return 0.0 if gamma.max() <= 0 else float(gamma.norm())
