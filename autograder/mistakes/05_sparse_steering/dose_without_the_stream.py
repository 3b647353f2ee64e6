"""The dose is taken for a length."""

# canary-e2f2452f56fc60d5d1c39057eba3cb04

TASK = "at_dose"
EXPECT = "loses"


def at_dose(vectors, stream, dose):
    return dose * vectors / vectors.norm(dim=1, keepdim=True).clamp(min=1e-9)
