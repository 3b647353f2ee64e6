"""A schema written out, lists of Python numbers, ParquetWriter."""

# canary-89d6a33e89670fdbcf4ac52b94e2ecdc

import pyarrow as pa
import pyarrow.parquet as pq
import torch

TASK = "write_shard"
EXPECT = "keeps"


def write_shard(file, x, token):
    small = x.to(torch.bfloat16)
    lists = (small.view(torch.int16).int() & 0xFFFF).tolist()
    total = small.to(torch.float64).pow(2).sum(-1).sqrt().sum().item()
    fields = [("residual", pa.list_(pa.uint16(), x.shape[-1])), ("token", pa.int64())]
    schema = pa.schema(fields, metadata={"norm_sum": f"{total!r}"})
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        writer.write_table(pa.table({"residual": lists, "token": token.tolist()}, schema=schema))
