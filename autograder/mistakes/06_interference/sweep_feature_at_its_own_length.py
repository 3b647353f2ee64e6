"""The feature keeps its own length beside controls of length 1."""

# canary-b9dce8c98d9cfb8bf4c9b8986a4e2ec1

import torch

TASK = "sweep"
EXPECT = "loses"


def sweep(measure, direction, draw, n, alphas, stream_norm):
    controls = draw(n)
    controls = controls / controls.norm(dim=1, keepdim=True)
    base = measure(torch.zeros_like(direction))
    vectors = [direction, *controls]
    effects = torch.tensor([[measure(a * stream_norm * v) - base for a in alphas] for v in vectors])
    return effects[0], effects[1:]
