"""Subtracts b_dec, which the weights hold already."""

# canary-2a401911fbd690c2a961111e5ad6406c

import torch

TASK = "jumprelu_encode"
EXPECT = "loses"


def jumprelu_encode(x, sae):
    z = (x - sae["b_dec"]) @ sae["W_enc"] + sae["b_enc"]
    return torch.relu(z) * (z > sae["threshold"])
