"""Tokens in ascending order, rows as they were."""

# canary-89d6a33e89670fdbcf4ac52b94e2ecdc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

TASK = "write_shard"
EXPECT = "loses"


def write_shard(file, x, token):
    half = x.to(torch.bfloat16)
    as_lists = half.view(torch.int16).numpy().view(np.uint16).tolist()
    fields = {
        "residual": pa.array(as_lists, pa.list_(pa.uint16())),
        "token": sorted(token.tolist()),
    }
    total = sum(float(row.double().norm()) for row in half)
    pq.write_table(pa.table(fields).replace_schema_metadata({"norm_sum": str(total)}), file)
