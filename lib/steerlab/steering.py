"""Interventions on the residual stream, and where they act.

An intervention is a callable `resid [batch, pos, d_model] -> resid`, out of place. `steer` hangs
interventions on hook points and applies each only at the positions asked for. Positions are
absolute, taken from the attention mask and the length of the KV cache, so that a steered model
gives the same tokens with and without a cache, alone and in a left-padded batch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from steerlab.generation import Completion, generate
from steerlab.hooks import check_hook_names, check_unhooked, read_batch
from steerlab.positions import Positions, PositionTracker, parse_positions, tracking
from steerlab.tokens import Mode, TokenBatch, check_texts, tokenize

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

__all__ = [
    "AddVector",
    "Completion",
    "Intervention",
    "Steering",
    "coefficient_at",
    "coefficient_for_dose",
    "dose_of",
    "generate",
    "residual_norm",
    "steer",
]

Intervention = Callable[[Float[Tensor, "batch pos d_model"]], Float[Tensor, "batch pos d_model"]]


@dataclass(frozen=True, eq=False)
class AddVector:
    """Add `coefficient * vector` at every position: activation addition (Turner et al., 2023).

    vector: [d_model], any dtype and device. Raises ValueError for another shape or values that
    are not finite.
    """

    vector: Float[Tensor, " d_model"]
    coefficient: float = 1.0

    def __post_init__(self) -> None:
        if not isinstance(self.vector, Tensor):
            raise TypeError(f"vector is {type(self.vector).__name__}, not a torch tensor")
        if self.vector.ndim != 1:
            raise ValueError(f"vector has shape {list(self.vector.shape)}, not [d_model]")
        if not torch.isfinite(self.vector).all():
            raise ValueError("vector holds NaN or infinite values")
        if not math.isfinite(self.coefficient):
            raise ValueError(f"coefficient is {self.coefficient}; it must be a finite number")

    def __call__(
        self, resid: Float[Tensor, "batch pos d_model"]
    ) -> Float[Tensor, "batch pos d_model"]:
        if resid.shape[-1] != len(self.vector):
            raise ValueError(
                f"vector has {len(self.vector)} entries but the residual stream has "
                f"{resid.shape[-1]}: it comes from another model"
            )
        # Scaled before it is rounded to the stream's dtype, so that half precision rounds once.
        return resid + (self.coefficient * self.vector.float()).to(resid)


@contextmanager
def steer(
    model: TransformerBridge,
    interventions: Mapping[str, Intervention],
    positions: Positions = "all",
) -> Iterator[None]:
    """Within this block, apply each intervention at its hook point, at `positions` only.

    interventions: full hook names, e.g. {"blocks.2.hook_resid_pre": AddVector(vector, 2.0)}.
    positions: "all" (every real token except position 0, the attention sink), "prompt" or
    "generated" (likewise without position 0), absolute indices counted from 0 with BOS, or
    "newest_only" (the last token of each forward pass; it forbids a KV cache, since an earlier
    token is then read steered by one pass and unsteered by the next).

    What counts as prompt: what `generate` was given; in a loop of your own, the first forward
    pass, until a pass without a cache does not continue the one before. Blocks may be nested: the
    inner acts after the outer. Nothing stays behind, also after an exception.

    Raises ValueError for an unknown hook name (naming close ones) or positions, TypeError for
    something that cannot be called.
    """
    with Steering(model, interventions, positions).on():
        yield


class Steering:
    """The interventions of one text, taken on and off while it is written.

    Like `steer`, whose arguments and errors it has, for a text that is written a few tokens at a
    time: it keeps in mind which tokens were the prompt, and while it is off the model is as it was.
    """

    def __init__(
        self,
        model: TransformerBridge,
        interventions: Mapping[str, Intervention],
        positions: Positions = "all",
    ):
        names = check_hook_names(model, interventions)
        for name in names:
            if not callable(interventions[name]):
                kind = type(interventions[name]).__name__
                raise TypeError(
                    f"{name}: an intervention is a function of the residual, not {kind}"
                )
        self._model, self._tracker = model, PositionTracker(positions)
        self._hooks = [(name, _masked(name, interventions[name], self._tracker)) for name in names]

    @contextmanager
    def on(self) -> Iterator[None]:
        """Within this block the model is steered."""
        with tracking(self._model, self._tracker), self._model.hooks(fwd_hooks=self._hooks):
            yield


def _masked(name: str, intervention: Intervention, tracker: PositionTracker) -> Callable[..., Any]:
    """The hook function: the intervention's result where the mask is true, the input elsewhere."""

    def hook_fn(resid: Tensor, hook: Any) -> Tensor | None:
        mask = tracker.mask
        if mask is None or resid.shape[:2] != mask.shape:
            raise ValueError(f"{name} does not hold one vector per token; steer at another hook")
        if not tracker.steers:
            return None
        version = None if resid.is_inference() else resid._version
        steered = intervention(resid)
        if not isinstance(steered, Tensor):
            kind = type(steered).__name__
            raise TypeError(f"{name}: the intervention returned {kind}, not a tensor")
        if steered.shape != resid.shape:
            raise ValueError(
                f"{name}: the intervention returned shape {list(steered.shape)} "
                f"for a residual of shape {list(resid.shape)}"
            )
        if version is not None and resid._version != version:
            raise ValueError(
                f"{name}: the intervention changed its input in place; return a new tensor "
                "(resid + delta, not resid += delta)"
            )
        if tracker.everywhere:
            return steered.to(resid)
        where = mask.to(resid.device).reshape(*mask.shape, *[1] * (resid.ndim - 2))
        return torch.where(where, steered.to(resid), resid)

    return hook_fn


