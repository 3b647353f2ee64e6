"""The checks of assignment 04_cav."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from steerlab.checks.diagnosis import (
    RESID_PRE,
    CheckFailed,
    check_of,
    expect,
    expect_pair,
    expect_tensor,
    same,
)

# -------------------------------------------------------------------------------- masked_mean

_REAL = 5  # tokens of the text that the check reads: BOS (which holds 1000) and 1, 2, 4, 8


def _one_text(side: str, n_padding: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    """A text whose residuals are 1000 at BOS, then 1, 2, 4, 8; padding holds −500."""
    text = [1000.0, 1.0, 2.0, 4.0, 8.0]
    padding, off = [-500.0] * n_padding, [0] * n_padding
    values = padding + text if side == "left" else text + padding
    mask = off + [1] * _REAL if side == "left" else [1] * _REAL + off
    return torch.tensor(values)[None, :, None].repeat(1, 1, 2), torch.tensor([mask])


@check_of("masked_mean")
def check_masked_mean(function: Callable[..., Any]) -> str:
    """Diagnose `masked_mean(resid, attention_mask, skip)` on one text, padded here and there."""
    dims = "means, kept"

    def mean_of_one(resid: torch.Tensor, mask: torch.Tensor, skip: int) -> float:
        means, kept = expect_pair(function(resid, mask, skip), dims)
        means = expect_tensor(means, (1, 2), "n_kept, d_model")
        kept = expect_tensor(kept, (1,), "batch")
        expect(kept.dtype == torch.bool, f"kept has dtype {kept.dtype}; it should be torch.bool.")
        expect(bool(kept[0]), "kept is False for a text that has tokens to average.")
        return float(means[0, 0])

    def diagnose(got: float, wanted: float, where: str, guesses: dict[float, str]) -> None:
        for wrong, why in guesses.items():
            expect(abs(got - wrong) > 1e-3, f"{where}: {why}")
        expect(
            abs(got - wanted) < 1e-3,
            f"{where}: BOS, then tokens 1, 2, 4, 8, all but the ones that are skipped should be "
            f"averaged; your mean is {got:g}.",
        )

    plain, mask = _one_text("right", 0)
    diagnose(
        mean_of_one(plain, mask, 0),
        15 / 4,
        "no padding, skip=0",
        {203.0: "BOS is in the mean. It is never counted, skip or no skip.", 15.0: "a sum."},
    )
    diagnose(
        mean_of_one(plain, mask, 2),
        6.0,
        "no padding, skip=2",
        {
            14
            / 3: "BOS counts as one of the skipped tokens. Skip it and then `skip` more: the mean "
            "begins at position skip + 1.",
            8.0: "one token too many is skipped.",
        },
    )
    right, right_mask = _one_text("right")
    diagnose(
        mean_of_one(right, right_mask, 2),
        6.0,
        "padding on the right",
        {
            -988 / 4: "padding is averaged in. Where the mask is 0 there is no text.",
            3.0: "you divide by the number of columns, padding included.",
        },
    )
    left, left_mask = _one_text("left")
    got = mean_of_one(left, left_mask, 2)
    expect(
        abs(got - 15 / 4) > 1e-3 and abs(got - 14 / 3) > 1e-3 and abs(got - 203) > 1e-3,
        "padding on the left: you skip columns of the tensor, and the first columns are padding. "
        "Count positions from the first token that the mask calls real.",
    )
    diagnose(got, 6.0, "padding on the left", {})

    means, kept = expect_pair(function(left, left_mask, 4), dims)
    expect(isinstance(means, torch.Tensor), "means should be a tensor.")
    expect(
        means.numel() == 0 or not means.isnan().any(),
        "a text that is all prefix gives a row of NaN: 0 / 0. Leave the row out and report it.",
    )
    expect(
        tuple(means.shape) == (0, 2) and not bool(torch.as_tensor(kept).any()),
        "a text that is all prefix (BOS and 4 tokens, skip=4) has no mean. Give it no row: means "
        f"should have shape [0, d_model], kept should be [False]. Yours: {list(means.shape)}, "
        f"{torch.as_tensor(kept).tolist()}.",
    )
    dirty = torch.where(right_mask[..., None].bool(), right, torch.tensor(torch.nan))
    means, _ = expect_pair(function(dirty, right_mask, 2), dims)
    expect(
        not means.isnan().any(),
        "NaN under padding reaches the mean. Multiplying by 0 does not remove it, since 0 · NaN is "
        "NaN: replace it (masked_fill, torch.where).",
    )
    return "BOS and prefix skipped, padding on either side, no row for a text without tokens."


# ------------------------------------------------------------------------------------ prepare


@check_of("prepare")
def check_prepare(function: Callable[..., Any]) -> str:
    """Diagnose `prepare(means, train)` on two training rows and a held-out one, in 4 dimensions."""
    means = torch.tensor([[10.0, 0, 0, 1], [12.0, 8, 0, 0], [16.0, 4, 0, 3], [10.0, 4, 4, 0]])
    train = torch.tensor([True, True, False, True])
    given = means.clone()
    result = expect_tensor(function(means, train), (4, 4), "text, d_model")
    expect(torch.equal(means, given), "your function changes `means` in place: build a new tensor.")
    rows, centre = result[train], means[train].mean(dim=0)
    lengths = rows.norm(dim=1)
    expect(
        not same(result.mean(dim=0) + 1, torch.ones(4)),
        "the mean of all rows is zero. The held-out row must have no say: centre by the mean of "
        "the training rows.",
    )
    expect(
        not same(lengths, torch.full((3,), 2.0)),
        "every row has length √d. One number scales all rows: their lengths differ, and say "
        "something.",
    )
    expect(
        bool(rows.mean(dim=0).norm() < 1e-4),
        "the mean of the training rows is not zero afterwards. Do you centre, and before scaling?",
    )
    expect(
        not same(rows.nan_to_num().std(dim=0)[1:3], torch.ones(2)),
        "every coordinate was divided by a deviation of its own. One number scales everything, so "
        "that directions keep their meaning.",
    )
    root_mean_square = float(lengths.square().mean().sqrt())
    expect(
        abs(root_mean_square - 2) > 1e-3,
        "the mean of the squared lengths is d. Wanted: the mean of the lengths is √d.",
    )
    expect(
        abs(float(lengths.mean()) - 2) < 1e-3,
        f"the training rows have a mean length of {float(lengths.mean()):.3f}; wanted √d = 2.",
    )
    expect(
        same(rows / rows[0].norm(), (means[train] - centre) / (means[0] - centre).norm()),
        "the training rows are not scaled by one and the same number.",
    )
    expect(
        same(result[2] / rows[0].norm(), (means[2] - centre) / (means[0] - centre).norm()),
        "the held-out row is not moved and scaled by the same numbers as the training rows.",
    )
    return "centre and scale from the training rows alone, one number for all coordinates."


# ----------------------------------------------------------------------------------- fit_cavs


def _three_classes() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Three classes along three axes of six, 20 rows each; half of them for training."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(3).repeat(20)
    inputs = 4 * torch.eye(3, 6)[labels] + 0.4 * torch.randn(60, 6, generator=generator)
    train = torch.arange(60) < 30
    return inputs - inputs[train].mean(dim=0), labels, train


@check_of("fit_cavs")
def check_fit_cavs(function: Callable[..., Any]) -> str:
    """Diagnose `fit_cavs(inputs, labels, train, cost)` on three classes that are easily told."""
    inputs, labels, train = _three_classes()
    cavs, accuracy = expect_pair(function(inputs, labels, train, 0.05), "cavs, accuracy")
    cavs = expect_tensor(cavs, (3, 6), "class, d_model").double()
    for c in range(3):
        mine = inputs[labels == c].mean(dim=0).double()
        closest = [float(torch.cosine_similarity(cavs[c], -s * mine, dim=0)) for s in (1, -1)]
        expect(
            closest[0] < 0.8,
            f"the CAV of class {c} points away from its class. In LinearSVC the class that is True "
            "(or the larger label) lies on the positive side.",
        )
        expect(closest[1] > 0.8, f"the CAV of class {c} does not point to the rows of class {c}.")
    lengths = cavs.norm(dim=1)
    expect(
        bool(((lengths - 1).abs() < 1e-3).all()),
        f"the CAVs have lengths {[round(x, 3) for x in lengths.tolist()]}; each should have 1.",
    )
    try:
        accuracy = float(accuracy)
    except (TypeError, ValueError):
        raise CheckFailed("the accuracy should be one number.") from None
    expect(0 <= accuracy <= 1, f"the accuracy is {accuracy:g}; it is a share, between 0 and 1.")

    # The held-out rows are given wrong labels: nothing of them may be learned.
    swapped = torch.where(train, labels, (labels + 1) % 3)
    other, wrong = expect_pair(function(inputs, swapped, train, 0.05), "cavs, accuracy")
    other = expect_tensor(other, (3, 6), "class, d_model").double()
    expect(
        bool((torch.cosine_similarity(cavs, other, dim=1) > 0.99).all()),
        "wrong labels of the held-out rows change your CAVs. Fit on the rows where train is True.",
    )
    expect(accuracy > 0.99, f"the classes lie far apart, yet your accuracy is {accuracy:.2f}.")
    expect(
        float(wrong) < 0.5,
        "with wrong labels on all held-out rows your accuracy stays high: it should be judged on "
        "the rows where train is False.",
    )
    expect(float(wrong) < 0.01, "give each row one class, that of the largest margin.")
    both, _ = expect_pair(
        function(inputs[labels < 2], labels[labels < 2], train[labels < 2], 0.05), ""
    )
    expect_tensor(both, (2, 6), "class, d_model")
    return "one unit normal a class, from training rows alone, judged on the others."


# --------------------------------------------------------------------------- cav_intervention


@check_of("cav_intervention")
def check_cav_intervention(function: Callable[..., Any]) -> str:
    """Diagnose `cav_intervention(cav, dose, stream_norm)` on a vector of length 5."""
    cav, resid = torch.tensor([3.0, 4.0, 0.0]), torch.ones(2, 4, 3)
    intervention = function(cav, 0.5, 8.0)
    expect(intervention is not None, "it returns None. Is the `return` missing?")
    expect(
        callable(intervention),
        f"return a function of the stream, not a {type(intervention).__name__}.",
    )
    untouched = resid.clone()
    result = expect_tensor(intervention(resid), (2, 4, 3), "batch, pos, d_model")
    expect(
        torch.equal(resid, untouched),
        "your intervention changes its input in place. Others hold that tensor too: return a new one.",
    )
    moved = result - untouched
    expect(bool((moved != 0).any()), "nothing moved.")
    lengths = moved.norm(dim=-1)
    expect(
        bool((lengths > 1e-6).all()),
        "some tokens did not move. Which positions are steered is decided outside, by `steer`.",
    )
    expect(
        not same(moved[0, 0], 0.5 * cav),
        "you add dose * cav, so the dose means something else for every model. Multiply by the "
        "length of the stream.",
    )
    expect(
        not same(moved[0, 0], 4.0 * cav),
        "your vector is as many times too long as the CAV is longer than 1: divide by its length.",
    )
    expect(not same(moved[0, 0], -0.8 * cav), "your push points the wrong way for a positive dose.")
    expect(
        same(lengths, torch.full((2, 4), 4.0)),
        f"dose 0.5 of a stream of length 8 should move every token by 4, not by {lengths[0, 0]:g}.",
    )
    expect(same(moved, (0.8 * cav).expand(2, 4, 3)), "the push does not point along the CAV.")
    back = function(cav, -0.5, 8.0)(resid) - resid
    expect(same(back, -moved), "a negative dose should push the other way, just as far.")
    half = intervention(resid.half())
    expect(
        half.dtype == torch.float16,
        f"a float16 stream comes back as {half.dtype}. Convert what you add, not the stream.",
    )
    return "dose times the length of the stream along the CAV, out of place, dtype kept."


# ------------------------------------------------------------------------------ sensitivities


@torch.no_grad()
def _change(
    model: Any, tokens: torch.Tensor, hook_name: str, targets: torch.Tensor, push: torch.Tensor,
    *, first: int, logit: bool = False,
) -> float:  # fmt: skip
    """How much the target's log-probability (or logit) changes when `push` is added, halved."""

    def value(sign: int) -> float:
        def add(resid: torch.Tensor, hook: Any) -> torch.Tensor:
            where = torch.arange(resid.shape[1], device=resid.device) >= first
            return resid + sign * where[None, :, None] * push.to(resid)

        with model.hooks(fwd_hooks=[(hook_name, add)]):
            last = model(tokens)[0, -1].float()
        return float((last if logit else last.log_softmax(-1))[targets].logsumexp(0))

    return (value(1) - value(-1)) / 2


