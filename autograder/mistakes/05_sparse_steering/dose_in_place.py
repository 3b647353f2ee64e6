"""Scales the vectors that came in."""

# canary-e2f2452f56fc60d5d1c39057eba3cb04

TASK = "at_dose"
EXPECT = "loses"


def at_dose(vectors, stream, dose):
    size = dose * stream.norm(dim=1).mean()
    vectors *= size / vectors.norm(dim=1, keepdim=True).clamp(min=1e-9)
    return vectors
