"""Hidden tests of assignment 04_cav. They run in the trusted process and call the student's.

Several tests of one task look at one mistake each and are lenient about the others, so that a
student who makes one mistake loses the points of that one and reads what it was. None of them
is passed by zeros, by the input, or by what a visible check expects.
"""

# canary-a7207f533140f7e1040d6514223b14f9

from __future__ import annotations

from functools import cache, lru_cache

import numpy as np
import pytest
import torch
from autograder.probe import StudentError, task
from steerlab import load_model
from steerlab.data import sentences
from steerlab.tiny import CHECKPOINT
from transformers import AutoModelForCausalLM

# Honest fp32 in any order of operations stays below 1e-5; half precision lies above 1e-4, the
# mistakes above 1e-2.
TOLERANCE = 1e-4
# LinearSVC stops at a tolerance of its own; cosines of its normals with the exact ones stay above
# .9999, and those of the mistakes below .98.
SAME_NORMAL = 0.995


def draw(rng, low, high):
    """A whole number from low to high, both included."""
    return int(torch.randint(low, high + 1, (), generator=rng))


def choose(rng, options, n):
    """n different elements."""
    return [options[i] for i in torch.randperm(len(options), generator=rng)[:n].tolist()]


def gauss(rng, *shape, dtype=torch.float64):
    return torch.randn(*shape, generator=rng, dtype=torch.float64).to(dtype)


def close(value, expected, tolerance=TOLERANCE):
    """Whether value is a tensor of expected's shape, equal up to a share of expected's norm."""
    if not isinstance(value, torch.Tensor) or value.shape != expected.shape:
        return False
    value, expected = value.detach().double().cpu(), expected.double()
    return bool((value - expected).norm() <= tolerance * expected.norm())


def two(value):
    """The two parts of a result."""
    assert isinstance(value, tuple | list)
    assert len(value) == 2
    return value


# -------------------------------------------------------------------------------- masked_mean


def a_batch(rng, lengths, side, *, width=6, extra=0):
    """resid [batch, pos, d_model] and its mask; the first token of each text stands far off."""
    longest = max(lengths) + extra
    resid = 3 + gauss(rng, len(lengths), longest, width)
    mask = torch.zeros(len(lengths), longest, dtype=torch.int64)
    for row, length in enumerate(lengths):
        first = longest - length if side == "left" else 0
        mask[row, first : first + length] = 1
        if length:
            resid[row, first] += 40
        # Padding is as far off as position 0, the other way.
        resid[row][mask[row] == 0] -= 60
    return resid.float(), mask


def pooled(resid, mask, skip, *, first=1):
    """(means, kept), text by text; first=0: as if position 0 were one of the skipped tokens."""
    means, kept = [], []
    for row, real in zip(resid.double(), mask.bool(), strict=True):
        counted = row[real][first + skip :]
        kept.append(len(counted) > 0)
        if len(counted):
            means.append(counted.mean(dim=0))
    empty = torch.zeros(0, resid.shape[-1], dtype=torch.float64)
    return torch.stack(means) if means else empty, torch.tensor(kept)


def is_pooled(value, resid, mask, skip, firsts=(1,), tolerance=TOLERANCE):
    """Whether value is (means, kept) under one of these ways to count the first token."""
    means, kept = two(value)
    if not isinstance(kept, torch.Tensor) or kept.dtype != torch.bool:
        return False
    return any(
        kept.tolist() == right.tolist() and close(means, expected, tolerance)
        for expected, right in (pooled(resid, mask, skip, first=first) for first in firsts)
    )


@task(
    "masked_mean",
    weight=1,
    misconception="A text without padding: leave out position 0 and then `skip` more tokens, so "
    "that the mean begins at position skip + 1.",
)
def test_position_0_and_the_prefix_are_skipped(student, rng):
    for skip in (0, draw(rng, 1, 4)):
        resid, mask = a_batch(rng, [draw(rng, skip + 3, 12)] * 2, "right")
        assert is_pooled(student.masked_mean(resid, mask, skip), resid, mask, skip)


@task(
    "masked_mean",
    weight=1,
    misconception="With padding on the right the means are off: padding is summed, or counted in "
    "what you divide by.",
)
def test_padding_on_the_right_does_not_count(student, rng):
    skip = draw(rng, 1, 3)
    resid, mask = a_batch(rng, [skip + 3, skip + 9, skip + 5, skip + 4], "right", extra=2)
    assert is_pooled(student.masked_mean(resid, mask, skip), resid, mask, skip, (1, 0))


@task(
    "masked_mean",
    weight=2,
    misconception="With padding on the left the means are off: column 0 of the tensor is not "
    "position 0 of the text. Count positions from the first token that the mask calls real.",
)
def test_padding_may_be_on_the_left(student, rng):
    skip = draw(rng, 1, 3)
    resid, mask = a_batch(rng, [skip + 3, skip + 9, skip + 5, skip + 4], "left", extra=1)
    assert is_pooled(student.masked_mean(resid, mask, skip), resid, mask, skip, (1, 0))


