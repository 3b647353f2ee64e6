"""Which tokens of a forward pass are steered: absolute positions, prompt and completion.

A hook sees the residual of the tokens that one forward pass reads: a whole padded batch, or, with
a KV cache, one token a row. What it needs to know lies elsewhere: the attention mask tells
padding, the cache's length tells where the pass begins. A `PositionTracker` brings them together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from jaxtyping import Bool, Int
from torch import Tensor

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Positions = str | int | Iterable[int]

NAMED_POSITIONS = ("all", "prompt", "generated", "newest_only")

_active: WeakKeyDictionary[TransformerBridge, list[PositionTracker]] = WeakKeyDictionary()


@contextmanager
def tracking(model: TransformerBridge, tracker: PositionTracker) -> Iterator[None]:
    """Within this block the tracker's `mask` fits the forward pass under way."""
    # The wrapped Hugging Face model is the one place that every way of running the bridge
    # passes, and the first to know the attention mask and the cache.
    handle = model.original_model.register_forward_pre_hook(tracker.observe, with_kwargs=True)
    active = _active.setdefault(model, [])
    active.append(tracker)
    try:
        yield
    finally:
        active.remove(tracker)
        handle.remove()


def cache_allowed(model: TransformerBridge) -> bool:
    """Whether generation may use a KV cache: not under `steer(..., positions="newest_only")`."""
    return all(tracker.positions != "newest_only" for tracker in _active.get(model, []))


def begin_prompt(model: TransformerBridge) -> None:
    """Tell every `steer` block around `model` that its next forward pass reads a new prompt."""
    for tracker in _active.get(model, []):
        tracker.forget()


def parse_positions(positions: Positions) -> str | tuple[int, ...]:
    """A name of NAMED_POSITIONS, or absolute indices as a tuple. Raises ValueError, TypeError."""
    if isinstance(positions, str):
        if positions not in NAMED_POSITIONS:
            raise ValueError(
                f"positions is one of {', '.join(map(repr, NAMED_POSITIONS))} or absolute indices, "
                f"not {positions!r}"
            )
        return positions
    if isinstance(positions, Tensor):
        positions = positions.tolist()
    indices = (positions,) if isinstance(positions, int) else tuple(positions)
    if any(isinstance(i, bool) or not hasattr(i, "__index__") for i in indices):
        raise TypeError("absolute positions are integers counted from 0")
    numbers = tuple(int(i) for i in indices)
    if not numbers or min(numbers) < 0:
        raise ValueError(
            "absolute positions count from 0 at the first token, and there is at least one; "
            f"got {list(numbers)}"
        )
    return numbers


