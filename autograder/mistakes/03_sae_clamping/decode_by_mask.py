"""The mask formula of the original notebook, with a value for each feature."""

# canary-2a401911fbd690c2a961111e5ad6406c

import torch

TASK = "clamp_and_decode"
EXPECT = "keeps"


def clamp_and_decode(features, error, sae, values):
    mask, alpha = torch.zeros(2, features.shape[-1], dtype=features.dtype)
    mask[list(values)] = 1.0
    alpha[list(values)] = torch.tensor(list(values.values()), dtype=features.dtype)
    clamped = features * (1 - mask) + alpha * mask
    return error + torch.einsum("...f,fd->...d", clamped, sae["W_dec"]) + sae["b_dec"]