@task(
    "masked_mean",
    weight=2,
    misconception="A text that is all prefix has no mean: leave its row out of the means (no NaN, "
    "no zeros) and report it as False in `kept`.",
)
def test_a_text_without_a_token_left_gets_no_row(student, rng):
    skip = draw(rng, 3, 5)
    # As short as this they are empty however position 0 is counted.
    lengths = choose(rng, [skip + 6, skip - 1, skip + 3, skip, 1, skip + 4], 6)
    resid, mask = a_batch(rng, lengths, "right", extra=1)
    assert is_pooled(student.masked_mean(resid, mask, skip), resid, mask, skip, (1, 0))
    resid, mask = a_batch(rng, [skip, skip - 1, 2], "right")
    means, kept = two(student.masked_mean(resid, mask, skip))
    assert isinstance(means, torch.Tensor)
    assert tuple(means.shape) == (0, resid.shape[-1])
    assert kept.tolist() == [False] * 3


@task(
    "masked_mean",
    weight=1,
    misconception="What lies under padding has a say: 0 times NaN is NaN. Replace what does not "
    "count before you sum.",
)
def test_whatever_lies_under_padding_has_no_say(student, rng):
    skip = draw(rng, 1, 3)
    for rubbish in (float("nan"), float("inf")):
        resid, mask = a_batch(rng, [skip + 3, skip + 7, skip + 4], "right")
        dirty = resid.masked_fill(mask[..., None] == 0, rubbish)
        assert is_pooled(student.masked_mean(dirty, mask, skip), resid, mask, skip, (1, 0))


@task(
    "masked_mean",
    weight=1,
    misconception="A sum of half-precision residuals overflows or loses digits: convert to float32 "
    "first, and return float32.",
)
def test_half_precision_is_summed_in_float32(student, rng):
    skip = draw(rng, 0, 2)
    resid, mask = a_batch(rng, [skip + 60, skip + 50], "right")
    resid = (1200 + 10 * resid).half()  # 60 of these exceed what float16 can hold
    value = student.masked_mean(resid, mask, skip)
    assert is_pooled(value, resid, mask, skip, (1, 0))
    assert value[0].dtype == torch.float32


@task(
    "masked_mean",
    weight=2,
    misconception="Check position 0, the prefix, both sides of padding and empty texts together: "
    "a text of skip + 1 tokens (BOS counts) is empty, one of skip + 2 has one token to average.",
)
def test_all_of_it_together_at_the_border(student, rng):
    for side in ("left", "right"):
        skip = draw(rng, 1, 4)
        lengths = choose(rng, [skip + 1, skip + 2, skip + 3, skip + 8, 0, 1], 6)
        resid, mask = a_batch(rng, lengths, side, extra=1)
        for given in (mask, mask.bool()):
            assert is_pooled(student.masked_mean(resid, given, skip), resid, mask, skip)


# ------------------------------------------------------------------------------------ prepare


