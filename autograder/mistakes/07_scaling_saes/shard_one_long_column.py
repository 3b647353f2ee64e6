"""All numbers below each other, tokens repeated beside them."""

# canary-89d6a33e89670fdbcf4ac52b94e2ecdc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

TASK = "write_shard"
EXPECT = "loses"


def write_shard(file, x, token):
    half = x.bfloat16()
    numbers = half.view(torch.int16).numpy().view(np.uint16)
    flat = pa.array(numbers.ravel())
    rows = flat
    whole = pa.table(
        [rows, pa.array(token.repeat_interleave(x.size(1)).numpy())], names=["residual", "token"]
    )
    said = {"norm_sum": repr(float(half.double().norm(dim=1).sum()))}
    pq.write_table(whole.replace_schema_metadata(said), file)
