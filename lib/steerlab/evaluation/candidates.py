"""Which features of a sparse autoencoder stand for code and which for mathematics.

A candidate is chosen by its mean activity on prompts of the one kind minus the other. It carries
the prompts it was chosen on, so that a sweep can refuse to judge it on them: among a thousand
features, some always separate the prompts at hand.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from steerlab.activations import Activations, collect
from steerlab.sae.features import document_scores
from steerlab.sae.model import SAE
from steerlab.sae.scores import CHUNK
from steerlab.tokens import Mode, check_texts

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


@dataclass(frozen=True)
class Candidate:
    """A feature with its mean activity on code and on mathematics, and how often it fires.

    Activities are f · ‖W_dec‖, the length that the feature adds to the residual. firing_rate: share
    of the prompts' tokens where it is not zero.
    """

    feature: int
    code: float
    math: float
    firing_rate: float

    @property
    def difference(self) -> float:
        """Mean activity on code minus on mathematics."""
        return self.code - self.math


@dataclass(frozen=True, eq=False)
class Candidates:
    """Features for code and for mathematics, best first, and what they were chosen on.

    firing_rates: of every feature [d_sae], on the same prompts. selected_on: those prompts' texts.
    """

    code: tuple[Candidate, ...]
    math: tuple[Candidate, ...]
    firing_rates: Float[Tensor, " d_sae"]
    selected_on: frozenset[str]


def feature_candidates(
    model: TransformerBridge,
    sae: SAE,
    code: Sequence[str],
    math: Sequence[str],
    *,
    top: int = 10,
    hook_name: str | None = None,
    mode: Mode = "raw",
) -> Candidates:
    """The features whose mean activity differs most between code and mathematics, either way.

    Each prompt counts once: its tokens are averaged first, without padding and position 0. A side
    may have fewer than `top` features where no more are active on it. hook_name: where to read, if
    not where the autoencoder says it was trained.

    Raises ValueError for no prompts, a prompt on both sides, or an autoencoder without a hook point.
    """
    texts = [check_texts(code, "code"), check_texts(math, "math")]
    both = set(texts[0]) & set(texts[1])
    if both:
        raise ValueError(f"{min(both)!r} is among both code and math; expected disjoint prompts")
    hook = hook_name or sae.hook_name
    if hook is None:
        raise ValueError("this autoencoder does not say where it was trained; pass hook_name")
    read = collect(model, [*texts[0], *texts[1]], hook, mode=mode)
    lengths = sae.W_dec.norm(dim=1).float().cpu()
    device = sae.W_enc.device
    activity = document_scores(read, hook, lambda x: sae.encode(x.to(device))) * lengths
    means = activity[: len(texts[0])].mean(0), activity[len(texts[0]) :].mean(0)
    rates = _firing_rates(read, hook, sae)
    sides = []
    for sign in (1, -1):
        gap = sign * (means[0] - means[1])
        order = gap.topk(min(top, len(gap))).indices.tolist()
        sides.append(
            tuple(
                Candidate(i, float(means[0][i]), float(means[1][i]), float(rates[i]))
                for i in order
                if gap[i] > 0
            )
        )
    return Candidates(sides[0], sides[1], rates, frozenset(texts[0]) | frozenset(texts[1]))


@torch.no_grad()
def _firing_rates(read: Activations, hook: str, sae: SAE) -> Float[Tensor, " d_sae"]:
    values = read.values[hook]
    fired = torch.zeros(sae.d_sae)
    for start in range(0, len(values), CHUNK):
        code = sae.encode(values[start : start + CHUNK].to(sae.W_enc.device))
        fired += (code > 0).sum(0).float().cpu()
    return fired / len(values)


def decoder_rows_like(
    sae: SAE,
    firing_rates: Float[Tensor, " d_sae"],
    n: int,
    seed: int,
    *,
    feature: int | None = None,
) -> tuple[Float[Tensor, "n d_in"], list[int]]:
    """Unit decoder rows of n other live features that fire about as often: a control family.

    They are drawn from the 2n live features whose firing rate comes closest (in log) to that of
    `feature`, which never is among them; without a feature from all live ones. Fewer are returned
    where fewer are alive. Also returns their indices.

    Raises ValueError for n below 1, rates of another length, or where no other feature is alive.
    """
    if n < 1 or len(firing_rates) != sae.d_sae:
        raise ValueError(
            f"n is {n} and firing_rates has {len(firing_rates)} entries; expected n ≥ 1 and "
            f"{sae.d_sae} rates"
        )
    lengths = sae.W_dec.norm(dim=1).float().cpu()
    live = ((firing_rates > 0) & (lengths > 0)).nonzero().flatten().tolist()
    if feature is not None:
        [feature] = sae.check_features([feature])
        live = [i for i in live if i != feature]
        # A feature that never fired is compared with those that fire least.
        own = math.log(max(float(firing_rates[feature]), 1e-9))
        live.sort(key=lambda i: abs(math.log(float(firing_rates[i])) - own))
        live = live[: 2 * n]
    if not live:
        raise ValueError("no other feature of this autoencoder is alive on these prompts")
    order = torch.randperm(len(live), generator=torch.Generator().manual_seed(seed))[:n]
    chosen = [live[i] for i in order.tolist()]
    rows = sae.W_dec.detach()[chosen].float().cpu()
    return rows / rows.norm(dim=1, keepdim=True), chosen