def residual_means(rng, n=24, width=10):
    """Means far from zero, and which of them are for training; the others lie elsewhere."""
    stretch = torch.linspace(0.3, 3, width, dtype=torch.float64)
    means = 20 * gauss(rng, 1, width) + stretch * gauss(rng, n, width)
    train = torch.zeros(n, dtype=torch.bool)
    train[choose(rng, range(n), n // 2)] = True
    means[~train] = 2.5 * (means[~train] - means.mean(0)) + means.mean(0) + 4
    return means.float(), train


def prepared(means, train):
    """The same by another road: one affine map, fitted on the training rows."""
    x = means.double().numpy()
    rows = x[train.numpy()]
    centre = np.einsum("ij->j", rows) / len(rows)
    lengths = np.sqrt(np.einsum("ij,ij->i", rows - centre, rows - centre))
    return torch.from_numpy((x - centre) * (np.sqrt(x.shape[1]) * len(rows) / lengths.sum()))


@task(
    "prepare",
    weight=1,
    misconception="The mean of the training rows is not zero afterwards: subtract the mean of the "
    "training rows, coordinate by coordinate.",
)
def test_training_rows_are_centred(student, rng):
    means, train = residual_means(rng)
    value = student.prepare(means, train)
    assert isinstance(value, torch.Tensor)
    assert value.shape == means.shape
    rows = value[train].double()
    assert rows.norm(dim=1).min() > 1e-3
    assert rows.mean(0).norm() <= 1e-3 * rows.norm(dim=1).mean()


@task(
    "prepare",
    weight=1,
    misconception="The average length of the training rows is not the square root of d_model: "
    "average the lengths (not their squares) after centring.",
)
def test_training_rows_have_length_sqrt_d_on_average(student, rng):
    for width in (9, 30):
        means, train = residual_means(rng, width=width)
        value = student.prepare(means, train)
        assert isinstance(value, torch.Tensor)
        assert value.shape == means.shape
        length = value[train].double().norm(dim=1).mean()
        assert abs(float(length) / width**0.5 - 1) < TOLERANCE


@task(
    "prepare",
    weight=1,
    misconception="All rows must be scaled by one and the same number: no division by a standard "
    "deviation for each coordinate, no normalising of single rows.",
)
def test_one_number_scales_everything(student, rng):
    means, train = residual_means(rng)
    value = student.prepare(means, train)
    assert isinstance(value, torch.Tensor)
    assert value.shape == means.shape
    rows, given = value[train].double(), means[train].double()
    moved, apart = rows[1:] - rows[0], given[1:] - given[0]
    ratio = moved.norm() / apart.norm()
    assert ratio > 1e-6
    assert close(moved, ratio * apart, 1e-3)


@task(
    "prepare",
    weight=1,
    misconception="Your function changes the tensor that it was given: build a new one, means - centre.",
)
def test_the_means_that_come_in_are_left_as_they_are(student, rng):
    means, train = residual_means(rng)
    value, (after, *_) = student.prepare.call_keeping(means, train)
    assert torch.equal(after, means)
    assert isinstance(value, torch.Tensor)
    assert value.shape == means.shape
    assert not torch.equal(value, means)
    assert value.norm() > 1e-3


@task(
    "prepare",
    weight=2,
    misconception="The held-out rows had a say in the centre or the scale, or were prepared by "
    "their own. Both numbers come from the training rows alone and are used for all rows.",
)
def test_held_out_rows_have_no_say(student, rng):
    for _ in range(2):
        means, train = residual_means(rng)
        value = student.prepare(means, train)
        assert close(value[train], prepared(means, train)[train])
        assert close(value[~train], prepared(means, train)[~train])


# ----------------------------------------------------------------------------------- fit_cavs


def exact_svm(inputs, positive, cost, intercept=1.0):
    """(normal, intercept) of liblinear's problem, by Newton's method in float64.

    min ½‖w‖² + ½b² + C Σ max(0, 1 − y(w·x + b))²; it is piecewise quadratic, so Newton ends exactly.
    """
    x = np.hstack([inputs.double().numpy(), np.full((len(inputs), 1), intercept)])
    y = np.where(np.asarray(positive), 1.0, -1.0)
    w = np.zeros(x.shape[1])

    def loss(w):
        return 0.5 * w @ w + cost * (np.maximum(0, 1 - y * (x @ w)) ** 2).sum()

    for _ in range(100):
        inside = y * (x @ w) < 1
        gradient = w - 2 * cost * x[inside].T @ (y[inside] - x[inside] @ w)
        hessian = np.eye(len(w)) + 2 * cost * x[inside].T @ x[inside]
        move, step = np.linalg.solve(hessian, gradient), 1.0
        while loss(w - step * move) > loss(w) and step > 1e-8:
            step /= 2
        w = w - step * move
        if np.linalg.norm(gradient) < 1e-9 * (1 + np.linalg.norm(w)):
            break
    return torch.from_numpy(w[:-1]), float(w[-1])


def exact_cavs(inputs, labels, cost, intercept=1.0):
    """The unit normals of all classes, [class, d_model]."""
    own = [(labels == c).numpy() for c in range(int(labels.max()) + 1)]
    normals = torch.stack([exact_svm(inputs, mine, cost, intercept)[0] for mine in own])
    return torch.nn.functional.normalize(normals, dim=1)


def a_corpus(rng, classes, n_train, n_test, *, width=8, apart=2.0, noise=1.0):
    """Inputs, labels and which rows are for training, in random order; the training mean is 0."""
    centres = apart * torch.linalg.qr(gauss(rng, width, width)).Q[:classes]
    labels = torch.arange(classes).repeat(n_train + n_test)
    train = torch.arange(len(labels)) < classes * n_train
    order = torch.randperm(len(labels), generator=rng)
    labels, train = labels[order], train[order]
    # The coordinates are unequal: a mean difference is then another direction than a normal.
    spread = noise * torch.linspace(0.3, 2, width, dtype=torch.float64)
    inputs = centres[labels] + spread * gauss(rng, len(labels), width)
    inputs = inputs - inputs[train].mean(0)
    return inputs.float(), labels, train


def cavs_of(student, inputs, labels, train, cost):
    """The student's CAVs, of the right shape and finite."""
    cavs, _ = two(student.fit_cavs(inputs, labels, train, cost))
    assert isinstance(cavs, torch.Tensor)
    assert cavs.shape == (int(labels.max()) + 1, inputs.shape[1])
    assert bool(cavs.isfinite().all())
    assert bool((cavs.norm(dim=1) > 1e-9).all())
    assert cavs.dtype in (torch.float32, torch.float64)
    return cavs.double()


def along(cavs, expected, least=SAME_NORMAL):
    """Whether each CAV points the way of the expected one, whatever its length."""
    return bool((torch.cosine_similarity(cavs, expected, dim=1) > least).all())


@task(
    "fit_cavs",
    weight=1,
    misconception="A CAV has length 1: divide each normal by its own norm.",
)
def test_every_cav_has_length_1(student, rng):
    inputs, labels, train = a_corpus(rng, draw(rng, 3, 4), 12, 4)
    cavs = cavs_of(student, inputs, labels, train, 0.05)
    assert bool(((cavs.norm(dim=1) - 1).abs() < 1e-3).all())
    mine = (labels[None] == torch.arange(len(cavs))[:, None]).double()
    centres = mine @ inputs.double()
    # Length 1 earns nothing where the direction has nothing to do with the classes.
    assert bool((torch.cosine_similarity(cavs, centres, dim=1).abs() > 0.2).all())


@task(
    "fit_cavs",
    weight=2,
    misconception="Your directions are not the normals of linear SVMs with this cost, one for each "
    "class against all others, pointing towards the class. (With an intercept: LinearSVC's default.)",
)
def test_a_cav_is_the_normal_of_one_class_against_the_others(student, rng):
    for cost in (0.002, 0.5):
        while True:
            inputs, labels, train = a_corpus(rng, draw(rng, 3, 5), 20, 3, apart=1.5)
            fits = (inputs[train], labels[train], cost), (inputs, labels, cost)
            both = [exact_cavs(*fit) for fit in fits]
            # Where the intercept hardly matters, the draw would decide what its absence costs.
            without = [exact_cavs(*fit, intercept=0.0) for fit in fits]
            if cost < 0.1 or not any(along(w, e, 0.985) for w in without for e in both):
                break
        cavs = cavs_of(student, inputs, labels, train, cost)
        assert any(along(cavs, expected) for expected in both)


@task(
    "fit_cavs",
    weight=2,
    misconception="Held-out rows change your CAVs: fit on the rows where `train` is True, and on "
    "no others.",
)
def test_held_out_rows_do_not_change_a_cav(student, rng):
    inputs, labels, train = a_corpus(rng, 3, 16, 16, apart=3.0, noise=0.5)
    centres = torch.stack([inputs[train & (labels == c)].double().sum(0) for c in range(3)])
    first = cavs_of(student, inputs, labels, train, 0.05)
    # Held-out rows that say the opposite: whoever fits on them, too, gets other normals.
    for turn in (1, 2):
        other = torch.where(train, labels, (labels + turn) % 3)
        assert along(cavs_of(student, inputs, other, train, 0.05), first, 0.99)
    assert bool((torch.cosine_similarity(first, centres, dim=1).abs() > 0.2).all())


def number(value):
    """A result that is meant as one number."""
    if isinstance(value, torch.Tensor | np.ndarray | np.generic):
        assert value.size == 1 if not isinstance(value, torch.Tensor) else value.numel() == 1
        value = value.item()
    assert isinstance(value, int | float)
    assert not isinstance(value, bool)
    return float(value)


@task(
    "fit_cavs",
    weight=2,
    misconception="The accuracy is the share of held-out rows (train False) whose own class's "
    "classifier has the largest margin of all. Training rows do not count, and neither do the "
    "yes/no answers of single classifiers.",
)
def test_accuracy_is_judged_on_held_out_rows(student, rng):
    # 12 and 20 held-out rows, and shares that half precision cannot hold. Whoever asks for "at
    # least" or "at most" the label counts the wrong rows of one of the two as right.
    for classes, n_wrong, step in ((3, choose(rng, [1, 2, 4], 1)[0], -1), (5, draw(rng, 1, 4), 1)):
        inputs, labels, train = a_corpus(rng, classes, 16, 4, apart=6.0, noise=0.3)
        held_out = (~train).nonzero().flatten().tolist()
        wrong = choose(rng, [i for i in held_out if 0 <= labels[i] + step < classes], n_wrong)
        labels[wrong] += step
        _, accuracy = two(student.fit_cavs(inputs, labels, train, 0.05))
        assert abs(number(accuracy) - (1 - len(wrong) / len(held_out))) < 1e-5


@task(
    "fit_cavs",
    weight=1,
    misconception="The classifiers need their intercepts, in the fit and when margins are "
    "compared: where classes differ in size, a plane through the centre cuts the larger one.",
)
def test_the_intercept_counts(student, rng):
    width, few, many = 6, 6, 54
    axis = torch.nn.functional.normalize(gauss(rng, width), dim=0)
    where = torch.cat([torch.full((many,), -1.0), torch.full((few,), 9.0)]).double()
    n_test = draw(rng, 5, 9)
    where = torch.cat([where, torch.full((n_test,), 2.0), torch.full((4,), 9.0)])
    labels = torch.tensor([0] * many + [1] * few + [0] * n_test + [1] * 4)
    train = torch.arange(len(labels)) < many + few
    inputs = (where[:, None] * axis + 0.02 * gauss(rng, len(labels), width)).float()
    inputs = torch.cat([inputs, (-9 * axis[None] + 0.02 * gauss(rng, 6, width)).float()])
    labels, train = torch.cat([labels, torch.full((6,), 2)]), torch.cat([train, train[:6]])
    _, accuracy = two(student.fit_cavs(inputs, labels, train, 1.0))
    # Of the rows at 2, between the classes at −1 and 9, all are of class 0.
    assert abs(number(accuracy) - 1) < 1e-3


@task(
    "fit_cavs",
    weight=1,
    misconception="With two classes scikit-learn hands back one normal, towards the second class. "
    "There are two CAVs all the same, opposite to each other.",
)
def test_two_classes_have_two_cavs(student, rng):
    inputs, labels, train = a_corpus(rng, 2, 20, 4)
    cavs = cavs_of(student, inputs, labels, train, 0.05)
    assert along(cavs[:1], -cavs[1:], 0.99)
    toward = (2.0 * labels - 1).double() @ inputs.double()
    assert torch.cosine_similarity(cavs[1], toward, dim=0) > 0.2


# --------------------------------------------------------------------------- cav_intervention


@task(
    "cav_intervention",
    weight=2,
    misconception="Every token moves by a vector of length dose * stream_norm along the CAV, the "
    "other way where the dose is negative, whatever the length of the vector that was given.",
)
def test_every_token_moves_by_the_dose(student, rng):
    for sign in (1, -1):
        for length in (1.0, 3.7):
            cav = gauss(rng, 12)
            cav = (length * cav / cav.norm()).float()
            dose, stream_norm = sign * (0.2 + draw(rng, 1, 9) / 10), 5.0 + draw(rng, 1, 20)
            intervention = student.cav_intervention(cav, dose, stream_norm)
            resid = gauss(rng, 2, 5, 12, dtype=torch.float32) * stream_norm
            out = intervention(resid)
            assert isinstance(out, torch.Tensor)
            assert out.shape == resid.shape
            moved = out.double() - resid.double()
            expected = dose * stream_norm * cav.double() / cav.double().norm()
            assert close(moved, expected.expand(2, 5, 12), 1e-3)


@task(
    "cav_intervention",
    weight=1,
    misconception="Your intervention changes the tensor that it was given: return a new one.",
)
def test_the_stream_that_comes_in_is_left_as_it_is(student, rng):
    cav, resid = gauss(rng, 8, dtype=torch.float32), gauss(rng, 2, 4, 8, dtype=torch.float32)
    intervention = student.cav_intervention(cav, 0.5, 6.0)
    out, (after, *_) = intervention.call_keeping(resid)
    assert torch.equal(after, resid)
    assert isinstance(out, torch.Tensor)
    assert out.shape == resid.shape
    assert (out.double() - resid.double()).norm() > 0.1
    assert bool(out.any())


@task(
    "cav_intervention",
    weight=1,
    misconception="The result has another dtype than the stream. Convert what you add to the "
    "stream's dtype.",
)
def test_the_dtype_of_the_stream_is_kept(student, rng):
    cav = gauss(rng, 8, dtype=torch.float32)
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        resid = gauss(rng, 2, 3, 8, dtype=dtype)
        out = student.cav_intervention(cav, 0.5, 4.0)(resid)
        assert isinstance(out, torch.Tensor)
        assert out.dtype == dtype
        assert out.shape == resid.shape
        toward = (out.double() - resid.double()) @ cav.double()
        assert bool((toward > 0).all())


# ------------------------------------------------------------------------------ sensitivities


@cache
def embedded():
    return load_model("tiny")


@cache
def in_float64():
    """The checkpoint as transformers reads it, in double precision."""
    return AutoModelForCausalLM.from_pretrained(str(CHECKPOINT), dtype=torch.float64).eval()


@pytest.fixture
def model():
    """The embedded model, loaded once for all students."""
    return embedded()


@lru_cache(maxsize=2000)  # the inputs are the same for all students
def log_p(ids, targets, layer, push, where):
    """Log-probability that a target comes next, `push` added before block `layer` at `where`."""
    model, hidden = in_float64(), None
    at = torch.zeros(len(ids), 1, dtype=torch.float64)
    at[list(where)] = 1.0

    def add(module, args, kwargs):
        nonlocal hidden
        hidden = args[0] if args else kwargs["hidden_states"]
        moved = hidden + at * torch.tensor(push, dtype=torch.float64)
        return ((moved, *args[1:]), kwargs) if args else ((), {**kwargs, "hidden_states": moved})

    blocks = [*model.transformer.h, model.transformer.ln_f]
    handle = blocks[layer].register_forward_pre_hook(add, with_kwargs=True)
    try:
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0, -1]
    finally:
        handle.remove()
    return float(logits.log_softmax(-1)[list(targets)].logsumexp(0))


def slope(ids, targets, layer, vector, where):
    """The same derivative as a difference quotient."""
    step = 1e-4 * vector / vector.norm()
    ends = [log_p(ids, targets, layer, tuple((s * step).tolist()), where) for s in (1, -1)]
    return (ends[0] - ends[1]) / 2e-4 * float(vector.norm())


def some_texts(rng, n):
    """n openings of different lengths, as token ids with BOS."""
    model = embedded()
    words = [s.split() for s in sentences("neutral", 12, seed=draw(rng, 0, 10**6))]
    texts = [" ".join(w[: 3 + 2 * i]) for i, w in enumerate(choose(rng, words, n))]
    return [tuple(model.to_tokens(text)[0].tolist()) for text in texts]


def left_padded(rows):
    tokens = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.int64)
    mask = torch.zeros_like(tokens)
    for i, row in enumerate(rows):
        tokens[i, -len(row) :], mask[i, -len(row) :] = torch.tensor(row), 1
    return tokens, mask


