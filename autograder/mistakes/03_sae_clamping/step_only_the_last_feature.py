"""The loop overwrites the step."""

# canary-2a401911fbd690c2a961111e5ad6406c

import torch

TASK = "clamp_step"
EXPECT = "loses"


def clamp_step(x, sae, values):
    for i, value in values.items():
        z = x @ sae["W_enc"][:, i] + sae["b_enc"][i]
        feature = torch.relu(z) * (z > sae["threshold"][i])
        step = (value - feature)[..., None] * sae["W_dec"][i]
    return step