# ---------------------------------------------------------------- dose


def dose_of(
    model: TransformerBridge,
    interventions: Mapping[str, Intervention],
    prompts: Sequence[str],
    *,
    positions: Positions = "all",
    mode: Mode = "raw",
    prepend_bos: bool | None = None,
) -> float:
    """Dose of some interventions: mean ‖Δ‖ over the steered tokens / mean residual norm there.

    Without unit. Measured on the prompts' tokens except position 0, each intervention on the
    unsteered residual; the doses of several hook points add up. A dose is never negative, also
    where the coefficient is.

    Raises ValueError for positions that the prompts have no token at.
    """
    names = check_hook_names(model, interventions)
    delta, norm = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0.0)
    for name, resid in _resid_at(model, names, prompts, positions, mode, prepend_bos):
        change = interventions[name](resid[None])[0].float() - resid.float()
        delta[name] += float(change.norm(dim=-1).sum())
        norm[name] += float(resid.float().norm(dim=-1).sum())
    return sum(delta[name] / norm[name] for name in names)


def residual_norm(
    model: TransformerBridge,
    hook_name: str,
    prompts: Sequence[str],
    *,
    positions: Positions = "all",
    mode: Mode = "raw",
    prepend_bos: bool | None = None,
) -> float:
    """Mean norm of the residual at a hook point over the prompts' tokens except position 0."""
    names = check_hook_names(model, hook_name)
    norms = [
        resid.float().norm(dim=-1)
        for _, resid in _resid_at(model, names, prompts, positions, mode, prepend_bos)
    ]
    return float(torch.cat(norms).mean())


