"""The first columns of the tensor are cut off, as in the source."""

# canary-a7207f533140f7e1040d6514223b14f9

TASK = "masked_mean"
EXPECT = "loses"


def masked_mean(resid, attention_mask, skip):
    counts = attention_mask[:, skip + 1 :].bool()
    kept = counts.any(dim=1)
    sums = resid[:, skip + 1 :].masked_fill(~counts[..., None], 0.0).float().sum(dim=1)
    return sums[kept] / counts.sum(dim=1, keepdim=True)[kept], kept