def _expect_no_known_slip(
    value: torch.Tensor, measured: Callable[..., torch.Tensor], targets: torch.Tensor, length: int
) -> None:
    """Say which slip gives `value`, if one of the likely ones does."""
    each = torch.stack([measured(target[None]) for target in targets])
    event = "They are one event: add the probabilities, then take the logarithm (logsumexp)."
    slips = [
        (
            measured(first=0),
            "position 0 is in the sum. It is never steered: leave its gradient out.",
        ),
        (
            measured(logit=True),
            "that is the derivative of the logit. Take the log-probability: log_softmax first.",
        ),
        (each.mean(0), f"you average the logarithms of the targets' probabilities. {event}"),
        (each.sum(0), f"you add the logarithms of the targets' probabilities. {event}"),
        (
            measured(first=length - 1),
            "only the last position is in the sum. A push acts at every position: sum over all but 0.",
        ),
        (
            measured() / (length - 1),
            "you average over positions; a push acts at all of them, so sum.",
        ),
    ]
    for wrong, why in slips:
        expect(not same(value, wrong, 0.03), why)


@check_of("sensitivities")
def check_sensitivities(function: Callable[..., Any], model: Any) -> str:
    """Diagnose `sensitivities(model, tokens, attention_mask, hook_name, targets, vectors)`.

    It is held against what a small push really does to one text; this takes rounding, so only
    mistakes of a tenth or more are told apart.
    """
    tokens = model.to_tokens("My sister saw")
    mask, device = torch.ones_like(tokens), model.cfg.device
    generator = torch.Generator().manual_seed(0)
    vectors = torch.randn(2, model.cfg.d_model, generator=generator).to(device)
    targets = torch.tensor([5, 17, 40], device=device)
    exact = next(model.parameters()).dtype == torch.float32

    def measured_at(layer: int) -> Callable[..., torch.Tensor]:
        """What small pushes do at that layer, as a function of where and to what."""
        name = RESID_PRE.format(layer=layer)
        with torch.no_grad():
            _, cache = model.run_with_cache(tokens, names_filter=name)
        # In half precision a difference of logits is mostly rounding: larger steps, little asked.
        length = float(cache[name][0, 1:].norm(dim=-1).mean() / vectors.norm(dim=1).mean())
        step = (0.01 if exact else 0.1) * length

        def measured(which: torch.Tensor = targets, **how: Any) -> torch.Tensor:
            how = {"first": 1, **how}
            changes = [_change(model, tokens, name, which, step * v, **how) for v in vectors]
            return torch.tensor(changes, dtype=torch.float64) / step

        return measured

    # The lowest layer at which position 0 makes a difference that can be told.
    layer = next(
        (
            layer
            for layer in range(1, min(model.cfg.n_layers, 5))
            if not same(measured_at(layer)(first=0), measured_at(layer)(), 0.1)
        ),
        model.cfg.n_layers // 2,
    )
    name, measured = RESID_PRE.format(layer=layer), measured_at(layer)
    before = [p.requires_grad for p in model.parameters()]
    value = function(model, tokens, mask, name, targets, vectors)
    value = expect_tensor(value, (1, 2), "text, vector").double().cpu()[0]
    expect(
        not any(point.fwd_hooks for point in model.hook_dict.values()),
        "your hook is still on the model: use `with model.hooks(...)`.",
    )
    expect(
        before == [p.requires_grad for p in model.parameters()],
        "you switched gradients on for the model's weights. Only the stream needs one.",
    )
    right = measured()
    if not same(value, right, 0.03 if exact else 0.6):
        if exact:
            _expect_no_known_slip(value, measured, targets, tokens.shape[1])
        expect(
            same(value, right, 0.1),
            "a small push along the vectors changes the log-probability by another amount than your "
            f"derivatives say: {[round(x, 4) for x in right.tolist()]} for a push of 1, yours "
            f"{[round(x, 4) for x in value.tolist()]}.",
        )
    pad = int(model.tokenizer.pad_token_id)
    padding = torch.full((1, 3), pad, device=device, dtype=tokens.dtype)
    wide = torch.cat([padding, tokens], dim=1)
    wide_mask = torch.cat([torch.zeros_like(padding), mask], dim=1)
    padded = function(model, wide, wide_mask, name, targets, vectors)
    padded = expect_tensor(padded, (1, 2), "text, vector").double().cpu()[0]
    expect(
        same(padded, value, 0.02 if exact else 0.3),
        "three tokens of padding on the left change the result. Hand the attention mask to the "
        "model, and find position 0 by it.",
    )
    return "it agrees with what a small push does, position 0 and padding left out."


