"""torch.where on a linear layer, thresholds first."""

# canary-2a401911fbd690c2a961111e5ad6406c

import torch

TASK = "jumprelu_encode"
EXPECT = "keeps"


def jumprelu_encode(x, sae):
    z = torch.nn.functional.linear(x, sae["W_enc"].mT, sae["b_enc"])
    off = z <= sae["threshold"].clamp(min=0)
    return z.masked_fill(off, 0.0)
