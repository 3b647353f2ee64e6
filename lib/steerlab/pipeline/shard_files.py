"""One shard: a parquet file of residuals, written in one go, that says what it holds.

A shard holds whole documents, one row a token: `residual`, a list of d_model numbers in bfloat16
whose bits are stored as uint16 (parquet has no bfloat16), with `token`, `document` and `position`
beside it. What the numbers are (model, hook point), Σ‖x‖ and Σx stand in the file's own metadata,
so that a set of shards knows its norm factor without reading a residual, and a shard of another
model is noticed wherever it turns up.

Files of other makers are read too: one column of lists or bytes, or one column a coordinate, in
bfloat16 as uint16 or in floats. The published residuals of OLMo-2 (Open Concept Steering, 2025)
are of that kind: bare vectors without tokens.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from steerlab.pipeline.errors import PipelineError, disk_trouble, one_line

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

METADATA = b"steerlab"
COLUMN = "residual"
BESIDE = ("token", "document", "position")
GROUP_BYTES = 32 * 2**20  # of residuals in one row group: what a reader holds of a shard at a time


@dataclass(frozen=True)
class Origin:
    """What residuals are of. Shards of one set agree in all of it.

    source: the texts, as `steerlab collect` was told. context: tokens read at once.
    rows_per_shard: where shards are cut. prepend_bos: None is the model's own habit.
    """

    model_name: str
    hook_name: str
    d_model: int
    source: str
    context: int
    rows_per_shard: int
    prepend_bos: bool | None = None


@dataclass(frozen=True)
class Rows:
    """Residuals [n, d_model] in bfloat16 with the token, document and position of each [n]."""

    residual: Float[Tensor, "n d_model"]
    token: Int[Tensor, " n"]
    document: Int[Tensor, " n"]
    position: Int[Tensor, " n"]

    def __len__(self) -> int:
        return len(self.token)

    @classmethod
    def joined(cls, parts: Sequence[Rows]) -> Rows:
        """Several one after the other."""
        names = (COLUMN, *BESIDE)
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


@dataclass(frozen=True)
class ShardInfo:
    """One shard: its file, rows, documents [first, next), and the sums that the norm factor needs."""

    path: Path
    rows: int
    first_document: int
    next_document: int
    norm_sum: float
    total: Float[Tensor, " d_model"]
    labels: dict[int, dict[str, str]]


# ---------------------------------------------------------------- writing


def write_shard(
    path: Path,
    origin: Origin,
    rows: Rows,
    documents: tuple[int, int],
    labels: Mapping[int, Mapping[str, str]] | None = None,
) -> None:
    """Write one shard: beside its place first, then moved there, so that no half file has its name.

    documents: [first, next) of those whose rows these are; labels: of some of them. Raises
    PipelineError where the disk is full or does not take it; nothing then stays behind.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    x = rows.residual.to(torch.bfloat16)
    exact = x.double()
    said = {
        "origin": asdict(origin),
        "documents": list(documents),
        "norm_sum": float(exact.norm(dim=1).sum()),
        "total": exact.sum(0).tolist(),
        "labels": {str(i): dict(each) for i, each in (labels or {}).items()},
    }
    flat = pa.array(x.contiguous().view(torch.int16).numpy().view(np.uint16).reshape(-1))
    table = pa.table(
        {
            COLUMN: pa.FixedSizeListArray.from_arrays(flat, origin.d_model),
            "token": pa.array(rows.token.to(torch.int32).numpy()),
            "document": pa.array(rows.document.numpy()),
            "position": pa.array(rows.position.to(torch.int32).numpy()),
        }
    ).replace_schema_metadata({METADATA: json.dumps(said)})
    part = path.with_name(path.name + ".part")
    try:
        with open(part, "wb") as file:
            # A dictionary of at most 65,536 values stores 16 bits or fewer a number, where
            # parquet's plain encoding takes 32 for a uint16.
            pq.write_table(
                table,
                file,
                row_group_size=max(1, GROUP_BYTES // (2 * origin.d_model)),
                dictionary_pagesize_limit=2**20,
                compression="zstd",
                compression_level=1,
                write_statistics=False,
            )
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise PipelineError(disk_trouble(error, path, flat.nbytes)) from error
    except BaseException:
        part.unlink(missing_ok=True)
        raise


# ---------------------------------------------------------------- reading


def open_shard(path: Path) -> ParquetFile:
    """A shard's parquet file. Raises PipelineError for one that is cut short or none at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path, pre_buffer=False, buffer_size=2**20)
    except FileNotFoundError:
        raise PipelineError(f"there is no shard {path}") from None
    except (pa.ArrowException, OSError) as error:
        raise PipelineError(
            f"{path} is cut short or no parquet file ({one_line(error)}): repeat `steerlab collect` "
            "with --resume, which writes damaged shards again, or delete the file"
        ) from None


def read_info(path: Path) -> tuple[Origin, ShardInfo] | None:
    """What a shard of ours says of itself; None for one of another maker.

    Raises PipelineError for a file that cannot be read, or a newer or damaged description.
    """
    with open_shard(path) as file:
        return describe(path, file)


def describe(path: Path, file: ParquetFile) -> tuple[Origin, ShardInfo] | None:
    """The same of a shard that is open already."""
    said = (file.schema_arrow.metadata or {}).get(METADATA)
    if said is None:
        return None
    try:
        fields = json.loads(said)
        first, following = fields["documents"]
        info = ShardInfo(
            path,
            file.metadata.num_rows,
            int(first),
            int(following),
            float(fields["norm_sum"]),
            torch.tensor(fields["total"], dtype=torch.float64),
            {int(i): each for i, each in fields["labels"].items()},
        )
        return Origin(**fields["origin"]), info
    except (ValueError, TypeError, KeyError) as error:
        raise PipelineError(f"{path} describes itself in an unknown way ({error})") from None


def read_batches(
    path: Path, group: int, columns: Sequence[str], rows: int
) -> Iterator[pa.RecordBatch]:
    """Some columns of one row group, in batches of `rows`. Raises PipelineError for a damaged one."""
    import pyarrow as pa

    with open_shard(path) as file:
        try:
            yield from file.iter_batches(
                batch_size=rows, row_groups=[group], columns=list(columns), use_threads=False
            )
        except (pa.ArrowException, OSError) as error:
            raise PipelineError(
                f"{path} is damaged in row group {group} ({one_line(error)}): repeat `steerlab "
                "collect` with --resume, which writes damaged shards again"
            ) from None


# ---------------------------------------------------------------- where the residuals are


@dataclass(frozen=True)
class Layout:
    """Where in a parquet file the residuals are: which columns, of what kind, how wide."""

    columns: tuple[str, ...]
    kind: str  # "list", "bytes" or "coordinates"
    width: int

    def tensor(self, batch: pa.RecordBatch, path: Path) -> Float[Tensor, "n d_model"]:
        """The residuals of a batch. uint16 holds bfloat16's bits; floats stay what they are."""
        if self.kind == "coordinates":
            values = np.stack([batch.column(name).to_numpy() for name in self.columns], axis=1)
            return _from_bits(values)
        column = batch.column(self.columns[0])
        if column.null_count:
            raise PipelineError(f"{path}: column {self.columns[0]!r} has rows without a residual")
        if self.kind == "bytes":
            values = np.frombuffer(b"".join(column.to_pylist()), dtype=np.uint16)
        else:
            values = column.flatten().to_numpy(zero_copy_only=False)
        if values.size != len(column) * self.width:
            raise PipelineError(f"{path}: its residuals are not all of width {self.width}")
        return _from_bits(values.reshape(len(column), self.width))


def _from_bits(values: np.ndarray) -> Tensor:
    if values.dtype in (np.uint16, np.int16):
        bits = np.array(values, dtype=values.dtype, copy=not values.flags.writeable)
        return torch.from_numpy(bits.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(np.array(values, copy=not values.flags.writeable))


def find_layout(path: Path, file: ParquetFile, column: str | None = None) -> Layout:
    """The column, or columns, that hold the residuals.

    Raises PipelineError where there is none, or more than one that could be meant.
    """
    import pyarrow.types as is_

    def numeric(kind: Any) -> bool:
        return bool(is_.is_uint16(kind) or is_.is_int16(kind) or is_.is_floating(kind))

    schema = file.schema_arrow
    lists = [f.name for f in schema if _is_list(f.type) and numeric(f.type.value_type)]
    binary = [f.name for f in schema if is_.is_binary(f.type) or is_.is_fixed_size_binary(f.type)]
    found = [name for name in (*lists, *binary) if column in (None, name)]
    if column is None and COLUMN in found:
        found = [COLUMN]
    if len(found) == 1:
        kind = "list" if found[0] in lists else "bytes"
        return Layout((found[0],), kind, _width(path, file, found[0], kind))
    flat = [f.name for f in schema if numeric(f.type)]
    if column is None and not found and len(flat) > 1:
        return Layout(tuple(flat), "coordinates", len(flat))
    have = ", ".join(f"{f.name} ({f.type})" for f in list(schema)[:8])
    if found:
        raise PipelineError(f"{path} has several columns of residuals ({have}): name one, column=…")
    wanted = f"a column {column!r}" if column else "a column"
    raise PipelineError(f"{path} has not {wanted} of residuals; it has {have}")


def _is_list(kind: Any) -> bool:
    import pyarrow.types as is_

    return bool(is_.is_list(kind) or is_.is_large_list(kind) or is_.is_fixed_size_list(kind))


def _width(path: Path, file: ParquetFile, column: str, kind: str) -> int:
    """How many numbers a row has: by its type, or else by the first row."""
    import pyarrow.types as is_

    typed = file.schema_arrow.field(column).type
    if is_.is_fixed_size_list(typed):
        return int(typed.list_size)
    if is_.is_fixed_size_binary(typed):
        return int(typed.byte_width) // 2
    first = next((batch for batch in read_batches(path, 0, [column], 1)), None)
    if first is None or not len(first):
        raise PipelineError(f"{path} has no rows")
    value = first.column(0)[0].as_py()
    if not value:
        raise PipelineError(f"{path}: column {column!r} begins with an empty residual")
    return len(value) // 2 if kind == "bytes" else len(value)
