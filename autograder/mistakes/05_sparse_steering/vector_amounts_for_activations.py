"""Amounts are reported as activations."""

# canary-e2f2452f56fc60d5d1c39057eba3cb04

import torch

TASK = "steering_vector"
EXPECT = "loses"


def steering_vector(D, norms, delta):
    ranked = torch.argsort(-delta)
    on = [int(i) for i in ranked if delta[i] > 0.001 * delta.max()]
    return delta @ D, {i: float(delta[i]) for i in on}