def some_targets(rng, model, n):
    return torch.tensor(sorted(choose(rng, range(1, model.cfg.d_vocab), n)))


def is_slope(value, rows, targets, layer, vectors, *, firsts=(1,), tolerance=2e-3):
    """Whether value is [text, vector] of derivatives; first=0: position 0 counted as well."""
    if not isinstance(value, torch.Tensor) or value.shape != (len(rows), len(vectors)):
        return False
    if value.dtype not in (torch.float32, torch.float64):
        return False
    ids = tuple(targets.tolist())
    return any(
        close(
            value,
            torch.tensor(
                [
                    [
                        slope(text, ids, layer, v.double(), tuple(range(first, len(text))))
                        for v in vectors
                    ]
                    for text in rows
                ]
            ),
            tolerance,
        )
        for first in firsts
    )


def pre(layer):
    return f"blocks.{layer}.hook_resid_pre"


@task(
    "sensitivities",
    weight=2,
    misconception="For one text and one target: take the log-probability (not the logit) of the "
    "target at the last position, its gradient towards the stream at every position, sum the "
    "gradients, and multiply with the vectors as they are.",
)
def test_the_derivative_of_the_log_probability(student, model, rng):
    for row in some_texts(rng, 2):
        layer, targets = draw(rng, 1, -1 + model.cfg.n_layers), some_targets(rng, model, 1)
        vectors = 2 * gauss(rng, 2, model.cfg.d_model, dtype=torch.float32)
        tokens, mask = left_padded([row])
        value = student.sensitivities(student.model, tokens, mask, pre(layer), targets, vectors)
        assert is_slope(value, [row], targets, layer, vectors, firsts=(1, 0))


