"""Gaussian directions: controls, but no CAVs."""

# canary-a7207f533140f7e1040d6514223b14f9

import torch

TASK = "random_cavs"
EXPECT = "loses"


def random_cavs(inputs, is_concept, n, seed, cost):
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(n, inputs.shape[1], generator=generator)
    return drawn / drawn.norm(dim=1, keepdim=True)
