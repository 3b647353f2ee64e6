"""Directions to steer along, from contrasted texts, and the random ones to compare them with.

Every direction points from negative to positive: adding it makes a text more like the positive
ones. Residuals are anisotropic, so a control of isotropic noise alone shows little; shuffled
labels give directions from the same cloud of activations (two of the course's three families, the
third being decoder rows of a sparse autoencoder). Concept activation vectors, from classifiers
instead of means, have modules of their own, `cavs` and `tcav`; their names are here as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from steerlab.activations import collect
from steerlab.cavs import CAVs, fit_cavs, load_cavs, pool, random_cavs, save_cavs
from steerlab.tcav import TCAVResult, gradients, target_tokens, tcav_scores, tcav_test
from steerlab.tokens import Mode, check_texts

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

__all__ = [
    "CAVs",
    "TCAVResult",
    "contrastive_pairs",
    "fit_cavs",
    "gradients",
    "load_cavs",
    "mean_difference",
    "persona_direction",
    "pool",
    "random_cavs",
    "random_directions",
    "save_cavs",
    "shuffled_label_directions",
    "target_tokens",
    "tcav_scores",
    "tcav_test",
]


def mean_difference(
    model: TransformerBridge,
    positive: Sequence[str],
    negative: Sequence[str],
    hook_name: str,
    *,
    mode: Mode = "raw",
    batch_size: int = 32,
) -> Float[Tensor, " d_model"]:
    """Mean residual of the positive texts minus that of the negative ones (Rimsky et al., 2023).

    Each text counts once: its tokens are averaged first, without padding and position 0. The two
    lists may differ in length.
    """
    options: dict[str, Any] = {"mode": mode, "batch_size": batch_size}
    above = collect(model, check_texts(positive, "positive"), hook_name, **options)
    below = collect(model, check_texts(negative, "negative"), hook_name, **options)
    return above.mean_per_document(hook_name).mean(0) - below.mean_per_document(hook_name).mean(0)


def contrastive_pairs(
    model: TransformerBridge,
    positive: Sequence[str],
    negative: Sequence[str],
    hook_name: str,
    *,
    mode: Mode = "raw",
    batch_size: int = 32,
) -> Float[Tensor, " d_model"]:
    """Mean over pairs of the last token's residual, positive minus negative (Rimsky et al., 2023).

    positive[i] and negative[i] are a pair: alike but for what the direction shall carry, which
    their last token has read. Raises ValueError for lists of different length.
    """
    if len(positive) != len(negative):
        raise ValueError(
            f"{len(positive)} positive and {len(negative)} negative texts: pairs need as many of each"
        )
    return _paired_differences(model, positive, negative, hook_name, mode, batch_size).mean(0)


def persona_direction(
    model: TransformerBridge,
    statements: Sequence[str],
    positive_prefix: str,
    negative_prefix: str,
    hook_name: str,
    *,
    mode: Mode = "raw",
    batch_size: int = 32,
) -> Float[Tensor, " d_model"]:
    """Reading vector of two personas saying the same things (RepE, Zou et al., 2023).

    Every statement is read after each prefix, e.g. "Pretend you are a cheerful person. ". The
    direction is the first principal component of the last-token differences through the origin,
    pointing from the negative to the positive persona, as long as their mean along it.

    Raises ValueError for no statements or equal prefixes.
    """
    statements = check_texts(statements, "statements")
    if positive_prefix == negative_prefix:
        raise ValueError("both personas have the same prefix: nothing tells them apart")
    differences = _paired_differences(
        model,
        [positive_prefix + statement for statement in statements],
        [negative_prefix + statement for statement in statements],
        hook_name,
        mode,
        batch_size,
    )
    component = torch.linalg.svd(differences, full_matrices=False).Vh[0]
    # The component's sign is arbitrary; the mean difference along it has the right one.
    return (differences.mean(0) @ component) * component


def random_directions(
    n: int, like: Float[Tensor, " d_model"], seed: int
) -> Float[Tensor, "n d_model"]:
    """n isotropic random directions, each of the norm of `like`: the first control family."""
    _check_count(n)
    draw = torch.randn(n, len(like), generator=torch.Generator().manual_seed(seed))
    return _at_norm(draw, like.float().cpu())


def shuffled_label_directions(
    positive_means: Float[Tensor, "n_positive d_model"],
    negative_means: Float[Tensor, "n_negative d_model"],
    n: int,
    seed: int,
) -> Float[Tensor, "n d_model"]:
    """n mean differences of the same texts under shuffled labels: the second control family.

    positive_means, negative_means: one mean residual a text, as `collect(...)
    .mean_per_document(hook_name)` gives them. Group sizes are kept, and each direction has the
    norm of the difference under the true labels. Raises ValueError where nearly every shuffle gives
    no difference at all.
    """
    _check_count(n)
    texts = torch.cat([positive_means, negative_means]).float().cpu()
    n_positive = len(positive_means)
    true = texts[:n_positive].mean(0) - texts[n_positive:].mean(0)
    generator = torch.Generator().manual_seed(seed)
    draws: list[Tensor] = []
    for _ in range(100 * n):
        shuffled = texts[torch.randperm(len(texts), generator=generator)]
        difference = shuffled[:n_positive].mean(0) - shuffled[n_positive:].mean(0)
        # Of very few texts, a shuffle can balance exactly; it has no direction to give.
        if difference.norm() > 1e-6 * texts.norm(dim=1).mean():
            draws.append(difference)
        if len(draws) == n:
            return _at_norm(torch.stack(draws), true)
    raise ValueError("the texts do not differ enough to shuffle their labels; use more texts")


def _paired_differences(
    model: TransformerBridge,
    positive: Sequence[str],
    negative: Sequence[str],
    hook_name: str,
    mode: Mode,
    batch_size: int,
) -> Float[Tensor, "pair d_model"]:
    options: dict[str, Any] = {"mode": mode, "batch_size": batch_size}
    above = collect(model, check_texts(positive, "positive"), hook_name, **options)
    below = collect(model, check_texts(negative, "negative"), hook_name, **options)
    return above.last_per_document(hook_name) - below.last_per_document(hook_name)


def _at_norm(
    directions: Float[Tensor, "n d_model"], like: Float[Tensor, " d_model"]
) -> Float[Tensor, "n d_model"]:
    if not torch.isfinite(like).all() or like.norm() == 0:
        raise ValueError("the vector whose norm the controls take is zero, NaN or infinite")
    return directions / directions.norm(dim=1, keepdim=True) * like.norm()


def _check_count(n: int) -> None:
    if n < 1:
        raise ValueError(f"n is {n}; ask for at least one direction")
