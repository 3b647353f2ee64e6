"""Multiplies by the mask: 0 times NaN is NaN."""

# canary-a7207f533140f7e1040d6514223b14f9

import torch

TASK = "masked_mean"
EXPECT = "loses"


def masked_mean(resid, attention_mask, skip):
    position = attention_mask.long().cumsum(dim=1) - 1
    counts = (attention_mask.bool() & (position > skip)).float()
    kept = counts.sum(dim=1) > 0
    sums = torch.einsum("ijk,ij->ik", resid.float(), counts)
    return sums[kept] / counts.sum(dim=1, keepdim=True)[kept], kept
