"""Right, at full price: all features are encoded and decoded."""

# canary-2a401911fbd690c2a961111e5ad6406c

import torch

TASK = "clamp_step"
EXPECT = "loses"


def clamp_step(x, sae, values):
    z = x @ sae["W_enc"] + sae["b_enc"]
    features = torch.relu(z) * (z > sae["threshold"])
    clamped = features.clone()
    for i, value in values.items():
        clamped[..., i] = value
    return (clamped - features) @ sae["W_dec"]
