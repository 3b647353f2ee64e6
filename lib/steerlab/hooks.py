"""Hook points by name: which a model has, what they hold for a batch, whether one is hooked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from steerlab.tokens import TokenBatch

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


def check_hook_names(model: TransformerBridge, hook_names: str | Iterable[str]) -> list[str]:
    """The hook names as a list without repetition.

    Raises TypeError for a bare layer number and ValueError for a name that the model does not
    have, naming those that come close.
    """
    names = [hook_names] if isinstance(hook_names, str | int) else list(hook_names)
    if not names:
        raise ValueError("no hook name given; e.g. 'blocks.0.hook_resid_pre'")
    known = model.hook_dict
    for name in names:
        if not isinstance(name, str):
            raise TypeError(
                f"a hook point is named in full, e.g. 'blocks.{name}.hook_resid_pre', not {name!r}"
            )
        if name not in known:
            close = get_close_matches(name, known, n=3, cutoff=0.4)
            hint = f" Close to it: {', '.join(close)}." if close else ""
            raise ValueError(
                f"this model has no hook point {name!r}.{hint} "
                f"Its blocks are 0 to {model.cfg.n_layers - 1}."
            )
    return list(dict.fromkeys(names))


class _Enough(Exception):
    """Every hook asked for has been read: what lies deeper in the model need not run."""


@torch.no_grad()
def read_batch(
    model: TransformerBridge, batch: TokenBatch, hook_names: Sequence[str]
) -> dict[str, Float[Tensor, "batch pos d_model"]]:
    """Activations of one padded batch at each hook point, padding included.

    Raises ValueError where a hook point does not hold one vector a token.
    """
    read: dict[str, Tensor] = {}

    def reader(name: str) -> Callable[..., None]:
        def read_hook(value: Any, hook: Any) -> None:
            if not isinstance(value, Tensor) or value.shape[:2] != batch.tokens.shape:
                raise ValueError(f"{name} does not hold one vector per token; read another hook")
            read[name] = value.flatten(2).clone()
            if len(read) == len(hook_names):
                raise _Enough

        return read_hook

    hooks = [(name, reader(name)) for name in hook_names]
    try:
        with model.hooks(fwd_hooks=hooks):
            model(batch.tokens, attention_mask=batch.attention_mask, use_cache=False)
    except _Enough:
        return read
    missing = [name for name in hook_names if name not in read]
    raise ValueError(f"the forward pass never reached {missing}; read another hook")


def check_unhooked(model: TransformerBridge, what: str) -> None:
    """Raise ValueError if any hook hangs on the model, since `what` is measured without."""
    hooked = sorted({str(point.name) for point in model.hook_dict.values() if point.fwd_hooks})
    if hooked:
        raise ValueError(
            f"{what} is measured on the unsteered model, but {', '.join(hooked)} is hooked: leave "
            "the `with steer(...)` block first, or call model.reset_hooks()"
        )
