"""The checks of 06_interference pass a right function, wait for an unwritten one, diagnose a wrong one."""

from __future__ import annotations

import ast

import pytest
import torch
from steerlab import checks

# Right functions with switches for what can go wrong. They live here and not beside the checks,
# which students can read.


def right_margin(logits, is_math, is_token, *, rest="others", rows=True, sign=1, odds="event"):
    z = logits.double()
    m = is_math & is_token
    r = {"others": ~is_math, "all": torch.ones_like(is_math)}[rest] & (is_token if rows else True)
    margin = sign * (z[:, m].amax(1) - z[:, r].amax(1))
    if odds == "margin":
        return margin, margin
    if odds == "softmax":
        p = logits.float().softmax(1)
        return margin, p[:, m].sum(1).log() - p[:, r].sum(1).log()
    return margin, z[:, m].logsumexp(1) - z[:, r].logsumexp(1)


def right_features(
    activity, prompt, is_code, chooses, k, *, by="prompt", who=None, minus=True, sign=1
):
    use = chooses if who is None else who(chooses)
    if by == "token":
        means, code = activity[use[prompt]], is_code[prompt][use[prompt]]
    else:
        means = torch.stack([activity[prompt == i].mean(0) for i in range(len(is_code))])[use]
        code = is_code[use]
    a, b = sign * means[code].mean(0), sign * means[~code].mean(0)
    return (
        ((a - b).topk(k).indices, (b - a).topk(k).indices)
        if minus
        else (a.topk(k)[1], b.topk(k)[1])
    )


def right_sweep(measure, direction, draw, n, alphas, norm, *, own=False, loose=False, redraw=False, base=True, dose=True):  # fmt: skip  # noqa: E501
    rows = draw(n)
    u = direction if own else direction / direction.norm()
    zero = measure(0 * direction) if base else 0.0
    length = norm if dose else 1.0
    observed = [measure(a * length * u) - zero for a in alphas]
    columns = []
    for a in alphas:
        rows = draw(n) if redraw else rows
        columns.append([measure(a * length * (v if loose else v / v.norm())) - zero for v in rows])
    return torch.tensor(observed), torch.tensor(columns).T


def right_p(observed, controls, *, both=True, ties=True, itself=1, guard=True):
    if guard and not len(controls):
        raise ValueError
    c, o = (controls.abs(), abs(observed)) if both else (controls, observed)
    return (itself + int((c >= o).sum() if ties else (c > o).sum())) / (itself + len(controls))


def right_interval(values, prompt, level, n, seed, *, rows=False, means=True, size=1.0, fixed=True):
    x = values if rows else torch.stack([values[prompt == i].mean() for i in prompt.unique()])
    g = torch.Generator()
    g = g.manual_seed(seed) if fixed else g.manual_seed(torch.seed() % 2**31)
    drawn = x[
        torch.randint(len(x), (n, max(1, int(size * len(x))) if means else 1), generator=g)
    ].mean(1)
    return drawn.quantile((1 - level) / 2), drawn.quantile((1 + level) / 2)


def right_code(source, *, parse=True, empty=False, names=False, caught=Exception):
    try:
        body = ast.parse(source).body if parse else []
    except caught:
        return False
    if names:
        return bool(body) or empty
    kinds = (ast.Name, ast.Constant)
    return any(not (isinstance(s, ast.Expr) and isinstance(s.value, kinds)) for s in body)


def right_shares(present, valid, *, nothing=None, over="present", mask=True, guard=True):
    if guard and not len(present):
        raise ValueError
    both, n = int((present & valid if mask else valid).sum()), max(1, len(present))
    there = int(present.sum())
    middle = (both / (there if over == "present" else n)) if there else nothing
    return there / n, middle, both / n


RIGHT = {
    "math_margin": right_margin,
    "candidate_features": right_features,
    "sweep": right_sweep,
    "rank_p": right_p,
    "bootstrap_interval": right_interval,
    "valid_code": right_code,
    "validity_shares": right_shares,
}
WRONG = [
    ("math_margin", {"rest": "all"}, "Are math tokens among the rest"),
    ("math_margin", {"sign": -1}, "wrong sign"),
    ("math_margin", {"rows": False}, "a row of the vocabulary that is no token"),
    ("math_margin", {"odds": "margin"}, "should add log 2"),
    ("math_margin", {"odds": "softmax"}, "NaN or infinity|logsumexp never computes it"),
    ("candidate_features", {"by": "token"}, "one long prompt outvoted"),
    ("candidate_features", {"who": torch.ones_like}, "prompts that only judge"),
    ("candidate_features", {"who": torch.logical_not}, "prompts that only judge"),
    ("candidate_features", {"minus": False}, "on everywhere"),
    ("candidate_features", {"sign": -1}, "wrong way round"),
    ("sweep", {"own": True}, "at its own length"),
    ("sweep", {"loose": True}, "longer or shorter"),
    ("sweep", {"redraw": True}, "Draw all n once"),
    ("sweep", {"base": False}, "at strength 0 the effect is not 0"),
    ("sweep", {"dose": False}, "stream_norm plays no part"),
    ("rank_p", {"both": False}, "Compare absolute values"),
    ("rank_p", {"ties": False}, "exactly as large"),
    ("rank_p", {"itself": 0}, "p is 0 where no control reaches"),
    ("rank_p", {"guard": False}, "raise a ValueError"),
    ("bootstrap_interval", {"rows": True}, "Average the rows of a prompt first"),
    ("bootstrap_interval", {"means": False}, "resampled \\*means\\*"),
    ("bootstrap_interval", {"size": 0.5}, "as many prompts"),
    ("bootstrap_interval", {"fixed": False}, "the same seed"),
    ("valid_code", {"parse": False}, "is valid code"),
    ("valid_code", {"names": True, "empty": True}, "an empty block"),
    ("valid_code", {"names": True}, "a bare name counts"),
    ("valid_code", {"caught": KeyError}, "raises SyntaxError"),
    ("validity_shares", {"nothing": 0.0}, "missing: None"),
    ("validity_shares", {"over": "all"}, "share of the texts \\*with\\* a block"),
    ("validity_shares", {"mask": False}, "where nothing is present"),
    ("validity_shares", {"guard": False}, "no texts at all"),
]


def check(task, function):
    getattr(checks, f"check_{task}")(function)


@pytest.mark.parametrize("task", RIGHT)
def test_a_right_function_passes(task, capsys):
    check(task, RIGHT[task])
    assert capsys.readouterr().out.startswith(f"✓ {task}: ")


@pytest.mark.parametrize("task", RIGHT)
def test_an_unwritten_function_is_waited_for(task, capsys):
    def unwritten(*arguments):
        raise NotImplementedError

    check(task, unwritten)
    assert "is not written yet" in capsys.readouterr().out


@pytest.mark.parametrize("task", RIGHT)
def test_a_forgotten_return_is_named(task):
    with pytest.raises(checks.CheckFailed, match=r"None|return"):
        check(task, lambda *arguments: None)


@pytest.mark.parametrize(("task", "switches", "said"), WRONG)
def test_each_misconception_has_its_own_diagnosis(task, switches, said):
    def wrong(*arguments):
        return RIGHT[task](*arguments, **switches)

    with pytest.raises(checks.CheckFailed, match=said):
        check(task, wrong)


def test_code_that_is_run_is_noticed():
    def runs(source):
        if source.startswith("open("):
            exec(source)
        return right_code(source)

    with pytest.raises(checks.CheckFailed, match="never run what a model wrote"):
        check("valid_code", runs)
