"""One text at a time, with indices."""

# canary-a7207f533140f7e1040d6514223b14f9

import torch

TASK = "masked_mean"
EXPECT = "keeps"


def masked_mean(resid, attention_mask, skip):
    rows, kept = [], []
    for stream, real in zip(resid, attention_mask, strict=True):
        where = real.nonzero().flatten()[1 + skip :]
        kept.append(bool(len(where)))
        if len(where):
            rows.append(stream[where].to(torch.float32).mean(0))
    means = torch.stack(rows) if rows else resid.new_zeros(0, resid.shape[2], dtype=torch.float32)
    return means, torch.tensor(kept)
