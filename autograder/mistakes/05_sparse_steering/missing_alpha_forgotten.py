"""α has no effect."""

# canary-e2f2452f56fc60d5d1c39057eba3cb04

TASK = "missing"
EXPECT = "loses"


def missing(h, directions, target_mean, alpha=1.0):
    return (target_mean - h) @ directions.T
