"""A negative strength pushes forwards, too."""

# canary-b9dce8c98d9cfb8bf4c9b8986a4e2ec1

import torch

TASK = "sweep"
EXPECT = "loses"


def sweep(measure, direction, draw, n, alphas, stream_norm):
    vectors = torch.cat([direction[None], draw(n)])
    vectors = vectors / vectors.norm(dim=1, keepdim=True) * stream_norm
    base = measure(torch.zeros_like(direction))
    effects = torch.tensor([[measure(abs(a) * v) - base for a in alphas] for v in vectors])
    return effects[0], effects[1:]