@task(
    "sensitivities",
    weight=1,
    misconception="Position 0 is in the sum. It is the attention sink and never steered: leave "
    "its gradient out.",
)
def test_position_0_is_left_out(student, model, rng):
    layer, targets = draw(rng, 1, -1 + model.cfg.n_layers), some_targets(rng, model, 1)
    width = model.cfg.d_model
    vectors = gauss(rng, 1, width, dtype=torch.float32)
    for row in some_texts(rng, 3):
        ids, v = tuple(targets.tolist()), vectors[0].double()
        without = slope(row, ids, layer, v, tuple(range(1, len(row))))
        including = slope(row, ids, layer, v, tuple(range(len(row))))
        if abs(including - without) < 0.02 * abs(without):
            continue  # a text in which it hardly matters tells nothing
        tokens, mask = left_padded([row])
        value = student.sensitivities(student.model, tokens, mask, pre(layer), targets, vectors)
        assert is_slope(value, [row], targets, layer, vectors)
        return
    row = some_texts(rng, 1)[0]
    tokens, mask = left_padded([row])
    value = student.sensitivities(student.model, tokens, mask, pre(layer), targets, vectors)
    assert is_slope(value, [row], targets, layer, vectors)


@task(
    "sensitivities",
    weight=1,
    misconception="In a left-padded batch some rows are off: hand the attention mask to the model, "
    "and find position 0 of each text by its mask.",
)
def test_texts_of_a_padded_batch_keep_their_own_derivatives(student, model, rng):
    rows, layer = some_texts(rng, 3), draw(rng, 1, -1 + model.cfg.n_layers)
    targets = some_targets(rng, model, 1)
    vectors = gauss(rng, 2, model.cfg.d_model, dtype=torch.float32)
    tokens, mask = left_padded(rows)
    value = student.sensitivities(student.model, tokens, mask, pre(layer), targets, vectors)
    # Counting the first column of the tensor, too, is counting position 0 of the longest text.
    assert is_slope(value, rows, targets, layer, vectors, firsts=(1, 0))