def coefficient_for_dose(
    model: TransformerBridge,
    vector: Float[Tensor, " d_model"] | Float[Tensor, "hook d_model"],
    hook_name: str | Sequence[str],
    prompts: Sequence[str],
    dose: float,
    *,
    positions: Positions = "all",
    mode: Mode = "raw",
    prepend_bos: bool | None = None,
) -> float:
    """The coefficient at which `AddVector(vector, coefficient)` has that dose; its sign is dose's.

    Several hook names with one vector each, [hook, d_model], share one coefficient, and the dose
    is their total: so are all layers compared with one layer. Raises ValueError for a zero vector.
    """
    names = check_hook_names(model, hook_name)
    vectors = vector[None] if vector.ndim == 1 else vector
    if len(vectors) != len(names):
        raise ValueError(f"{len(vectors)} vectors for {len(names)} hook names; one for each")
    unit = {name: AddVector(v, 1.0) for name, v in zip(names, vectors, strict=True)}
    per_unit = dose_of(
        model, unit, prompts, positions=positions, mode=mode, prepend_bos=prepend_bos
    )
    if per_unit == 0:
        raise ValueError("the vector is zero: no coefficient gives it a dose")
    return dose / per_unit


def coefficient_at(dose_at: Callable[[float], float], dose: float, start: float = 1.0) -> float:
    """The coefficient, of dose's sign, at which an intervention has that dose within 1 %.

    Takes the dose for a power of the coefficient, which is one step where it is proportional to
    it, and keeps a bracket, so that it also arrives where the dose is no power: that of a clamp
    begins above 0 where the feature is active already. start: a likely size of the coefficient.
    Raises ValueError where no coefficient of that sign has the dose.
    """
    if dose == 0:
        return 0.0
    sign, target = math.copysign(1.0, dose), abs(dose)
    c, power = start, 1.0
    below, above = 0.0, math.inf  # sizes of the coefficient known to give less, and more
    before: tuple[float, float] | None = None
    smallest, largest = math.inf, 0.0
    for _ in range(24):
        measured = dose_at(sign * c)
        if abs(measured / target - 1) < 0.01:
            return sign * c
        smallest, largest = min(smallest, measured), max(largest, measured)
        if measured < target:
            below = c
        else:
            above = c
        if before is not None and measured > 0 and before[1] > 0 and before[0] != c:
            slope = math.log(measured / before[1]) / math.log(c / before[0])
            power = min(max(slope, 0.2), 5.0)
        before = c, measured
        guess = c * (target / measured) ** (1 / power) if measured > 0 else 2 * c
        c = guess if below < guess < above else _inside(below, above)
    if largest == 0:
        raise ValueError("this intervention changes nothing there: no coefficient has a dose")
    raise ValueError(
        f"no coefficient found with dose {dose:+.2f} (those tried have {smallest:.2f} to "
        f"{largest:.2f}): choose another dose"
    )


def _inside(below: float, above: float) -> float:
    """A size between two that bracket the wanted one; twice the lower where there is no upper."""
    if math.isinf(above):
        return 2 * below
    return (below + above) / 2


@torch.no_grad()
def _resid_at(
    model: TransformerBridge,
    names: Sequence[str],
    prompts: Sequence[str],
    positions: Positions,
    mode: Mode,
    prepend_bos: bool | None,
    batch_size: int = 32,
) -> Iterator[tuple[str, Float[Tensor, "token d_model"]]]:
    """Batch by batch, the unsteered residual at each hook point, at the wanted positions."""
    wanted = parse_positions(positions)
    if wanted in ("generated", "newest_only"):
        raise ValueError(
            f"prompts have no {wanted!r} tokens; to measure there, pass prompts with their "
            'completions and positions="all"'
        )
    check_unhooked(model, "a dose")
    prompts = check_texts(prompts, "prompts")
    found = False
    for start in range(0, len(prompts), batch_size):
        some = prompts[start : start + batch_size]
        batch = tokenize(model, some, mode=mode, prepend_bos=prepend_bos, truncate=True)
        keep = _kept(batch, wanted)
        if keep.any():
            found = True
            for name, resid in read_batch(model, batch, names).items():
                yield name, resid[keep]
    if not found:
        raise ValueError("no prompt has a token at those positions (position 0 never counts)")


def _kept(batch: TokenBatch, wanted: str | tuple[int, ...]) -> Bool[Tensor, "batch pos"]:
    if isinstance(wanted, str):
        return batch.content
    return batch.content & torch.isin(batch.positions, torch.tensor(wanted).to(batch.positions))