class PositionTracker:
    """Knows, during each forward pass, which of its tokens are steered.

    `mask` is [batch, n_new] for the tokens of the pass under way; `steers` says whether it is true
    somewhere, `everywhere` whether nowhere false. Raises as `parse_positions` does.
    """

    def __init__(self, positions: Positions):
        self.positions = parse_positions(positions)
        self.mask: Bool[Tensor, "batch n_new"] | None = None
        self.steers = self.everywhere = False
        self.forget()

    def forget(self) -> None:
        """The next pass reads a new prompt."""
        self._read: Int[Tensor, "batch pos"] | None = None
        self._prompt_lengths: Int[Tensor, " batch"] | None = None

    def observe(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Forward pre-hook of the Hugging Face model: find the mask of the pass that begins."""
        tokens = args[0] if args else kwargs.get("input_ids")
        if tokens is None:
            tokens = kwargs["inputs_embeds"]
        past = kwargs.get("past_key_values")
        offset = int(past.get_seq_length()) if past is not None else 0
        if offset and self.positions == "newest_only":
            raise ValueError(
                'positions="newest_only" recomputes the prefix at every step and cannot be used '
                "with a KV cache: run the model without one"
            )
        if self.positions == "all" and _one_more_each(tokens, offset, kwargs):
            self.mask = torch.ones_like(tokens, dtype=torch.bool)
            self.steers = self.everywhere = True
            return
        real, absolute = _absolute_positions(tokens, offset, kwargs)
        self.mask = real & self._wanted(tokens, offset, absolute, real)
        # Once a pass, for all hooks.
        self.everywhere = bool(self.mask.all())
        self.steers = self.everywhere or bool(self.mask.any())

    def _wanted(self, tokens: Tensor, offset: int, absolute: Tensor, real: Tensor) -> Tensor:
        if isinstance(self.positions, tuple):
            return torch.isin(absolute, torch.tensor(self.positions, device=absolute.device))
        beyond_first = absolute > 0
        if self.positions == "all":
            return beyond_first
        if self.positions == "newest_only":
            newest = absolute == absolute.masked_fill(~real, -1).amax(dim=1, keepdim=True)
            return newest & beyond_first
        self._follow_prompt(tokens, offset, real)
        assert self._prompt_lengths is not None
        in_prompt = absolute < self._prompt_lengths[:, None]
        return beyond_first & (in_prompt if self.positions == "prompt" else ~in_prompt)

    def _follow_prompt(self, tokens: Tensor, offset: int, real: Tensor) -> None:
        """Note the prompt's length when a pass begins a new one, and what has been read."""
        if offset == 0 and not self._continues(tokens):
            self._prompt_lengths = real.sum(dim=1)
        elif self._prompt_lengths is None:
            raise ValueError(
                "this `steer` block was entered with part of the text already in the KV cache, so "
                "it cannot tell the prompt from what was generated: enter it before the prompt"
            )
        before = self._read if offset else None
        if tokens.is_floating_point():
            self._read = None
        else:
            self._read = tokens if before is None else torch.cat([before, tokens], dim=1)

    def _continues(self, tokens: Tensor) -> bool:
        """Whether a pass without a cache reads what was read before, and more."""
        read = self._read
        if read is None or tokens.is_floating_point() or len(read) != len(tokens):
            return False
        n = read.shape[1]
        return tokens.shape[1] > n and bool((tokens[:, :n] == read).all())


def _one_more_each(tokens: Tensor, offset: int, kwargs: Mapping[str, Any]) -> bool:
    """Whether the pass reads one more token of every row after another one: no position 0 is in it.

    Nearly every pass of a generation with a KV cache does, and this is a third of the work.
    """
    mask = kwargs.get("attention_mask")
    if tokens.ndim != 2 or tokens.shape[1] != 1 or not offset or not isinstance(mask, Tensor):
        return False
    return mask.ndim == 2 and mask.shape[1] == offset + 1 and bool(mask[:, -2:].all())


def _absolute_positions(
    tokens: Tensor, offset: int, kwargs: Mapping[str, Any]
) -> tuple[Bool[Tensor, "batch n_new"], Int[Tensor, "batch n_new"]]:
    """Which of the pass's tokens are real, and their positions counted over real tokens."""
    batch, n_new = tokens.shape[:2]
    mask = kwargs.get("attention_mask")
    if isinstance(mask, Tensor) and mask.ndim == 2:
        mask = mask.to(tokens.device)
        real = mask[:, -n_new:].bool().expand(batch, n_new)
        absolute = (mask.long().cumsum(dim=1) - 1)[:, -n_new:].expand(batch, n_new)
        # A mask of the new tokens alone does not count what the cache holds.
        return real, absolute if mask.shape[1] >= offset + n_new else absolute + offset
    given = kwargs.get("position_ids")
    if isinstance(given, Tensor) and given.ndim == 2 and given.shape[-1] == n_new:
        absolute = given.to(tokens.device).expand(batch, n_new)
    else:
        absolute = torch.arange(offset, offset + n_new, device=tokens.device).expand(batch, n_new)
    return torch.ones_like(absolute, dtype=torch.bool), absolute
