"""The checks of 03 pass a right function and tell each misconception from the others."""

from __future__ import annotations

import pytest
import torch
from steerlab import checks

# Right functions, written as a student might. They live here and not beside the checks, which
# students can read.


def right_encode(x, sae):
    z = x @ sae["W_enc"] + sae["b_enc"]
    return torch.where(z > sae["threshold"], z, torch.zeros(()))


def right_error(x, features, sae):
    return x - features @ sae["W_dec"] - sae["b_dec"]


def right_decode(features, error, sae, values):
    code = features.clone()
    for i, value in values.items():
        code[..., i] = value
    return code @ sae["W_dec"] + sae["b_dec"] + error


def right_step(x, sae, values, *, decoder="W_dec", encode=right_encode):
    keys = list(values)
    few = {"W_enc": sae["W_enc"][:, keys]}
    few |= {name: sae[name][keys] for name in ("b_enc", "threshold")}
    now = encode(x, few)
    rows = sae["W_dec"][keys] if decoder == "W_dec" else few["W_enc"].T
    return (torch.tensor([values[i] for i in keys]) - now) @ rows


def areas(scores, labels, tie=0.5):
    gaps = scores[labels][:, None] - scores[~labels][None]
    return ((gaps > 0).float() + tie * (gaps == 0).float()).mean((0, 1))


def right_find(a, la, b, lb, tie=0.5):
    best = int(areas(a, la, tie).argmax())
    return best, float(areas(b, lb, tie)[best])


def right_reference(activations):
    on = activations[activations > 0]
    return float(on.quantile(0.999)) if len(on) else 0.0


def right_intervention(step, read):
    def intervention(resid):
        x_in, scale = read(resid.float())
        return resid + (scale * step(x_in)).to(resid)

    return intervention


RIGHT = {
    checks.check_jumprelu_encode: right_encode,
    checks.check_error_term: right_error,
    checks.check_clamp_and_decode: right_decode,
    checks.check_clamp_step: right_step,
    checks.check_find_feature: right_find,
    checks.check_clamp_reference: right_reference,
    checks.check_make_intervention: right_intervention,
}


@pytest.mark.parametrize("check", RIGHT, ids=lambda check: check.__name__)
def test_a_right_function_passes_and_is_told_what_was_looked_at(check, capsys):
    check(RIGHT[check])
    assert capsys.readouterr().out.startswith("✓ ")


@pytest.mark.parametrize("check", RIGHT, ids=lambda check: check.__name__)
def test_an_unwritten_function_is_no_failure(check, capsys):
    def unwritten(*args, **kwargs):
        raise NotImplementedError("your code here")

    check(unwritten)
    assert "is not written yet" in capsys.readouterr().out


@pytest.mark.parametrize("check", RIGHT, ids=lambda check: check.__name__)
def test_nothing_at_all_is_a_failure(check):
    with pytest.raises(checks.CheckFailed):
        check(lambda *args, **kwargs: None)


@pytest.mark.parametrize(
    ("check", "zeros"),
    [
        (checks.check_jumprelu_encode, lambda x, sae: torch.zeros(*x.shape[:-1], 4)),
        (checks.check_error_term, lambda x, f, sae: torch.zeros_like(x)),
        (checks.check_clamp_and_decode, lambda f, e, sae, v: torch.zeros_like(e)),
        (checks.check_clamp_step, lambda x, sae, v: torch.zeros_like(x)),
        (checks.check_find_feature, lambda *args: (0, 0.0)),
        (checks.check_clamp_reference, lambda a: 0.0),
        (checks.check_make_intervention, lambda step, read: torch.zeros_like),
    ],
)
def test_zeros_are_a_failure(check, zeros):
    with pytest.raises(checks.CheckFailed):
        check(zeros)


@pytest.mark.parametrize(
    ("wrong", "diagnosis"),
    [
        (lambda x, s: torch.relu(x @ s["W_enc"] + s["b_enc"] - s["threshold"]), "full value"),
        (lambda x, s: torch.relu(x @ s["W_enc"] + s["b_enc"]), "threshold used at all"),
        (lambda x, s: right_encode(x, s | {"b_enc": 0.0}), "b_enc is left out"),
        (lambda x, s: x @ s["W_enc"] + s["b_enc"], "negative"),
        (lambda x, s: right_encode(x, s)[..., :3], "shape"),
    ],
)
def test_jumprelu_encode_is_diagnosed(wrong, diagnosis):
    with pytest.raises(checks.CheckFailed, match=diagnosis):
        checks.check_jumprelu_encode(wrong)


@pytest.mark.parametrize(
    ("wrong", "diagnosis"),
    [
        (lambda x, f, s: -right_error(x, f, s), "other way round"),
        (lambda x, f, s: x - f @ s["W_dec"], "b_dec is missing"),
        (lambda x, f, s: x - right_error(x, f, s), "return the reconstruction"),
    ],
)
def test_error_term_is_diagnosed(wrong, diagnosis):
    with pytest.raises(checks.CheckFailed, match=diagnosis):
        checks.check_error_term(wrong)


def added(features, error, sae, values):
    code = features.clone()
    for i, value in values.items():
        code[..., i] += value
    return right_decode(code, error, sae, {})


def larger(features, error, sae, values):
    code = features.clone()
    for i, value in values.items():
        code[..., i] = code[..., i].clamp(min=value)
    return right_decode(code, error, sae, {})


def last_only(features, error, sae, values):
    for i, value in values.items():
        out = right_decode(features, error, sae, {i: value})
    return out


