"""Keeps nothing but the clamped features."""

# canary-2a401911fbd690c2a961111e5ad6406c

import torch

TASK = "clamp_and_decode"
EXPECT = "loses"


def clamp_and_decode(features, error, sae, values):
    clamped = torch.zeros_like(features)
    for feature, value in values.items():
        clamped[..., feature] = value
    return clamped @ sae["W_dec"] + sae["b_dec"] + error
