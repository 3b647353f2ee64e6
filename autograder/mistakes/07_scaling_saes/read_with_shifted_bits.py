"""Moves the bits into the upper half of a float32; norms measured anew."""

# canary-89d6a33e89670fdbcf4ac52b94e2ecdc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

TASK = "read_shards"
EXPECT = "keeps"


def read_shards(files):
    table = pa.concat_tables(
        [pq.ParquetFile(file).read().replace_schema_metadata() for file in files]
    )
    upper = np.array(table["residual"].to_pylist(), dtype=np.uint32) << 16
    rows = torch.from_numpy(upper.view(np.float32))
    lengths = rows.double().pow(2).sum(-1).sqrt()
    factor = rows.shape[-1] ** 0.5 / lengths.mean().item()
    return rows.to(torch.bfloat16), torch.tensor(table["token"].to_pylist()), factor
