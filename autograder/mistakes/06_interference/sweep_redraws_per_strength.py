"""Fresh controls at every strength."""

# canary-b9dce8c98d9cfb8bf4c9b8986a4e2ec1

import torch

TASK = "sweep"
EXPECT = "loses"


def sweep(measure, direction, draw, n, alphas, stream_norm):
    unit = direction / direction.norm()
    base = measure(torch.zeros_like(direction))
    observed, controls = [], []
    for alpha in alphas:
        observed.append(measure(alpha * stream_norm * unit) - base)
        drawn = draw(n)
        drawn = drawn / drawn.norm(dim=1, keepdim=True) * stream_norm
        controls.append([measure(alpha * v) - base for v in drawn])
    return torch.tensor(observed), torch.tensor(controls).T
