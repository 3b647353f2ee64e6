"""Residuals of a stream of texts, written shard by shard: interrupted anywhere, it goes on there.

A shard holds whole texts, and says which; so what is missing is known from the shards alone, and a
collection that was interrupted ends with the very files of one that was not. Position 0 is left
out, as everywhere (it is the attention sink). A text longer than the context is read in windows,
each from a position 0 of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from steerlab.hooks import check_hook_names, read_batch
from steerlab.pipeline.errors import PipelineError
from steerlab.pipeline.shard_files import (
    Origin,
    Rows,
    ShardInfo,
    open_shard,
    read_info,
    write_shard,
)
from steerlab.pipeline.shards import Shards
from steerlab.pipeline.sources import Text, TextSource, text_source
from steerlab.tokens import encode, pad_left

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

CHUNK = 128  # texts that are read together: sorted by length, so that batches hold little padding


@dataclass(frozen=True)
class Progressed:
    """How far a collection is: rows and shards written, and the texts that they are of."""

    rows: int
    shards: int
    texts: int


def collect_shards(
    model: TransformerBridge,
    source: TextSource | str | os.PathLike[str] | Sequence[str],
    folder: str | os.PathLike[str],
    hook_name: str,
    *,
    tokens: int | None = None,
    rows_per_shard: int = 262_144,
    context: int | None = None,
    batch_size: int = 32,
    prepend_bos: bool | None = None,
    resume: bool = False,
    report: Callable[[Progressed], Any] | None = None,
) -> Shards:
    """Write residuals at `hook_name` to parquet shards in `folder`, and open them.

    source: see `text_source`. tokens: stop once that many rows are written; None reads the source
    to its end. rows_per_shard: a shard is closed with the chunk of texts that reaches it. context:
    tokens the model reads at once, its own context at most (256 where that is longer). resume: go
    on with what is in `folder`; shards that are damaged or lost are written again.

    Raises PipelineError for a folder that holds shards already (without `resume`) or shards of
    something else, texts that cannot be read, or a disk that is full: shards written before stay.
    """
    if not isinstance(source, TextSource):
        source = text_source(source)
    [hook_name] = check_hook_names(model, hook_name)
    for name, value in (("tokens", tokens), ("rows_per_shard", rows_per_shard)):
        if value is not None and value < 1:
            raise PipelineError(f"{name} is {value}; expected at least 1")
    limit = int(model.cfg.n_ctx)
    context = min(limit, 256) if context is None else context
    if not 2 <= context <= limit:
        raise PipelineError(f"context is {context}; this model reads 2 to {limit} tokens at once")
    name, width = str(model.cfg.model_name), int(model.cfg.d_model)
    if Path(name).is_dir():  # a checkpoint is known by its name, wherever it lies
        name = _checkpoint_name(Path(name))
    origin = Origin(name, hook_name, width, source.name, context, rows_per_shard, prepend_bos)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    done = _written(folder, origin, resume)

    def read(texts: list[Text], first: int) -> Rows | None:
        return _read(model, texts, first, hook_name, context, batch_size, prepend_bos)

    _Collection(folder, origin, done, tokens, rows_per_shard, read, report).run(source)
    return Shards(folder)


def _checkpoint_name(folder: Path) -> str:
    from steerlab.tiny import CHECKPOINT

    return "steerlab/tiny" if folder == CHECKPOINT else folder.name


def shard_name(number: int) -> str:
    return f"shard-{number:05}.parquet"


def _written(folder: Path, origin: Origin, resume: bool) -> dict[int, ShardInfo]:
    """The shards in a folder that are sound, by number. Raises PipelineError as `collect_shards`."""
    paths = sorted(folder.glob("*.parquet"))
    if paths and not resume:
        raise PipelineError(
            f"{folder} holds {len(paths)} shards already: add --resume to go on with them, or "
            "choose another folder"
        )
    for leftover in folder.glob("*.parquet.part"):
        leftover.unlink()
    done: dict[int, ShardInfo] = {}
    for path in paths:
        try:
            said = read_info(path)
            if said is not None:
                _read_through(path)
        except PipelineError:
            continue  # cut short: it is written again
        number = path.stem.removeprefix("shard-")
        if said is None or said[0] != origin or not number.isdigit():
            theirs = "of another maker" if said is None else f"of {said[0]}"
            raise PipelineError(
                f"{path} is {theirs}, not of {origin}: nothing was changed; repeat the command "
                "that began this folder, or choose another one"
            )
        done[int(number)] = said[1]
    return done


def _read_through(path: Path) -> None:
    """Raise PipelineError for a shard that is damaged inside, where its footer does not show it."""
    with open_shard(path) as file:
        sizes = file.metadata
        end = max(
            sizes.row_group(g).column(c).file_offset
            + sizes.row_group(g).column(c).total_compressed_size
            for g in range(sizes.num_row_groups)
            for c in range(sizes.num_columns)
        )
    if end > path.stat().st_size:
        raise PipelineError(f"{path} is cut short")


@dataclass
class _Collection:
    """One run over a source: first the shards that are missing in between, then new ones."""

    folder: Path
    origin: Origin
    done: dict[int, ShardInfo]
    tokens: int | None
    rows_per_shard: int
    read: Callable[[list[Text], int], Rows | None]
    report: Callable[[Progressed], Any] | None

    def run(self, source: TextSource) -> None:
        for number, first, last in self._gaps():
            texts = source.read(first)
            # Inside a gap several shards may be missing; it is filled whatever was asked for.
            while last is not None or not self._enough():
                following = self._shard(number, texts, first, last)
                if following is None and last is not None:
                    raise PipelineError(
                        f"{source.name} ends before text {last}, which {self.folder} has residuals "
                        "of: it is not the source that this folder was collected from"
                    )
                if following is None:
                    break
                number, first = number + 1, following
                if last is not None and first >= last:
                    break
        if not self.done:
            raise PipelineError(f"{source.name} holds no text with a token beyond position 0")

    def _gaps(self) -> Iterator[tuple[int, int, int | None]]:
        """(number of the first missing shard, its first text, the text that ends the gap)."""
        number, first = 0, 0
        for found in sorted(self.done):
            info = self.done[found]
            if found > number or info.first_document > first:
                yield number, first, info.first_document
            number, first = found + 1, info.next_document
        yield number, first, None

    def _enough(self) -> bool:
        return self.tokens is not None and self._rows() >= self.tokens

    def _rows(self) -> int:
        return sum(info.rows for info in self.done.values())

    def _shard(
        self, number: int, texts: Iterator[Text], first: int, last: int | None
    ) -> int | None:
        """Write one shard; the number of the text after its last, None where no text is left."""
        parts: list[Rows] = []
        labels: dict[int, dict[str, str]] = {}
        here = first
        wanted = self.rows_per_shard
        if self.tokens is not None and last is None:
            wanted = min(wanted, self.tokens - self._rows())
        rows = 0
        while rows < wanted and (last is None or here < last):
            chunk = list(islice(texts, CHUNK if last is None else min(CHUNK, last - here)))
            if not chunk:
                break
            labels |= {here + i: dict(text.labels) for i, text in enumerate(chunk) if text.labels}
            found = self.read(chunk, here)
            here += len(chunk)
            if found is not None:
                parts.append(found)
                rows += len(found)
        if not rows:
            return None
        joined = Rows.joined(parts)
        bad = ~torch.isfinite(joined.residual).all(dim=1)
        if bad.any():
            raise PipelineError(
                f"text {int(joined.document[bad][0])} of the source has residuals that are NaN or "
                f"infinite at {self.origin.hook_name}: load the model in float32 or bfloat16"
            )
        path = self.folder / shard_name(number)
        write_shard(path, self.origin, joined, (first, here), labels)
        said = read_info(path)
        assert said is not None
        self.done[number] = said[1]
        if self.report is not None:
            texts_done = sum(i.next_document - i.first_document for i in self.done.values())
            self.report(Progressed(self._rows(), len(self.done), texts_done))
        return here


@torch.no_grad()
def _read(
    model: TransformerBridge,
    texts: Sequence[Text],
    first: int,
    hook_name: str,
    context: int,
    batch_size: int,
    prepend_bos: bool | None,
) -> Rows | None:
    """Residuals of some texts, numbered from `first`, in their order; None where none has a row."""
    windows = [
        (first + i, window)
        for i, text in enumerate(texts)
        for window in _windows(model, text.text, context, prepend_bos)
    ]
    order = sorted(range(len(windows)), key=lambda i: len(windows[i][1]))
    found: dict[int, Rows] = {}
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        batch = pad_left(model, [windows[i][1] for i in chosen])
        value = read_batch(model, batch, [hook_name])[hook_name].to(torch.bfloat16)
        for row, i in enumerate(chosen):
            keep = batch.content[row]
            n = int(keep.sum())
            if n:
                found[i] = Rows(
                    value[row][keep].cpu(),
                    batch.tokens[row][keep].cpu(),
                    torch.full((n,), windows[i][0]),
                    batch.positions[row][keep].cpu(),
                )
    return Rows.joined([found[i] for i in sorted(found)]) if found else None


def _windows(
    model: TransformerBridge, text: str, context: int, prepend_bos: bool | None
) -> Iterator[list[int]]:
    """A text's tokens in pieces that the model can read, each with BOS if the first has it."""
    ids = encode(model, text, prepend_bos=prepend_bos)
    head = ids[:1] if ids[0] == model.tokenizer.bos_token_id else []
    body = ids[len(head) :]
    size = context - len(head)
    for start in range(0, max(1, len(body)), size):
        yield [*head, *body[start : start + size]]
