"""Sums in the dtype of the stream."""

# canary-a7207f533140f7e1040d6514223b14f9

TASK = "masked_mean"
EXPECT = "loses"


def masked_mean(resid, attention_mask, skip):
    position = attention_mask.long().cumsum(dim=1) - 1
    counts = attention_mask.bool() & (position > skip)
    kept = counts.any(dim=1)
    sums = resid.masked_fill(~counts[..., None], 0.0).sum(dim=1)
    return sums[kept] / counts.sum(dim=1, keepdim=True)[kept], kept