# -------------------------------------------------------------------------------- random_cavs


@check_of("random_cavs")
def check_random_cavs(function: Callable[..., Any]) -> str:
    """Diagnose `random_cavs(inputs, is_concept, n, seed, cost)` on a concept that is easily told."""
    generator = torch.Generator().manual_seed(1)
    is_concept = torch.arange(40) % 2 == 0
    inputs = torch.zeros(40, 8)
    inputs[:, :4] = torch.randn(40, 4, generator=generator)
    inputs[:, 0] = torch.where(is_concept, 4.0, -4.0)
    labels = is_concept.clone()
    drawn = expect_tensor(function(inputs, is_concept, 16, 3, 0.05), (16, 8), "n, d_model").double()
    expect(torch.equal(labels, is_concept), "your function shuffles its argument in place.")
    expect(
        bool(((drawn.norm(dim=1) - 1).abs() < 1e-3).all()), "every random CAV should have length 1."
    )
    expect(
        not bool((drawn[:, 0].abs() > 0.97).all()),
        "your random CAVs still find the concept: texts and labels were shuffled together, or not "
        "at all.",
    )
    apart = (drawn[0] - drawn).norm(dim=1)
    expect(
        float(apart.max()) > 1e-3,
        "all random CAVs are the same. Shuffle anew for each, from one generator that is seeded "
        "once, before the loop.",
    )
    expect(
        float(drawn[:, 4:].norm()) < 0.1,
        "your random CAVs leave the space that the texts fill. They are noise; fit an SVM.",
    )
    again = expect_tensor(function(inputs, is_concept, 16, 3, 0.05), (16, 8), "n, d_model").double()
    expect(same(drawn, again, 1e-2), "the same seed gives other random CAVs.")
    return "made-up concepts, fitted like true ones, reproducible."


