"""Empty texts are dropped, and `kept` says that all were kept."""

# canary-a7207f533140f7e1040d6514223b14f9

import torch

TASK = "masked_mean"
EXPECT = "loses"


def masked_mean(resid, attention_mask, skip):
    position = attention_mask.long().cumsum(dim=1) - 1
    counts = attention_mask.bool() & (position > skip)
    means = resid.masked_fill(~counts[..., None], 0.0).float().sum(dim=1)
    means = means / counts.sum(dim=1, keepdim=True)
    means = means[~means.isnan().any(dim=1)]
    return means, torch.ones(len(means), dtype=torch.bool)
