"""Norms over the wrong dimension."""

# canary-e2f2452f56fc60d5d1c39057eba3cb04

TASK = "at_dose"
EXPECT = "loses"


def at_dose(vectors, stream, dose):
    size = dose * stream.norm(dim=1).mean()
    return vectors / vectors.norm(dim=0, keepdim=True).clamp(min=1e-9) * size
