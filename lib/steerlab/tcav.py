"""TCAV: whether a model's prediction is sensitive to a concept, beyond what chance would give.

The directional derivative of an input is S = Σ over its positions of ∇_resid log p(target) · v: how
fast the log-probability of the target tokens rises as the residual moves along v. The TCAV score is
the share of inputs with S > 0 (Kim et al., 2018). A share far from one half is no evidence by
itself: derivatives of one class point the same way, and so random directions score 0 or 1 too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from steerlab.hooks import check_hook_names, check_unhooked
from steerlab.tokens import Mode, TokenBatch, check_texts, encode, pad_left

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


def target_tokens(model: TransformerBridge, words: Iterable[str]) -> Int[Tensor, " n"]:
    """Ids of the words' first tokens inside a sentence, each once: the target set of TCAV.

    Raises ValueError for no words.
    """
    ids: set[int] = set()
    for word in words:
        ids.update(model.tokenizer(" " + word.strip(), add_special_tokens=False)["input_ids"][:1])
    if not ids:
        raise ValueError("words is empty; expected at least one word for the target set")
    return torch.tensor(sorted(ids))


def gradients(
    model: TransformerBridge,
    texts: Sequence[str],
    hook_name: str,
    targets: Int[Tensor, " n"],
    *,
    mode: Mode = "raw",
    batch_size: int = 32,
) -> Float[Tensor, "text d_model"]:
    """Σ over a text's positions of ∇_resid log p(targets | text), without padding and position 0.

    p is the probability that one of the target tokens comes next. The inner product with a CAV is
    its directional derivative. Raises ValueError for no texts, targets outside the vocabulary or a
    hooked model.
    """
    texts = check_texts(texts)
    [hook_name] = check_hook_names(model, hook_name)
    check_unhooked(model, "a gradient")
    limit = int(model.cfg.n_ctx)
    rows = [encode(model, text, mode=mode)[:limit] for text in texts]
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    found = torch.zeros(len(rows), int(model.cfg.d_model))
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        found[chosen] = _batch_gradients(
            model, pad_left(model, [rows[i] for i in chosen]), hook_name, targets
        )
    return found


def _batch_gradients(
    model: TransformerBridge, batch: TokenBatch, hook_name: str, targets: Tensor
) -> Float[Tensor, "batch d_model"]:
    nudges: list[Tensor] = []

    def nudge(resid: Tensor, hook: Any) -> Tensor:
        # The gradient towards a zero that is added is the gradient towards the residual.
        zero = torch.zeros_like(resid, requires_grad=True)
        nudges.append(zero)
        return resid + zero

    with torch.enable_grad(), model.hooks(fwd_hooks=[(hook_name, nudge)]):
        logits = model(batch.tokens, attention_mask=batch.attention_mask, use_cache=False)
        if not 0 <= int(targets.min()) <= int(targets.max()) < logits.shape[-1]:
            raise ValueError(
                f"targets go from {int(targets.min())} to {int(targets.max())}; expected token ids "
                f"from 0 to {logits.shape[-1] - 1}"
            )
        log_p = logits[:, -1].float().log_softmax(dim=-1)[:, targets.to(logits.device)]
        [grad] = torch.autograd.grad(log_p.logsumexp(dim=-1).sum(), nudges)
    return grad.masked_fill(~batch.content[..., None], 0.0).sum(dim=1).float().cpu()


def tcav_scores(
    gradients: Float[Tensor, "text d_model"], vectors: Float[Tensor, "n d_model"]
) -> Float[Tensor, " n"]:
    """Share of texts whose directional derivative along each vector is positive.

    Raises ValueError for no texts, another width, or gradients that are not finite.
    """
    if gradients.ndim != 2 or vectors.ndim != 2 or gradients.shape[1] != vectors.shape[1]:
        raise ValueError(
            f"gradients is {list(gradients.shape)} and vectors {list(vectors.shape)}; expected "
            "[text, d_model] and [n, d_model]"
        )
    if not len(gradients) or not torch.isfinite(gradients).all():
        raise ValueError("gradients is empty or holds NaN or infinite values")
    return (gradients @ vectors.T > 0).float().mean(dim=0)


@dataclass(frozen=True)
class TCAVResult:
    """The TCAV score of one concept against random CAVs.

    p: two-sided rank p-value, (1 + #{|random − ½| ≥ |score − ½|}) / (1 + n_random). Which side of a
    random split is called the concept is a toss, so random scores lie about ½ alike on both sides;
    their median need not, since most of them are near 0 or near 1. p_corrected: after Holm's
    correction over all concepts that were tested.
    """

    concept: str
    score: float
    random_median: float
    p: float
    p_corrected: float
    n_random: int


def tcav_test(
    gradients: Float[Tensor, "text d_model"],
    concepts: dict[str, Float[Tensor, " d_model"]],
    random: Float[Tensor, "n_random d_model"],
) -> list[TCAVResult]:
    """Test the TCAV score of each concept against random CAVs, corrected over the concepts.

    random: at least 50 (see `steerlab.cavs.random_cavs`). A rank p-value cannot fall below
    1 / (1 + n_random), so that a test of a dozen concepts needs some hundreds.
    Raises ValueError for no concepts or fewer than 50 random CAVs.
    """
    if not concepts:
        raise ValueError("concepts is empty; expected {name: vector}")
    if len(random) < 50:
        raise ValueError(f"{len(random)} random CAVs; expected at least 50")
    chance = tcav_scores(gradients, random)
    median = float(chance.median())
    scores = tcav_scores(gradients, torch.stack(list(concepts.values())))
    apart = (chance - 0.5).abs()
    p = [
        (1 + int((apart >= abs(float(score) - 0.5) - 1e-6).sum())) / (1 + len(random))
        for score in scores
    ]
    corrected = holm(p)
    return [
        TCAVResult(name, float(score), median, p[i], corrected[i], len(random))
        for i, (name, score) in enumerate(zip(concepts, scores, strict=True))
    ]


def holm(p: Sequence[float]) -> list[float]:
    """P-values corrected for testing all of them at once (Holm, 1979)."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    corrected, running = [0.0] * len(p), 0.0
    for rank, i in enumerate(order):
        running = max(running, min(1.0, (len(p) - rank) * p[i]))
        corrected[i] = running
    return corrected
