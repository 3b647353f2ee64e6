"""torch.where, then a product of matrices in float64."""

# canary-a7207f533140f7e1040d6514223b14f9

import torch

TASK = "masked_mean"
EXPECT = "keeps"


def masked_mean(resid, attention_mask, skip):
    real = attention_mask != 0
    first = real.int().argmax(dim=1, keepdim=True)
    counts = real & (torch.arange(real.shape[1])[None] >= first + skip + 1)
    clean = torch.where(counts[:, :, None], resid.double(), 0.0)
    n = counts.sum(1)
    means = (counts.double()[:, None] @ clean)[:, 0] / n.clamp(min=1)[:, None]
    return means[n > 0].float(), n > 0
