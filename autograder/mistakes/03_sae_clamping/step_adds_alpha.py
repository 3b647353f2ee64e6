"""α W_dec at every token, wherever the feature stands."""

# canary-2a401911fbd690c2a961111e5ad6406c

import torch

TASK = "clamp_step"
EXPECT = "loses"


def clamp_step(x, sae, values):
    alpha = torch.tensor(list(values.values()))
    return (alpha @ sae["W_dec"][list(values)]).expand(x.shape)
