"""Sums over everything, divided by the number of tokens; abs and a product of matrices."""

# canary-6c8c387ae13f6a16017f7a29bc201cd5

import torch

TASK = "sae_loss"
EXPECT = "keeps"


def sae_loss(x, x_hat, code, W_dec, sparsity):
    error = torch.linalg.matrix_norm(x_hat - x) ** 2 / len(x)
    penalty = torch.trace(
        code.abs().mT @ torch.linalg.vector_norm(W_dec, dim=-1).expand_as(code)
    ) / len(x)
    return error + sparsity * penalty
