"""Pairs sorted by Python, the vector as a running sum."""

# canary-e2f2452f56fc60d5d1c39057eba3cb04

import torch

TASK = "steering_vector"
EXPECT = "keeps"


def steering_vector(D, norms, delta):
    if not delta.any():
        return torch.zeros_like(D[0]), {}
    least = float(delta.max()) / 1000
    pairs = sorted(((float(a), i) for i, a in enumerate(delta) if a > least), reverse=True)
    vector, active = torch.zeros(D.shape[1], dtype=torch.float64), {}
    for amount, i in pairs:
        vector = vector + amount * D[i].double()
        active[i] = amount / float(norms[i])
    return vector.float(), active
