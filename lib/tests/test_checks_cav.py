"""The checks of 04_cav pass a right function, wait for an unwritten one, diagnose a wrong one."""

from __future__ import annotations

import pytest
import torch
from sklearn.svm import LinearSVC
from steerlab import checks, load_model

# Right functions with switches for what can go wrong. They live here and not beside the checks,
# which students can read.


def right_mean(
    resid, mask, skip, *, bos=True, columns=False, divide="n", drop=True, multiply=False
):
    position = torch.arange(resid.shape[1])[None] if columns else mask.cumsum(1) - 1
    counts = (mask > 0) & (position > (skip if bos else skip - 1))
    n = counts.sum(1, keepdim=True)
    values = resid * counts[..., None] if multiply else resid.masked_fill(~counts[..., None], 0)
    means = values.sum(1) / (resid.shape[1] if divide == "columns" else n)
    kept = n[:, 0] > 0
    return (means[kept] if drop else means), kept


def right_prepare(means, train, *, who=None, power=1, each="all", centre=True):
    rows = means[train] if who is None else means
    x = means - rows.mean(0) * centre
    y = x[train] if who is None else x
    if each == "coordinate":
        return x / y.std(0)
    if each == "row":
        return x / x.norm(dim=1, keepdim=True) * means.shape[1] ** 0.5
    length = y.norm(dim=1).pow(power).mean() ** (1 / power)
    return x * means.shape[1] ** 0.5 / length


def right_cavs(inputs, labels, train, cost, *, fit_on=None, judge=None, sign=1, unit=True):
    fit_on = train if fit_on is None else fit_on(train)
    judge = ~train if judge is None else judge(train)
    normals, margins = [], []
    for c in range(int(labels.max()) + 1):
        svm = LinearSVC(C=cost).fit(inputs[fit_on].numpy(), (labels[fit_on] == c).numpy())
        normals.append(sign * torch.tensor(svm.coef_[0]))
        margins.append(torch.tensor(svm.decision_function(inputs[judge].numpy())))
    cavs = torch.stack(normals)
    right = torch.stack(margins).argmax(0) == labels[judge]
    return (cavs / cavs.norm(dim=1, keepdim=True) if unit else cavs), right.double().mean()


def right_intervention(cav, dose, stream_norm, *, unit=True, norm=True, sign=1, dtype=True):
    push = sign * dose * (stream_norm if norm else 1) * (cav / cav.norm() if unit else cav)
    return lambda resid: resid + (push.to(resid) if dtype else push)


def right_sensitivities(
    model, tokens, mask, name, targets, vectors, *, first=1, logit=False, join="event", columns=False,
    last=False, mean=False, ignore_mask=False,
):  # fmt: skip
    held = []

    def hook_fn(resid, hook):
        held.append(torch.zeros_like(resid).requires_grad_())
        return resid + held[0]

    with model.hooks(fwd_hooks=[(name, hook_fn)]):
        logits = model(tokens, attention_mask=None if ignore_mask else mask)[:, -1]
    if not logit:
        logits = logits.log_softmax(-1)
    chosen = logits[:, targets]
    value = {"event": chosen.logsumexp(-1), "mean": chosen.mean(-1), "sum": chosen.sum(-1)}[join]
    gradient = torch.autograd.grad(value.sum(), held[0])[0]
    position = torch.arange(tokens.shape[1])[None] if columns else mask.cumsum(1) - 1
    counts = (position >= first) & (mask > 0)
    if last:
        return gradient[:, -1] @ vectors.T
    total = (gradient * counts[..., None]).sum(1)
    return (total / counts.sum(1, keepdim=True) if mean else total) @ vectors.T


def right_random(inputs, is_concept, n, seed, cost, *, together=False, again=False, noise=False):
    g = torch.Generator().manual_seed(seed)
    if noise:
        return torch.nn.functional.normalize(torch.randn(n, inputs.shape[1], generator=g), dim=1)
    found = []
    for _ in range(n):
        if again:
            g.manual_seed(seed)
        order = torch.randperm(len(inputs), generator=g)
        x = inputs[order] if together else inputs
        svm = LinearSVC(C=cost, random_state=0).fit(x.numpy(), is_concept[order].numpy())
        found.append(torch.tensor(svm.coef_[0]))
    return torch.nn.functional.normalize(torch.stack(found), dim=1)


def right_test(concepts, chance, *, mean=False, sided=2, tests=None, one=1, strict=False, least=50):
    if chance.shape[1] < least:
        raise ValueError
    scores = concepts.mean(0) if mean else (concepts > 0).float().mean(0)
    drawn = chance.mean(0) if mean else (chance > 0).float().mean(0)
    mine, other = scores - 0.5, drawn - 0.5
    if sided == 2:
        mine, other = mine.abs(), other.abs()
    far = other[None] > mine[:, None] if strict else other[None] >= mine[:, None]
    p = (one + far.sum(1)) / (one + chance.shape[1])
    return scores, (p * (tests or len(scores))).clamp(max=1)


@pytest.fixture(scope="module")
def model():
    return load_model("tiny")