@task(
    "sensitivities",
    weight=1,
    misconception="Several targets are one event: add their probabilities, then take the logarithm "
    "(logsumexp of log-probabilities, in single precision), not the mean or the sum of their "
    "logarithms.",
)
def test_several_targets_are_one_event(student, model, rng):
    layer = draw(rng, 1, -1 + model.cfg.n_layers)
    targets = some_targets(rng, model, draw(rng, 4, 9))
    # Unlikely targets, whose logarithms half precision gets wrong; many vectors, so that the answer
    # is not small by accident; and two texts, as now and then its errors cancel in one.
    vectors = gauss(rng, 8, model.cfg.d_model, dtype=torch.float32)
    for row in some_texts(rng, 2):
        tokens, mask = left_padded([row])
        value = student.sensitivities(student.model, tokens, mask, pre(layer), targets, vectors)
        assert is_slope(value, [row], targets, layer, vectors, firsts=(1, 0), tolerance=TOLERANCE)


@task(
    "sensitivities",
    weight=1,
    misconception="The gradient is taken at another place than `hook_name`: hook_resid_post of "
    "block l is what leaves it, not what enters it.",
)
def test_the_gradient_is_taken_at_the_hook_point(student, model, rng):
    [row] = some_texts(rng, 1)
    targets = some_targets(rng, model, 1)
    vectors = gauss(rng, 2, model.cfg.d_model, dtype=torch.float32)
    tokens, mask = left_padded([row])
    last = -1 + model.cfg.n_layers
    for layer in (0, last - 1):
        name = f"blocks.{layer}.hook_resid_post"
        value = student.sensitivities(student.model, tokens, mask, name, targets, vectors)
        assert is_slope(value, [row], targets, layer + 1, vectors, firsts=(1, 0))


