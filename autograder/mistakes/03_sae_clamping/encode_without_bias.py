"""The encoder's bias is left out."""

# canary-2a401911fbd690c2a961111e5ad6406c

import torch

TASK = "jumprelu_encode"
EXPECT = "loses"


def jumprelu_encode(x, sae):
    z = x @ sae["W_enc"]
    return torch.relu(z) * (z > sae["threshold"])
