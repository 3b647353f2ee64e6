"""A running sum, one feature at a time."""

# canary-2a401911fbd690c2a961111e5ad6406c

import torch

TASK = "clamp_step"
EXPECT = "keeps"


def clamp_step(x, sae, values):
    step = torch.zeros_like(x)
    for i in values:
        z = (x * sae["W_enc"][:, i]).sum(dim=-1, keepdim=True) + sae["b_enc"][i]
        now = torch.where(z > sae["threshold"][i], z.clamp(min=0), torch.zeros_like(z))
        step = step + (values[i] - now) * sae["W_dec"][i]
    return step
