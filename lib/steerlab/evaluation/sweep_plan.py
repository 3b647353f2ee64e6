"""What an interference sweep will do, settled before the first measurement.

A plan holds the direction, its controls and the prompts. Everything random is drawn here, once:
the same control directions are added at every strength, so that a curve over strengths belongs to
one direction. Whatever is added is scaled to the residual stream: a strength α is a dose, the
length added over the mean length of the residual, and at every token a control is exactly as long
as the step of the direction it is compared with.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from steerlab.activations import collect
from steerlab.data.prompts import Prompt, interference_prompts
from steerlab.directions import mean_difference, random_directions, shuffled_label_directions
from steerlab.evaluation.candidates import Candidates, decoder_rows_like, feature_candidates
from steerlab.hooks import check_hook_names
from steerlab.sae.model import SAE
from steerlab.settings import course_settings
from steerlab.steering import AddVector, Intervention, residual_norm
from steerlab.tokens import Mode, encode

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

ALPHAS = (-1.0, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0)
FAMILIES = ("isotropic", "decoder-row", "shuffled-label")
SUBJECT = "subject"
UNSTEERED = "unsteered"


@dataclass(frozen=True, eq=False)
class MatchedStep:
    """resid + sign · ‖intervention(resid) − resid‖ · unit: as long a step, in another direction.

    unit: [d_model] of length 1.
    """

    intervention: Intervention
    unit: Float[Tensor, " d_model"]
    sign: float = 1.0

    def __call__(
        self, resid: Float[Tensor, "batch pos d_model"]
    ) -> Float[Tensor, "batch pos d_model"]:
        length = (self.intervention(resid) - resid).float().norm(dim=-1, keepdim=True)
        return resid + (self.sign * length * self.unit.to(resid.device).float()).to(resid.dtype)


@dataclass(frozen=True, eq=False)
class SweepPlan:
    """An interference sweep: what is added where, how strongly, beside which controls, on what.

    unit: [d_model], the direction at length 1, or None where `make` is an intervention of another
    kind. coefficient: what α is multiplied by to give the length added, i.e. the mean residual norm.
    controls: unit rows [n, d_model] by family. prompts: those that judge. selected_on: the texts
    that chose the direction. about: how it was chosen, for the record. first_controls,
    text_controls: how many of each family also begin, or write, completions.
    """

    name: str
    hook_name: str
    unit: Float[Tensor, " d_model"] | None
    coefficient: float
    alphas: tuple[float, ...]
    controls: Mapping[str, Float[Tensor, "n d_model"]]
    prompts: tuple[Prompt, ...]
    mode: Mode = "raw"
    positions: str = "all"
    first_controls: int = 19
    text_controls: int = 3
    text_kinds: tuple[str, ...] = ("mixed",)
    first_tokens: int = 4
    max_new_tokens: int = 48
    seed: int = 0
    selected_on: frozenset[str] = frozenset()
    make: Callable[[float], Intervention] | None = field(default=None, repr=False)
    about: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_alphas(self.alphas)
        if self.positions not in ("all", "prompt"):
            raise ValueError(f"positions is 'all' or 'prompt' in a sweep, not {self.positions!r}")
        chosen_on = sorted(p.id for p in self.prompts if p.text in self.selected_on)
        if chosen_on:
            raise ValueError(
                f"{len(chosen_on)} of {len(self.prompts)} prompts chose the direction and cannot "
                f"judge it too ({', '.join(chosen_on[:3])}, …); evaluate on others"
            )
        if not self.prompts or len({p.id for p in self.prompts}) != len(self.prompts):
            raise ValueError("a sweep needs prompts, each with an id of its own")
        if (self.unit is None) == (self.make is None):
            raise ValueError("a sweep has either a direction or a way to make an intervention")
        for what, rows in {"the direction": self.unit, **self.controls}.items():
            if rows is not None and not torch.allclose(
                rows.norm(dim=-1), torch.ones(rows.shape[:-1]), atol=1e-3
            ):
                raise ValueError(f"{what} is not of length 1; both sides are added at equal length")

    @property
    def directions(self) -> list[str]:
        """The names of what is added: "subject" and each control, e.g. "isotropic/0"."""
        return [
            SUBJECT,
            *(f"{f}/{i}" for f, rows in self.controls.items() for i in range(len(rows))),
        ]

    @property
    def text_prompts(self) -> tuple[Prompt, ...]:
        """The prompts that completions are written for."""
        return tuple(p for p in self.prompts if p.kind in self.text_kinds)

    def intervention(self, direction: str, alpha: float) -> Intervention:
        """What stands at the hook point for one of `directions` at a strength other than 0."""
        if self.make is not None:
            subject = self.make(alpha)
        else:
            assert self.unit is not None
            subject = AddVector(self.unit, alpha * self.coefficient)
        if direction == SUBJECT:
            return subject
        family, _, index = direction.rpartition("/")
        return MatchedStep(subject, self.controls[family][int(index)], math.copysign(1.0, alpha))

    def describe(self) -> dict[str, Any]:
        """The plan without its vectors, as JSON."""
        return {
            "name": self.name,
            "hook_name": self.hook_name,
            "alphas": list(self.alphas),
            "coefficient": self.coefficient,
            "mode": self.mode,
            "positions": self.positions,
            "controls": {family: len(rows) for family, rows in self.controls.items()},
            "first_controls": self.first_controls,
            "text_controls": self.text_controls,
            "text_kinds": list(self.text_kinds),
            "first_tokens": self.first_tokens,
            "max_new_tokens": self.max_new_tokens,
            "seed": self.seed,
            "prompts": _digest("\0".join(f"{p.id}\1{p.kind}\1{p.text}" for p in self.prompts)),
            "about": dict(self.about),
        }

    def vectors(self) -> dict[str, Tensor]:
        """The direction and the controls by name, as they are saved."""
        own = {} if self.unit is None else {SUBJECT: self.unit}
        return own | dict(self.controls)


def plan_sweep(
    model: TransformerBridge,
    sae: SAE | None = None,
    *,
    feature: str | int | None = None,
    direction: str | Float[Tensor, " d_model"] | None = None,
    intervention: Callable[[float], Intervention] | None = None,
    hook_name: str | None = None,
    name: str | None = None,
    alphas: Sequence[float] = ALPHAS,
    prompts: str | os.PathLike[str] | Sequence[Prompt] | None = None,
    limit: int | None = None,
    n_controls: int = 99,
    mode: Mode | None = None,
    seed: int = 0,
    selected_on: Sequence[str] = (),
    **options: Any,
) -> SweepPlan:
    """Settle an interference sweep: choose the direction, draw its controls, keep prompts apart.

    What is added is one of: `feature`, "code" or "math" for the best candidate on the selection
    prompts or an index, whose decoder row is taken ("code" where only an autoencoder is given);
    `direction`, "mean-difference" (code minus mathematics on the selection prompts) or a vector; or
    `intervention(alpha)`, any intervention of your own. selected_on: the texts that chose a vector
    or an index of yours.

    alphas: doses; 0 joins them. prompts: a set or file for `interference_prompts`, or prompts;
    by default what the model can read. limit: at most so many of each kind judge. n_controls: of
    each family; decoder rows need an autoencoder.
    options: further fields of `SweepPlan`.

    Raises ValueError for none or several of the three, a feature that the model or the prompts do
    not offer, prompts that both choose and judge, and a zero or misshapen direction.
    """
    settings = course_settings(model)
    mode = mode or settings.mode
    given = [feature is not None, direction is not None, intervention is not None]
    if sum(given) == 0 and sae is not None:
        feature, given = "code", [True]
    if sum(given) != 1:
        raise ValueError(
            "name one thing to add: a feature (with an sae), a direction, or an intervention"
        )
    everything = _prompts(prompts, settings.prompt_set)
    judging = _first_of_each_kind([p for p in everything if p.split == "evaluation"], limit)
    choosing = {
        kind: [p.text for p in everything if p.split == "selection" and p.kind == kind]
        for kind in ("code", "math")
    }
    hook = hook_name or (sae.hook_name if sae is not None else None) or settings.hook_name
    [hook] = check_hook_names(model, hook)
    judging, about = _that_fit(
        model, judging, mode, options.get("max_new_tokens", SweepPlan.max_new_tokens)
    )
    candidates = None
    if sae is not None and all(choosing.values()):
        candidates = feature_candidates(
            model, sae, choosing["code"], choosing["math"], hook_name=hook, mode=mode
        )
        about["candidates"] = {
            kind: [candidate.feature for candidate in getattr(candidates, kind)]
            for kind in ("code", "math")
        }
    chosen_on = frozenset(selected_on)
    unit: Tensor | None = None
    number: int | None = None
    if feature is not None:
        if sae is None:
            raise ValueError("a feature belongs to an autoencoder: pass sae=load_sae(…)")
        number, chosen_on = _feature(sae, feature, candidates, chosen_on)
        unit, name = _unit(sae.W_dec[number], model), name or f"feature {number}"
        about |= {"feature": number, "asked_for": feature}
        if candidates is not None:
            about["firing_rate"] = round(float(candidates.firing_rates[number]), 5)
    elif isinstance(direction, str):
        if direction != "mean-difference":
            raise ValueError(
                f"direction is 'mean-difference' or a vector [d_model], not {direction!r}"
            )
        _need_selection(choosing)
        vector = mean_difference(model, choosing["code"], choosing["math"], hook, mode=mode)
        unit, name = _unit(vector, model), name or "mean difference"
        chosen_on |= frozenset(choosing["code"] + choosing["math"])
    elif direction is not None:
        unit, name = _unit(direction, model), name or "direction"
    norm = residual_norm(model, hook, [p.text for p in judging], mode=mode)
    return SweepPlan(
        name=name or "intervention",
        hook_name=hook,
        unit=unit,
        coefficient=norm,
        alphas=tuple(sorted({0.0, *map(float, alphas)})),
        controls=_controls(model, sae, candidates, number, choosing, hook, mode, n_controls, seed),
        prompts=judging,
        mode=mode,
        seed=seed,
        selected_on=chosen_on,
        make=intervention,
        about=about,
        **options,
    )


def _controls(
    model: TransformerBridge,
    sae: SAE | None,
    candidates: Candidates | None,
    feature: int | None,
    choosing: Mapping[str, list[str]],
    hook: str,
    mode: Mode,
    n: int,
    seed: int,
) -> dict[str, Float[Tensor, "n d_model"]]:
    """Unit directions of each family that can be had, drawn once for the whole sweep."""
    if n < 1:
        raise ValueError(f"n_controls is {n}; ask for at least one (99 for p-values down to 0.01)")
    like = torch.ones(int(model.cfg.d_model)) / float(model.cfg.d_model) ** 0.5
    families = {"isotropic": random_directions(n, like, seed=3 * seed)}
    if sae is not None and candidates is not None:
        rows, _ = decoder_rows_like(sae, candidates.firing_rates, n, 3 * seed + 1, feature=feature)
        families["decoder-row"] = rows
    if all(choosing.values()):
        texts = [*choosing["code"], *choosing["math"]]
        means = collect(model, texts, hook, mode=mode).mean_per_document(hook)
        n_code = len(choosing["code"])
        rows = shuffled_label_directions(means[:n_code], means[n_code:], n, 3 * seed + 2)
        families["shuffled-label"] = rows / rows.norm(dim=1, keepdim=True)
    return families


def _feature(
    sae: SAE, feature: str | int, candidates: Candidates | None, chosen_on: frozenset[str]
) -> tuple[int, frozenset[str]]:
    """The feature's index, and the texts that had a say in it."""
    if not isinstance(feature, str) or feature.isdigit():
        [number] = sae.check_features([int(feature)])
        return number, chosen_on
    if feature not in ("code", "math"):
        raise ValueError(f"feature is 'code', 'math' or an index, not {feature!r}")
    if candidates is None:
        raise ValueError(
            f"feature={feature!r} needs prompts of the split 'selection' of both kinds, code and math"
        )
    best = candidates.code if feature == "code" else candidates.math
    if not best:
        raise ValueError(f"no feature of this autoencoder is more active on {feature}")
    return best[0].feature, chosen_on | candidates.selected_on


