"""The length of what is missing, whatever the features can make."""

# canary-e2f2452f56fc60d5d1c39057eba3cb04

TASK = "smallest_epsilon"
EXPECT = "loses"


def smallest_epsilon(D, directions, gamma):
    return float(gamma.clamp(min=0).norm())
