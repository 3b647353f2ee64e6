"""Features in the order of activations."""

# canary-e2f2452f56fc60d5d1c39057eba3cb04

import torch

TASK = "steering_vector"
EXPECT = "loses"


def steering_vector(D, norms, delta):
    scaled = delta / norms
    on = [int(i) for i in torch.argsort(-scaled) if delta[i] > 0.001 * delta.max()]
    return delta @ D, {i: float(scaled[i]) for i in on}
