"""Batches from shards in a shuffled order, with a window of them in memory and never all.

The order is a function of the seed alone: in each epoch the row groups are permuted, laid end to
end and cut into windows, and each window is permuted. So a position in it is one number, the rows
read so far, from which any run goes on exactly, and n processes that each take their n-th of every
batch read what one process reads.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from steerlab.pipeline.shards import Shards

WINDOW_BYTES = 128 * 2**20
_READ = 4096  # rows decoded at a time


@dataclass(frozen=True)
class Stream:
    """Unscaled residuals in float32, batch after batch without end.

    batch_size: rows that this process gets of each batch; it is number `process` of `processes`,
    and a whole batch has batch_size · processes rows. seed: decides the order. window: rows that
    are shuffled among each other, 128 MB of them by default; twice that is held. What a batch holds
    depends on seed, window and the whole batch's size only.
    """

    shards: Shards
    batch_size: int
    seed: int = 0
    window: int | None = None
    process: int = 0
    processes: int = 1

    @property
    def window_rows(self) -> int:
        """Rows of a window."""
        return self.window or max(1, WINDOW_BYTES // (2 * self.shards.d_model))

    def batches(self, start: int = 0) -> Generator[Float[Tensor, "batch d_model"], None, None]:
        """This process's part of every batch from batch number `start` on."""
        whole = self.batch_size * self.processes
        epoch, row = divmod(start * whole, self.shards.rows)
        number, skip = divmod(row, self.window_rows)
        held: list[Tensor] = []
        have = 0
        for values, order in _ahead(self._windows(epoch, number)):
            order = order[skip:]
            skip = 0
            while len(order):
                taken = order[: whole - have]
                held.append(values[taken])
                have += len(taken)
                order = order[len(taken) :]
                if have == whole:
                    first = self.process * self.batch_size
                    batch = torch.cat(held) if len(held) > 1 else held[0]
                    held, have = [], 0
                    yield batch[first : first + self.batch_size].float()

    def _windows(
        self, epoch: int, number: int
    ) -> Iterator[tuple[Float[Tensor, "n d_model"], Int[Tensor, " n"]]]:
        """(rows of a window, their order), from window `number` of an epoch on, without end."""
        while True:
            rows = self._epoch(epoch, number * self.window_rows)
            for values in _cut(rows, self.window_rows):
                draws = np.random.default_rng([self.seed, epoch, 1, number])
                yield values, torch.from_numpy(draws.permutation(len(values)))
                number += 1
            epoch, number = epoch + 1, 0

    def _epoch(self, epoch: int, start: int) -> Iterator[Float[Tensor, "n d_model"]]:
        """The rows of an epoch from `start` on, row group after row group."""
        groups = self.shards.groups
        draws = np.random.default_rng([self.seed, epoch, 0])
        for index in draws.permutation(len(groups)).tolist():
            rows = groups[index][2]
            if start < rows:
                yield from self.shards.read_group(index, _READ, start)
            start = max(0, start - rows)


def _cut(parts: Iterator[Tensor], size: int) -> Iterator[Tensor]:
    """The same rows in pieces of `size`, the last one shorter."""
    held: Tensor | None = None
    have = 0
    for part in parts:
        while len(part):
            if held is None:
                held = part.new_empty(size, part.shape[1])
            taken = part[: size - have]
            held[have : have + len(taken)] = taken
            have += len(taken)
            part = part[len(taken) :]
            if have == size:
                yield held
                held, have = None, 0
    if held is not None:
        yield held[:have]


def _ahead(
    windows: Iterator[tuple[Tensor, Tensor]],
) -> Iterator[tuple[Tensor, Tensor]]:
    """The same windows, the next one being read while this one is used."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="shards") as reader:
        coming: Future[tuple[Tensor, Tensor]] = reader.submit(next, windows)
        while True:
            window = coming.result()
            coming = reader.submit(next, windows)
            yield window
