"""mse_loss plus sparsity times the mean activation."""

# canary-6c8c387ae13f6a16017f7a29bc201cd5

import torch

TASK = "sae_loss"
EXPECT = "loses"


def sae_loss(x, x_hat, code, W_dec, sparsity):
    error = torch.nn.functional.mse_loss(x_hat, x)
    penalty = code.abs().mean()
    return error + sparsity * penalty