def _unit(vector: Tensor, model: TransformerBridge) -> Float[Tensor, " d_model"]:
    vector = vector.detach().float().cpu()
    if vector.shape != (int(model.cfg.d_model),):
        raise ValueError(
            f"the direction has shape {list(vector.shape)}; this model's residual stream has "
            f"[{model.cfg.d_model}]"
        )
    if not torch.isfinite(vector).all() or vector.norm() == 0:
        raise ValueError("the direction is zero, NaN or infinite")
    return vector / vector.norm()


def _prompts(
    prompts: str | os.PathLike[str] | Sequence[Prompt] | None, readable: str
) -> list[Prompt]:
    if prompts is None or isinstance(prompts, str | os.PathLike):
        return interference_prompts(prompts or readable)
    return list(prompts)


def _first_of_each_kind(prompts: Sequence[Prompt], limit: int | None) -> tuple[Prompt, ...]:
    if limit is None:
        return tuple(prompts)
    if limit < 1:
        raise ValueError(f"limit is {limit}; at least one prompt of each kind judges")
    kinds = dict.fromkeys(p.kind for p in prompts)
    kept = {p.id for kind in kinds for p in [q for q in prompts if q.kind == kind][:limit]}
    return tuple(p for p in prompts if p.id in kept)


def _that_fit(
    model: TransformerBridge, prompts: tuple[Prompt, ...], mode: Mode, new_tokens: int
) -> tuple[tuple[Prompt, ...], dict[str, Any]]:
    """The prompts that the model's context has room for, and a note of those it has not."""
    limit = int(model.cfg.n_ctx) - new_tokens
    fit = tuple(p for p in prompts if 2 <= len(encode(model, p.text, mode=mode)) <= limit)
    if prompts and not fit:
        raise ValueError(
            f"no prompt fits the model's context of {model.cfg.n_ctx} tokens beside "
            f"{new_tokens} new ones; ask for fewer new ones, or pass shorter prompts"
        )
    if not prompts:
        raise ValueError("no prompt of the split 'evaluation' to judge the direction on")
    left_out = [p.id for p in prompts if p not in fit]
    return fit, {"left_out_too_long": left_out} if left_out else {}


def _need_selection(choosing: Mapping[str, list[str]]) -> None:
    if not all(choosing.values()):
        raise ValueError("the mean difference needs selection prompts of both kinds, code and math")


def _check_alphas(alphas: Sequence[float]) -> None:
    if not all(math.isfinite(a) for a in alphas) or len(set(alphas)) != len(alphas):
        raise ValueError(f"alphas are different finite numbers; got {list(alphas)}")
    if 0.0 not in alphas or len(alphas) < 2:
        raise ValueError("alphas hold 0, the unsteered model, and at least one other strength")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
