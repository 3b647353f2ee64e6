"""The factor is not divided by the vector's own length."""

# canary-e2f2452f56fc60d5d1c39057eba3cb04

TASK = "at_dose"
EXPECT = "loses"


def at_dose(vectors, stream, dose):
    return vectors * dose * stream.norm(dim=1).mean()