# ---------------------------------------------------------------------------------- tcav_test


@check_of("tcav_test")
def check_tcav_test(function: Callable[..., Any]) -> str:
    """Diagnose `tcav_test(sensitivity, random_sensitivity)` on 4 texts and 99 random CAVs."""
    ones = torch.ones(4)
    sensitivity = torch.stack([ones, -ones, torch.tensor([1.0, 1.0, 1.0, -100.0])], dim=1)
    # 9 random CAVs score 1, none scores 0, the others score one half.
    chance = torch.tensor([1.0, 1.0, -1.0, -1.0])[:, None].repeat(1, 99)
    chance[:, :9] = 1.0
    scores, p = expect_pair(function(sensitivity, chance), "scores, p")
    scores = expect_tensor(scores, (3,), "concept").double()
    expect(
        float(scores[2]) != -24.25 and float(scores[2]) > 0,
        "your score is a mean of the derivatives. It is the share of texts where they are positive.",
    )
    wanted = torch.tensor([1.0, 0.0, 0.75], dtype=torch.float64)
    expect(same(scores, wanted), f"expected the scores 1, 0 and 0.75, got {scores.tolist()}.")
    p = expect_tensor(p, (3,), "concept").double()
    expect(bool((p > 0).all()), "a rank p is never 0: the concept itself is one of 1 + n.")
    expect(bool((p <= 1).all()), "p is above 1: cut it there.")
    expect(
        same(p[:1], p[1:2]),
        "scores of 0 and of 1 lie equally far from one half, and p is two-sided: it should be the "
        "same for both.",
    )
    expect(
        not same(p[:1], torch.tensor([0.1])),
        "p is not corrected. Three concepts are tested at once: multiply by 3.",
    )
    expect(
        not same(p[:1], torch.tensor([27 / 99])),
        "you count (random CAVs as far) / n. The concept itself counts too: (1 + count) / (1 + n).",
    )
    expect(
        not same(p[:1], torch.tensor([0.03])),
        "a random CAV that lies exactly as far from one half as the concept counts as well.",
    )
    expect(
        same(p[:1], torch.tensor([0.3])),
        "9 of 99 random CAVs lie as far from one half as a score of 1, and three concepts are "
        f"tested: expected p = 0.3, got {float(p[0]):.3f}.",
    )
    try:
        function(sensitivity, chance[:, :49])
    except ValueError:
        pass
    else:
        raise CheckFailed("49 random CAVs pass silently: raise a ValueError for fewer than 50.")
    return "a share of texts, both sides of one half, corrected, 50 random CAVs or more."
