"""Activations times rows of length 1."""

# canary-e2f2452f56fc60d5d1c39057eba3cb04

import torch

TASK = "steering_vector"
EXPECT = "loses"


def steering_vector(D, norms, delta):
    ranked = torch.argsort(-delta)
    on = [int(i) for i in ranked if delta[i] > 0.001 * delta.max()]
    return (delta / norms) @ D, {i: float(delta[i] / norms[i]) for i in on}
