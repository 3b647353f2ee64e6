"""0/0 for the vector of zeros."""

# canary-e2f2452f56fc60d5d1c39057eba3cb04

TASK = "at_dose"
EXPECT = "loses"


def at_dose(vectors, stream, dose):
    return vectors / vectors.norm(dim=1, keepdim=True) * dose * stream.norm(dim=1).mean()
