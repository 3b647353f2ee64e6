"""The measured numbers themselves, with no baseline subtracted."""

# canary-b9dce8c98d9cfb8bf4c9b8986a4e2ec1

import torch

TASK = "sweep"
EXPECT = "loses"


def sweep(measure, direction, draw, n, alphas, stream_norm):
    vectors = torch.cat([direction[None], draw(n)])
    vectors = vectors / vectors.norm(dim=1, keepdim=True) * stream_norm
    effects = torch.tensor([[measure(a * v) for a in alphas] for v in vectors])
    return effects[0], effects[1:]
