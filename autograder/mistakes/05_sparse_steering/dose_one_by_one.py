"""One vector after the other."""

# canary-e2f2452f56fc60d5d1c39057eba3cb04

import torch

TASK = "at_dose"
EXPECT = "keeps"


def at_dose(vectors, stream, dose):
    size = dose * sum(float(token.norm()) for token in stream) / len(stream)
    out = []
    for v in vectors:
        length = float(v.norm())
        out.append(v * (size / length) if length else torch.zeros_like(v))
    return torch.stack(out)
