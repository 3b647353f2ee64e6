"""The controls are added at whatever length they were drawn."""

# canary-b9dce8c98d9cfb8bf4c9b8986a4e2ec1

import torch

TASK = "sweep"
EXPECT = "loses"


def sweep(measure, direction, draw, n, alphas, stream_norm):
    vectors = [direction / direction.norm(), *draw(n)]
    base = measure(torch.zeros_like(direction))
    effects = torch.tensor([[measure(a * stream_norm * v) - base for a in alphas] for v in vectors])
    return effects[0], effects[1:]
