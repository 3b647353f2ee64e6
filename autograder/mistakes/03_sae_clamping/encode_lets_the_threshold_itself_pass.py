"""At the threshold a feature counts as on."""

# canary-2a401911fbd690c2a961111e5ad6406c

import torch

TASK = "jumprelu_encode"
EXPECT = "loses"


def jumprelu_encode(x, sae):
    z = x @ sae["W_enc"] + sae["b_enc"]
    return torch.where(z >= sae["threshold"], torch.relu(z), torch.zeros_like(z))