# -------------------------------------------------------------------------------- random_cavs


def a_concept(rng, n=40, width=16, rank=7):
    """Inputs that fill 7 of 16 dimensions, and a concept that they split on clearly."""
    basis = torch.linalg.qr(gauss(rng, width, width)).Q[:rank]
    is_concept = torch.zeros(n, dtype=torch.bool)
    is_concept[choose(rng, range(n), n // 2)] = True
    codes = gauss(rng, n, rank)
    codes[:, 0] = torch.where(is_concept, 4.0, -4.0).double() + 0.3 * codes[:, 0]
    inputs = codes @ basis
    return (inputs - inputs.mean(0)).float(), is_concept, basis


def random_ones(student, inputs, is_concept, n, seed, cost=0.05):
    value = student.random_cavs(inputs, is_concept, n, seed, cost)
    assert isinstance(value, torch.Tensor)
    assert value.shape == (n, inputs.shape[1])
    assert bool(value.isfinite().all())
    assert bool((value.norm(dim=1) > 1e-9).all())
    assert value.dtype in (torch.float32, torch.float64)
    return value.double()


@task(
    "random_cavs",
    weight=1,
    misconception="n different vectors of length 1 are asked for, the same ones for the same seed: "
    "shuffle anew for every CAV.",
)
def test_every_random_cav_comes_from_a_shuffle_of_its_own(student, rng):
    inputs, is_concept, _ = a_concept(rng)
    seed = draw(rng, 0, 10**6)
    drawn = random_ones(student, inputs, is_concept, 6, seed)
    assert bool(((drawn.norm(dim=1) - 1).abs() < 1e-3).all())
    cosines = (drawn @ drawn.T).fill_diagonal_(0)
    assert cosines.abs().max() < 0.99
    assert close(random_ones(student, inputs, is_concept, 6, seed), drawn, 1e-2)
    other = random_ones(student, inputs, is_concept, 6, seed + 1)
    assert (torch.cosine_similarity(other, drawn, dim=1) < 0.99).any()


@task(
    "random_cavs",
    weight=2,
    misconception="Your random CAVs know the true labels: they point along the concept. Shuffle "
    "the labels alone, so that a text keeps its residual and loses its label.",
)
def test_the_true_labels_have_no_say(student, rng):
    inputs, is_concept, basis = a_concept(rng)
    drawn = random_ones(student, inputs, is_concept, 40, draw(rng, 0, 10**6))
    toward = torch.cosine_similarity(drawn, basis[:1], dim=1)
    # Each way about as often: for 40 fair coins, 6 or fewer of one side come once in a million.
    assert 6 < int((toward > 0).sum()) < 34
    assert float((drawn[0] - drawn).norm(dim=1).max()) > 0.05


@task(
    "random_cavs",
    weight=2,
    misconception="A random CAV is the normal of an SVM with this cost, fitted to the same texts "
    "under shuffled labels: no noise, and as many texts are called the concept as there are.",
)
def test_a_random_cav_is_fitted_to_as_many_texts(student, rng):
    inputs, _, _ = a_concept(rng, n=10)
    only = torch.zeros(10, dtype=torch.bool)
    only[draw(rng, 0, 9)] = True
    for cost in (0.05, 2.0):
        drawn = random_ones(student, inputs, only, 8, draw(rng, 0, 10**6), cost)
        # Of a concept with one text there are ten shuffles.
        every = torch.stack(
            [exact_svm(inputs, (torch.arange(10) == i).numpy(), cost)[0] for i in range(10)]
        )
        found = torch.cosine_similarity(drawn[:, None], every[None], dim=2)
        assert bool((found.max(dim=1).values > SAME_NORMAL).all())


# ---------------------------------------------------------------------------------- tcav_test


def some_derivatives(rng, n_concepts, n_random, n_texts=32):
    """Derivatives [text, vector] with many shares of positive ones, some of them extreme."""

    def columns(n):
        share = torch.rand(n, generator=rng, dtype=torch.float64)
        share = torch.where(share < 0.3, 0.02, share)
        size = gauss(rng, n_texts, n).abs() + 0.1
        # A few huge ones the other way, so that the mean says something else than the share.
        size[:3] *= 40
        positive = torch.rand(n_texts, n, generator=rng, dtype=torch.float64) < share
        derivatives = torch.where(positive, size, -size)
        # Some texts have no derivative at all, which is not a positive one.
        derivatives[3:8] *= torch.rand(1, n, generator=rng, dtype=torch.float64) < 0.5
        return derivatives.float()

    return columns(n_concepts), columns(n_random)


def shares(derivatives):
    return (derivatives.double().numpy() > 0).sum(0) / len(derivatives)


def ranked(derivatives, chance, *, tests=1):
    """Two-sided rank p-values around one half, times the number of tests, at most 1."""
    far = [abs(2 * int((column > 0).sum()) - len(column)) for column in chance.T]
    p = []
    for column in derivatives.T:
        mine = abs(2 * int((column > 0).sum()) - len(column))
        p.append(min(1.0, tests * (1 + sum(f >= mine for f in far)) / (1 + len(far))))
    return torch.tensor(p, dtype=torch.float64)


@task(
    "tcav_test",
    weight=1,
    misconception="The TCAV score is the share of texts whose derivative is positive; how large "
    "the derivatives are makes no difference.",
)
def test_a_score_is_a_share_of_texts(student, rng):
    concepts, chance = some_derivatives(rng, 5, 60)
    scores, _ = two(student.tcav_test(concepts, chance))
    expected = torch.from_numpy(shares(concepts))
    assert isinstance(scores, torch.Tensor)
    assert scores.shape == expected.shape
    assert bool(((scores.double() - expected).abs() < 1e-4).all())


@task(
    "tcav_test",
    weight=2,
    misconception="The p-value is (1 + random CAVs whose score lies at least as far from one half "
    "as the concept's) / (1 + random CAVs), on both sides of one half.",
)
def test_p_counts_random_cavs_on_both_sides(student, rng):
    _, chance = some_derivatives(rng, 1, draw(rng, 50, 90))
    for _ in range(4):
        concept, _ = some_derivatives(rng, 1, 1)
        for derivatives in (concept, -concept):
            chance[:, :1] = derivatives  # one that lies exactly as far from one half
            _, p = two(student.tcav_test(derivatives, chance))
            assert isinstance(p, torch.Tensor)
            assert p.shape == (1,)
            assert bool(((p.double() - ranked(derivatives, chance)).abs() < 1e-4).all())


@task(
    "tcav_test",
    weight=1,
    misconception="Of several concepts tested at once, each p-value is multiplied by their number, "
    "and is 1 where that exceeds 1.",
)
def test_p_is_corrected_over_the_concepts(student, rng):
    for n_concepts in (3, draw(rng, 6, 9)):
        concepts, chance = some_derivatives(rng, n_concepts, 120)
        # One concept that no random CAV equals, and one that is as even as can be.
        even = torch.tensor([1.0, -1.0]).repeat(len(concepts) // 2)
        concepts[:, 0] = concepts[:, 0].abs() + 0.1
        concepts[:, 1] = (concepts[:, 1].abs() + 0.1) * even
        chance[:2] = chance[:2].abs() * even[:2, None]
        # Where the counts of positive texts are odd for one and even for the other, none lies
        # exactly as far from one half: whether that counts is another test's.
        for derivatives, odd in ((concepts[:, 2:], 1), (chance, 0)):
            wrong = (derivatives > 0).sum(0) % 2 != odd
            derivatives[-1] = torch.where(wrong, -derivatives[-1], derivatives[-1])
        _, p = two(student.tcav_test(concepts, chance))
        expected = ranked(concepts, chance, tests=n_concepts)
        assert isinstance(p, torch.Tensor)
        assert p.shape == expected.shape
        assert bool(((p.double() - expected).abs() < 1e-4).all())


@task(
    "tcav_test",
    weight=1,
    misconception="Fewer than 50 random CAVs say too little: raise a ValueError. Fifty are enough.",
)
def test_fewer_than_50_random_cavs_are_refused(student, rng):
    concepts, chance = some_derivatives(rng, 2, 50)
    scores, p = two(student.tcav_test(concepts, chance))
    assert isinstance(scores, torch.Tensor)
    assert isinstance(p, torch.Tensor)
    assert scores.shape == p.shape == (2,)
    for n in (49, draw(rng, 5, 30)):
        with pytest.raises(StudentError) as refusal:
            student.tcav_test(concepts, chance[:, :n])
        assert refusal.value.type_name == "ValueError"
