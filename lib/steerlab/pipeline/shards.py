"""A set of shards, read piece by piece as one long matrix of residuals.

The set's norm factor, √d / E‖x‖, comes from the sums that our own shards carry, or from a sample
of the rows where another maker's do not. Nothing here holds more than a batch at a time.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float

from steerlab.pipeline.errors import PipelineError
from steerlab.pipeline.shard_files import (
    BESIDE,
    COLUMN,
    Layout,
    Origin,
    Rows,
    ShardInfo,
    describe,
    find_layout,
    open_shard,
    read_batches,
)

if TYPE_CHECKING:
    import pyarrow as pa

SAMPLED = 65_536  # rows that stand for all, where shards do not say what their mean norm is


class Shards:
    """A set of shards as one long matrix [rows, d_model] that is never in memory as a whole.

    place: a folder of parquet files, or one file. column: which column holds the residuals, where
    a shard of another maker leaves that open. origin is None for shards that do not say.

    Raises PipelineError for a folder without shards, a shard that cannot be read, and shards that
    are not of one model and hook point.
    """

    def __init__(self, place: str | os.PathLike[str], *, column: str | None = None):
        self.place = Path(place)
        if self.place.is_dir():
            paths = sorted(self.place.rglob("*.parquet"))
        else:
            paths = [self.place] if self.place.exists() else []
        if not paths:
            raise PipelineError(
                f"there are no parquet shards at {self.place}; `steerlab collect` writes them"
            )
        self.infos: list[ShardInfo] = []
        self.origin: Origin | None = None
        self._layouts: dict[Path, Layout] = {}
        self.groups: list[tuple[Path, int, int]] = []  # file, row group, rows
        for path in paths:
            with open_shard(path) as file:
                said = describe(path, file)
                layout = find_layout(path, file, column)
                self._agree(path, said[0] if said else None, layout, first=path == paths[0])
                self._layouts[path] = layout
                self.infos += [said[1]] if said else []
                self.groups += [
                    (path, i, file.metadata.row_group(i).num_rows)
                    for i in range(file.metadata.num_row_groups)
                ]
        self.groups = [group for group in self.groups if group[2]]
        self.d_model = self._layouts[paths[0]].width
        self.rows = sum(rows for *_, rows in self.groups)
        if not self.rows:
            raise PipelineError(f"the shards at {self.place} hold no residual at all")

    def _agree(self, path: Path, origin: Origin | None, layout: Layout, *, first: bool) -> None:
        """Refuse a shard that is not of the same residuals as the first."""
        if first:
            self.origin = origin
            return
        other, same = next(iter(self._layouts.items()))
        if layout.width != same.width:
            raise PipelineError(
                f"{path} holds residuals of width {layout.width}, {other.name} of {same.width}: "
                "it is a shard of another model; move it to a folder of its own"
            )
        if origin != self.origin:
            mine, theirs = _named(origin), _named(self.origin)
            raise PipelineError(
                f"{path} holds residuals of {mine}, {other.name} those of {theirs}: it is a shard "
                "of another model or collection; move it to a folder of its own"
            )

    @property
    def has_tokens(self) -> bool:
        """Whether rows know their token and document: those that `steerlab collect` wrote do."""
        return len(self.infos) == len(self._layouts)

    @property
    def labels(self) -> dict[int, dict[str, str]]:
        """Labels of those documents that have some: {document: {attribute: value}}."""
        return {i: labels for info in self.infos for i, labels in info.labels.items()}

    @property
    def fingerprint(self) -> str:
        """Changes when the rows or their order do: names and sizes of all shards."""
        counts: dict[str, int] = {}
        for path, _, rows in self.groups:
            name = path.name if path == self.place else str(path.relative_to(self.place))
            counts[name] = counts.get(name, 0) + rows
        return json.dumps([self.d_model, counts])

    @cached_property
    def _moments(self) -> tuple[float, Float[Tensor, " d_model"]]:
        """(E‖x‖, E x): stored with our own shards, else of a sample spread over all row groups."""
        if self.has_tokens:
            norm = sum(info.norm_sum for info in self.infos) / self.rows
            total = torch.stack([info.total for info in self.infos]).sum(0)
            return norm, (total / self.rows).float()
        share = -(-SAMPLED // len(self.groups))
        norm_sum, total, n = 0.0, torch.zeros(self.d_model, dtype=torch.float64), 0
        for index in range(len(self.groups)):
            part = next(self.read_group(index, share)).double()
            norm_sum, n = norm_sum + float(part.norm(dim=1).sum()), n + len(part)
            total += part.sum(0)
        return norm_sum / n, (total / n).float()

    @property
    def norm_factor(self) -> float:
        """What brings E‖x‖ to √d_model. Raises PipelineError for residuals that are all zero."""
        norm = self._moments[0]
        if not (math.isfinite(norm) and norm > 0):
            raise PipelineError(f"the residuals at {self.place} have a mean norm of {norm}")
        return math.sqrt(self.d_model) / norm

    @property
    def mean(self) -> Float[Tensor, " d_model"]:
        """E x, unscaled."""
        return self._moments[1]

    def read_group(
        self, index: int, rows: int, start: int = 0
    ) -> Iterator[Float[Tensor, "n d_model"]]:
        """The residuals of one row group from `start` on, in bfloat16 or as stored, `rows` at most.

        A row group is decoded as it is read, so that a large one is never in memory as a whole.
        Raises PipelineError where the file turns out to be damaged.
        """
        path, group, _ = self.groups[index]
        layout = self._layouts[path]
        for batch in read_batches(path, group, layout.columns, rows):
            part = layout.tensor(batch, path)
            skipped = min(start, len(part))
            start -= skipped
            if skipped < len(part):
                yield part[skipped:]

    def documents(self, rows: int = 8192) -> Iterator[Rows]:
        """All rows in the order of the documents, in parts of whole documents.

        A part has at least one document, and no more rows than `rows` unless one alone has more.
        Raises PipelineError for shards without tokens.
        """
        if not self.has_tokens:
            raise PipelineError(
                f"the shards at {self.place} hold no tokens, so there is no context to show; use "
                "shards that `steerlab collect` wrote"
            )
        infos = sorted(self.infos, key=lambda info: info.first_document)
        for info in infos:
            held: Rows | None = None
            for group in range(sum(path == info.path for path, *_ in self.groups)):
                for batch in read_batches(info.path, group, [COLUMN, *BESIDE], rows):
                    part = self._rows(info.path, batch)
                    held = part if held is None else Rows.joined([held, part])
                    complete = int((held.document != held.document[-1]).sum())
                    if complete:
                        yield _cut(held, 0, complete)
                        held = _cut(held, complete, len(held))
            if held is not None and len(held):
                yield held

    def _rows(self, path: Path, batch: pa.RecordBatch) -> Rows:
        columns = (torch.from_numpy(batch.column(n).to_numpy().astype(np.int64)) for n in BESIDE)
        return Rows(self._layouts[path].tensor(batch, path), *columns)


def _cut(rows: Rows, low: int, high: int) -> Rows:
    names = (COLUMN, *BESIDE)
    return Rows(*(getattr(rows, name)[low:high] for name in names))


def _named(origin: Origin | None) -> str:
    if origin is None:
        return "an unnamed model"
    return f"{origin.model_name} at {origin.hook_name} ({origin.source})"