def in_place(features, error, sae, values):
    for i, value in values.items():
        features[..., i] = value
    return right_decode(features, error, sae, {})


@pytest.mark.parametrize(
    ("wrong", "diagnosis"),
    [
        (lambda f, e, s, v: right_decode(f, e, s, v) - e, "error is left out"),
        (added, "you add to it"),
        (larger, "bring it \\*down\\*"),
        (last_only, "only the last one"),
        (in_place, "writes into"),
        (lambda f, e, s, v: right_decode(f, e, s, v) - s["b_dec"], "bias is missing"),
    ],
)
def test_clamp_and_decode_is_diagnosed(wrong, diagnosis):
    with pytest.raises(checks.CheckFailed, match=diagnosis):
        checks.check_clamp_and_decode(wrong)


def subtracting(x, sae):
    return torch.relu(x @ sae["W_enc"] + sae["b_enc"] - sae["threshold"])


def plain_relu(x, sae):
    return torch.relu(x @ sae["W_enc"] + sae["b_enc"])


def whole(x, sae, values):
    code = right_encode(x, sae)
    return sum((value - code[..., i])[..., None] * sae["W_dec"][i] for i, value in values.items())


def decoding_all(x, sae, values):
    step = torch.zeros(len(sae["W_dec"]))
    for i, value in values.items():
        step[i] = value
    few = right_step(x, sae, dict.fromkeys(values, 0.0))
    return few + step @ sae["W_dec"]


def misplaced(x, sae, values):
    return right_step(x, sae, dict(zip(sorted(values), values.values(), strict=True)))


@pytest.mark.parametrize(
    ("wrong", "diagnosis"),
    [
        (lambda x, s, v: right_step(x, s, v, encode=lambda x, s: 0.0 * plain_relu(x, s)), "diff"),
        (lambda x, s, v: x + right_step(x, s, v), "step alone"),
        (lambda x, s, v: -right_step(x, s, v), "wrong way"),
        (lambda x, s, v: right_step(x, s, v, decoder="W_enc"), "encoder"),
        (lambda x, s, v: right_step(x, s, v, encode=subtracting), "full activation"),
        (lambda x, s, v: right_step(x, s, v, encode=plain_relu), "off there"),
        (misplaced, "sum of both"),
        (whole, "d_sae"),
        (decoding_all, "not clamped"),
    ],
)
def test_clamp_step_is_diagnosed(wrong, diagnosis):
    with pytest.raises(checks.CheckFailed, match=diagnosis):
        checks.check_clamp_step(wrong)


def judged_where_chosen(a, la, b, lb):
    best = int(areas(a, la).argmax())
    return best, float(areas(a, la)[best])


@pytest.mark.parametrize(
    ("wrong", "diagnosis"),
    [
        (judged_where_chosen, "half that chose"),
        (lambda a, la, b, lb: right_find(b, lb, b, lb), "had a say"),
        (lambda a, la, b, lb: (int(areas(a, la).argmin()), 0.5), "low"),
        (lambda a, la, b, lb: (0, float(areas(b, lb, 1.0)[0])), "ties as wins"),
        (lambda a, la, b, lb: right_find(a, la, b, lb, 0.0), "ties as losses"),
        (lambda a, la, b, lb: 0, "two things"),
    ],
)
def test_find_feature_is_diagnosed(wrong, diagnosis):
    with pytest.raises(checks.CheckFailed, match=diagnosis):
        checks.check_find_feature(wrong)


@pytest.mark.parametrize(
    ("wrong", "diagnosis"),
    [
        (lambda a: float(a.max()), "maximum"),
        (lambda a: float(a.quantile(0.999)), "silent ones"),
        (lambda a: float(a[a > 0].quantile(0.99)), "1999"),
        (lambda a: float(a[a > 0].quantile(0.999)) if (a > 0).any() else None, "never fires"),
    ],
)
def test_clamp_reference_is_diagnosed(wrong, diagnosis):
    with pytest.raises(checks.CheckFailed, match=diagnosis):
        checks.check_clamp_reference(wrong)


def intervention_that(change):
    return lambda step, read: lambda resid: change(resid, step, read)


def writing(resid, step, read):
    x_in, scale = read(resid.float().clone())
    resid += (scale * step(x_in)).to(resid)
    return resid


@pytest.mark.parametrize(
    ("wrong", "diagnosis"),
    [
        (intervention_that(lambda r, s, g: r + s(g(r.float())[0]).to(r)), "divided by `scale`"),
        (
            intervention_that(lambda r, s, g: r + (s(g(r.float())[0]) / g(r.float())[1]).to(r)),
            "divide the step",
        ),
        (
            intervention_that(lambda r, s, g: r + (g(r.float())[1] * s(r.float())).to(r)),
            "given the stream itself",
        ),
        (intervention_that(writing), "changes the stream"),
        (intervention_that(lambda r, s, g: r.float() + g(r.float())[1] * s(g(r.float())[0])), "16"),
        (
            intervention_that(lambda r, s, g: r + (g(r)[1] * s(g(r)[0])).to(r)),
            "round once",
        ),
        (
            intervention_that(lambda r, s, g: g(r.float())[0] + g(r.float())[1] * s(g(r)[0])),
            "added to x_in",
        ),
        (lambda step, read: torch.zeros(2), "return a \\*function\\*"),
    ],
)
def test_make_intervention_is_diagnosed(wrong, diagnosis):
    with pytest.raises(checks.CheckFailed, match=diagnosis):
        checks.check_make_intervention(wrong)
