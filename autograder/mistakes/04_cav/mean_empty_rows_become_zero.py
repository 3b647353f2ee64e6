"""A text without a token gets a row of zeros."""

# canary-a7207f533140f7e1040d6514223b14f9

TASK = "masked_mean"
EXPECT = "loses"


def masked_mean(resid, attention_mask, skip):
    position = attention_mask.long().cumsum(dim=1) - 1
    counts = attention_mask.bool() & (position > skip)
    sums = resid.masked_fill(~counts[..., None], 0.0).float().sum(dim=1)
    return sums / counts.sum(dim=1, keepdim=True).clamp(min=1), counts.any(dim=1)
