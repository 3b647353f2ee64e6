"""The vector is brought to length 1."""

# canary-e2f2452f56fc60d5d1c39057eba3cb04

import torch

TASK = "steering_vector"
EXPECT = "loses"


def steering_vector(D, norms, delta):
    ranked = torch.argsort(-delta)
    on = [int(i) for i in ranked if delta[i] > 0.001 * delta.max()]
    vector = delta @ D
    return vector / vector.norm().clamp(min=1e-9), {i: float(delta[i] / norms[i]) for i in on}
