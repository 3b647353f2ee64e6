"""One fused call, in float64."""

# canary-2a401911fbd690c2a961111e5ad6406c

import torch

TASK = "error_term"
EXPECT = "keeps"


def error_term(x, features, sae):
    flat = features.double().reshape(-1, features.shape[-1])
    reconstruction = torch.addmm(sae["b_dec"].double(), flat, sae["W_dec"].double())
    return (x.double() - reconstruction.reshape(x.shape)).to(x.dtype)