def cases(model):
    return [
        (checks.check_masked_mean, right_mean, ()),
        (checks.check_prepare, right_prepare, ()),
        (checks.check_fit_cavs, right_cavs, ()),
        (checks.check_cav_intervention, right_intervention, ()),
        (checks.check_sensitivities, right_sensitivities, (model,)),
        (checks.check_random_cavs, right_random, ()),
        (checks.check_tcav_test, right_test, ()),
    ]


def test_a_right_function_passes_and_is_told_what_was_looked_at(model, capsys):
    for check, right, further in cases(model):
        check(right, *further)
        assert capsys.readouterr().out.startswith("✓ "), check.__name__


def test_an_unwritten_function_is_no_failure(model, capsys):
    def unwritten(*args, **kwargs):
        raise NotImplementedError("your code here")

    for check, _, further in cases(model):
        check(unwritten, *further)
        assert "is not written yet" in capsys.readouterr().out, check.__name__


def test_nothing_at_all_is_a_failure(model):
    for check, _, further in cases(model):
        with pytest.raises(checks.CheckFailed):
            check(lambda *args, **kwargs: None, *further)


def test_zeros_of_the_right_shape_are_a_failure(model):
    zeros = {
        checks.check_masked_mean: lambda r, m, s: (r[:, 0] * 0, m[:, 0] > 0),
        checks.check_prepare: lambda means, train: means * 0,
        checks.check_fit_cavs: lambda x, y, t, c: (torch.zeros(int(y.max()) + 1, x.shape[1]), 0.0),
        checks.check_cav_intervention: lambda *a: lambda resid: resid * 0,
        checks.check_sensitivities: lambda m, t, a, n, y, v: torch.zeros(len(t), len(v)),
        checks.check_random_cavs: lambda x, y, n, s, c: torch.zeros(n, x.shape[1]),
        checks.check_tcav_test: lambda s, r: (s[0] * 0, s[0] * 0),
    }
    for check, _, further in cases(model):
        with pytest.raises(checks.CheckFailed):
            check(zeros[check], *further)


MEAN = [
    ({"bos": False}, "BOS"),
    ({"columns": True}, "padding on the left"),
    ({"divide": "columns"}, "."),
    ({"drop": False}, "row of NaN"),
    ({"multiply": True}, "NaN under padding"),
]
PREPARE = [
    ({"who": "all"}, "held-out row must have no say"),
    ({"power": 2}, "squared lengths"),
    ({"each": "coordinate"}, "coordinate was divided"),
    ({"each": "row"}, "every row has length"),
    ({"centre": False}, "Do you centre"),
]
CAVS = [
    ({"fit_on": lambda train: train | ~train}, "Fit on the rows where train is True"),
    ({"judge": lambda train: train}, "judged on"),
    ({"sign": -1}, "points away"),
    ({"unit": False}, "each should have 1"),
]
INTERVENTION = [
    ({"norm": False, "unit": False}, "length of the stream"),
    ({"unit": False}, "too long"),
    ({"sign": -1}, "wrong way"),
    ({"dtype": False}, "comes back as torch.float32"),
]
SENSITIVITIES = [
    ({"first": 0}, "position 0"),
    ({"logit": True}, "derivative of the logit"),
    ({"join": "mean"}, "average the logarithms"),
    ({"join": "sum"}, "add the logarithms"),
    ({"last": True}, "only the last position"),
    ({"mean": True}, "average over positions"),
    ({"columns": True}, "padding on the left"),
    ({"ignore_mask": True}, "padding on the left"),
]
RANDOM = [
    ({"together": True}, "shuffled together"),
    ({"again": True}, "all random CAVs are the same"),
    ({"noise": True}, "They are noise"),
]
TEST = [
    ({"mean": True}, "mean of the derivatives"),
    ({"sided": 1}, "two-sided"),
    ({"tests": 1}, "not corrected"),
    ({"one": 0}, r"\(1 \+ count\)"),
    ({"strict": True}, "exactly as far"),
    ({"least": 0}, "fewer than 50"),
]
ALL = (
    (0, MEAN), (1, PREPARE), (2, CAVS), (3, INTERVENTION), (4, SENSITIVITIES), (5, RANDOM), (6, TEST)
)  # fmt: skip


@pytest.mark.parametrize(
    ("which", "change", "diagnosis"),
    [(which, change, text) for which, wrong in ALL for change, text in wrong],
)
def test_each_misconception_has_its_own_diagnosis(model, which, change, diagnosis):
    check, right, further = cases(model)[which]

    def wrong(*args):
        return right(*args, **change)

    with pytest.raises(checks.CheckFailed, match=diagnosis):
        check(wrong, *further)


def test_an_intervention_in_place_is_diagnosed():
    def in_place(cav, dose, stream_norm):
        def add(resid):
            resid += dose * stream_norm * cav / cav.norm()
            return resid

        return add

    with pytest.raises(checks.CheckFailed, match="in place"):
        checks.check_cav_intervention(in_place)


def test_a_function_that_leaves_its_hook_behind_is_told_so(model):
    def leaving(model, tokens, mask, name, targets, vectors):
        model.add_hook(name, lambda resid, hook: resid)
        return right_sensitivities(model, tokens, mask, name, targets, vectors)

    with pytest.raises(checks.CheckFailed, match="still on the model"):
        checks.check_sensitivities(leaving, model)
    model.reset_hooks()
