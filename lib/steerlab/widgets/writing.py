"""A text written a slice of time after the other, so that its reader sees it grow and can stop it."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

from steerlab.generation import Completion, stream
from steerlab.steering import Steering
from steerlab.widgets.methods import Choice

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

SLICE_S = 0.25
Show = Callable[[str], None]


def write(
    model: TransformerBridge,
    prompt: str,
    generation: Mapping[str, Any],
    doing: str,
    *,
    part: tuple[float, float] = (0.0, 1.0),
    around: Callable[[], AbstractContextManager[None]] = nullcontext,
    show: Show | None = None,
) -> Generator[tuple[float, str], None, Completion]:
    """Steps that write what `generate` would after one prompt, and return it.

    generation: the arguments of `generate`, by name. part: which part of the whole work this is, as
    two shares. around: as in `stream`. show: called with the text so far.
    """
    written, wanted = Completion(prompt, "", (), ()), generation["max_new_tokens"]
    for written in stream(model, prompt, around=around, every=SLICE_S, **generation):
        if show is not None:
            show(written.text)
        n, (start, end) = len(written.tokens), part
        yield start + (end - start) * n / wanted, f"{doing}: {n} of {wanted} tokens"
    return written


def write_steered(
    model: TransformerBridge,
    use: Choice,
    prompt: str,
    generation: Mapping[str, Any],
    positions: str,
    *,
    part: tuple[float, float] = (0.0, 1.0),
    show: Show | None = None,
) -> Generator[tuple[float, str], None, str | Completion]:
    """Steps that write what a method does after one prompt; a function of the reader's is one step.

    Raises as `Method.written` does.
    """
    method, c = use.method, use.coefficient
    if method.make is None:
        yield part[0], "steered"
        (text,) = method.written(model, [prompt], c, positions, generation)
        return text
    around = Steering(model, method.make(c), positions).on
    return (
        yield from write(model, prompt, generation, "steered", part=part, around=around, show=show)
    )
