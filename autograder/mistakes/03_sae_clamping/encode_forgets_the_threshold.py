"""A plain ReLU."""

# canary-2a401911fbd690c2a961111e5ad6406c

import torch

TASK = "jumprelu_encode"
EXPECT = "loses"


def jumprelu_encode(x, sae):
    return torch.relu(x @ sae["W_enc"] + sae["b_enc"])
