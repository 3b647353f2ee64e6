"""Rounding counts as an active feature."""

# canary-e2f2452f56fc60d5d1c39057eba3cb04

import torch

TASK = "steering_vector"
EXPECT = "loses"


def steering_vector(D, norms, delta):
    on = [int(i) for i in torch.argsort(-delta) if delta[i] > 0]
    return delta @ D, {i: float(delta[i] / norms[i]) for i in on}
