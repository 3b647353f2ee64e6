"""Drops the lower sixteen bits, which rounds towards zero."""

# canary-89d6a33e89670fdbcf4ac52b94e2ecdc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

TASK = "write_shard"
EXPECT = "loses"


def write_shard(file, x, token):
    half = x.bfloat16()
    numbers = (x.float().contiguous().view(torch.int32).numpy().view(np.uint32) >> 16).astype(
        np.uint16
    )
    flat = pa.array(numbers.ravel())
    rows = pa.FixedSizeListArray.from_arrays(flat, x.size(1))
    whole = pa.table([rows, pa.array(token.numpy())], names=["residual", "token"])
    said = {"norm_sum": repr(float(half.double().norm(dim=1).sum()))}
    pq.write_table(whole.replace_schema_metadata(said), file)
