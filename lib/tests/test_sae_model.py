"""The autoencoder and the clamp: what they compute, under every way of reading the input."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from steerlab.sae import SAE, ClampFeatures
from steerlab.steering import dose_of, generate, steer

D_IN, D_SAE = 16, 48
PRE = "blocks.1.hook_resid_pre"
READINGS = [
    {},
    {"centred": True},
    {"normalisation": "layer_norm"},
    {"normalisation": "constant_norm_rescale"},
    {"apply_b_dec_to_input": False},
    {"normalisation": "layer_norm", "apply_b_dec_to_input": False},
]
ACTIVATIONS = ["relu", "topk", "jumprelu"]


def make_sae(activation="relu", seed=0, d_in=D_IN, d_sae=D_SAE, dtype=torch.float32, **options):
    g = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.randn(*shape, generator=g, dtype=torch.float64).to(dtype)  # noqa: E731
    options |= {"k": 5} if activation == "topk" else {}
    if activation == "jumprelu":
        options["threshold"] = draw(d_sae).abs()
    return SAE(
        draw(d_in, d_sae) / d_in**0.5, 0.1 * draw(d_sae), draw(d_sae, d_in), draw(d_in),
        activation=activation, **options,
    )  # fmt: skip


def residuals(seed=1, shape=(2, 5), d_in=D_IN):
    return torch.randn(*shape, d_in, generator=torch.Generator().manual_seed(seed)) * 2 + 0.5


def textbook_clamp(sae, x, values):
    code = sae.encode(x)
    error = x - sae.decode(code, x)
    changed = code.clone()
    for feature, value in values.items():
        changed[..., feature] = value
    return sae.decode(changed, x) + error


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("reading", READINGS, ids=str)
@given(
    seed=st.integers(0, 10_000),
    values=st.dictionaries(st.integers(0, D_SAE - 1), st.floats(-5, 20), min_size=1, max_size=4),
)
@settings(max_examples=15, deadline=None)
def test_the_clamp_is_encode_clamp_decode_and_add_the_error(activation, reading, seed, values):
    sae = make_sae(activation, seed, **reading)
    x = residuals(seed + 1)
    expected = textbook_clamp(sae, x, values)
    torch.testing.assert_close(ClampFeatures(sae, values)(x), expected, atol=2e-4, rtol=2e-4)


@pytest.mark.parametrize("activation", ACTIVATIONS)
@given(seed=st.integers(0, 10_000), value=st.floats(0, 20))
@settings(max_examples=15, deadline=None)
def test_in_half_precision_the_clamp_is_off_by_no_more_than_rounding(activation, seed, value):
    sae = make_sae(activation, seed)
    x = residuals(seed + 1).half()
    exact = textbook_clamp(sae, x.float(), {3: value})
    got = ClampFeatures(sae, {3: value})(x)
    assert got.dtype == torch.float16
    step = (exact - x.float()).abs()
    # The sum is rounded once, and so is the step: two half units in the last place.
    bound = 2**-10 * (exact.abs() + step + x.float().abs()) + 1e-4
    assert ((got.float() - exact).abs() <= bound).all()


@pytest.mark.parametrize("activation", ["relu", "jumprelu"])
def test_only_the_clamped_rows_of_the_encoder_are_computed(activation, monkeypatch):
    sae = make_sae(activation)
    monkeypatch.setattr(
        SAE, "pre_activations", lambda *_: pytest.fail("the whole code was computed")
    )
    ClampFeatures(sae, {1: 2.0, 7: 0.0})(residuals())


def test_a_clamped_feature_has_its_value_and_orthogonal_others_keep_theirs():
    eye = torch.eye(4)
    sae = SAE(eye, torch.zeros(4), eye, torch.zeros(4))
    x = torch.tensor([[[1.0, 2.0, 0.0, 3.0]]])
    assert sae.encode(ClampFeatures(sae, {1: 7.0})(x)).tolist() == [[[1, 7, 0, 3]]]
    # A value below the present one lowers it: clamping is not max(f, α).
    assert sae.encode(ClampFeatures(sae, {1: 0.5, 3: 0.0})(x)).tolist() == [[[1, 0.5, 0, 0]]]


def test_the_clamp_leaves_its_input_alone():
    sae, x = make_sae(), residuals()
    before = x.clone()
    ClampFeatures(sae, {0: 3.0})(x)
    assert torch.equal(x, before)


def test_a_clamp_steers_the_same_with_and_without_a_cache(model):
    sae = make_sae("topk", d_in=32, d_sae=64).like(hook_name=PRE)
    clamp = ClampFeatures(sae, {5: 30.0})
    prompts = ["The movie", "She walked through the garden"]
    with steer(model, {clamp.hook_name: clamp}):
        cached = generate(model, prompts, max_new_tokens=6)
        plain = generate(model, prompts, max_new_tokens=6, use_cache=False)
    assert [c.tokens for c in cached] == [c.tokens for c in plain]
    assert dose_of(model, {PRE: clamp}, prompts) > 0


def test_jumprelu_keeps_what_exceeds_its_threshold_as_it_is():
    eye = torch.eye(3)
    sae = SAE(
        eye, torch.zeros(3), eye, torch.zeros(3), activation="jumprelu", threshold=torch.ones(3)
    )
    assert sae.encode(torch.tensor([[0.5, 1.0, 1.5]])).tolist() == [[0, 0, 1.5]]


def test_topk_keeps_the_largest_and_never_a_negative_one():
    eye = torch.eye(4)
    sae = SAE(eye, torch.zeros(4), eye, torch.zeros(4), activation="topk", k=2)
    assert sae.encode(torch.tensor([[3.0, 1.0, 2.0, -1.0]])).tolist() == [[3, 0, 2, 0]]
    assert sae.encode(torch.tensor([[-3.0, -1.0, 2.0, -2.0]])).tolist() == [[0, 0, 2, 0]]


@pytest.mark.parametrize("activation", ACTIVATIONS)
@given(seed=st.integers(0, 1000), factor=st.floats(0.05, 20))
@settings(max_examples=15, deadline=None)
def test_folding_the_input_scale_changes_neither_code_nor_reconstruction(activation, seed, factor):
    sae, x = make_sae(activation, seed, dtype=torch.float64), residuals(seed).double()
    folded = sae.scaled(factor)
    torch.testing.assert_close(folded.encode(x), sae.encode(factor * x), atol=1e-8, rtol=1e-8)
    torch.testing.assert_close(folded(x), sae(factor * x) / factor, atol=1e-8, rtol=1e-8)


def test_a_centred_sae_does_not_see_the_mean_over_d_model_and_gives_it_back():
    sae, x = make_sae(centred=True), residuals()
    torch.testing.assert_close(sae.encode(x + 3), sae.encode(x), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(sae(x + 3), sae(x) + 3, atol=1e-4, rtol=1e-4)


def test_bad_input_is_explained():
    sae = make_sae()
    with pytest.raises(ValueError, match=r"x has 9 entries a token, but this SAE reads 16"):
        sae.encode(torch.zeros(2, 9))
    with pytest.raises(ValueError, match="holds NaN"):
        sae.encode(torch.full((2, D_IN), torch.nan))
    with pytest.raises(ValueError, match=r"feature 48 is out of range.*0 to 47"):
        ClampFeatures(sae, {48: 1.0})
    with pytest.raises(ValueError, match="feature -1 is out of range"):
        ClampFeatures(sae, {-1: 1.0})
    with pytest.raises(ValueError, match=r"values\[3\] is nan"):
        ClampFeatures(sae, {3: float("nan")})
    with pytest.raises(ValueError, match="at least one"):
        ClampFeatures(sae, {})
    with pytest.raises(TypeError, match=r"expected \{feature: activation\}"):
        ClampFeatures(sae, [3])
    with pytest.raises(TypeError, match=r"expected a steerlab\.sae\.SAE"):
        ClampFeatures(torch.zeros(3), {3: 1.0})
    with pytest.raises(ValueError, match="which hook point"):
        _ = ClampFeatures(sae, {3: 1.0}).hook_name
    with pytest.raises(ValueError, match="reads 16"):
        ClampFeatures(sae, {3: 1.0})(torch.zeros(1, 2, 32))
    with pytest.raises(ValueError, match="the x that was encoded"):
        make_sae(normalisation="layer_norm").decode(torch.zeros(1, D_SAE))
    with pytest.raises(ValueError, match="features has 3 entries"):
        sae.decode(torch.zeros(1, 3))


def test_an_sae_whose_parts_do_not_fit_is_refused():
    W, b = torch.zeros(4, 8), torch.zeros(8)
    fits = {"W_enc": W, "b_enc": b, "W_dec": W.T, "b_dec": torch.zeros(4)}
    for changes, message in [
        ({"W_dec": W}, r"W_dec has shape \[4, 8\].*expected \[8, 4\]"),
        ({"b_enc": torch.zeros(4)}, "b_enc has shape"),
        ({"b_dec": torch.full((4,), torch.inf)}, "b_dec holds NaN or infinite"),
        ({"activation": "topk"}, "k belongs to topk"),
        ({"activation": "topk", "k": 9}, "expected 1 to d_sae = 8"),
        ({"k": 3}, "k belongs to topk"),
        ({"activation": "jumprelu"}, "no threshold"),
        ({"activation": "jumprelu", "threshold": -torch.ones(8)}, "negative"),
        ({"activation": "gelu"}, "not 'gelu'"),
        ({"normalisation": "batch"}, "not 'batch'"),
    ]:
        with pytest.raises(ValueError, match=message):
            SAE(**(fits | changes))


def test_a_clamp_s_step_lies_along_the_decoder_row():
    sae = make_sae("relu", d_in=32, d_sae=64).like(hook_name=PRE)
    x = residuals(d_in=32)
    step = ClampFeatures(sae, {2: 4.0})(x) - x
    direction = torch.nn.functional.normalize(sae.W_dec[2], dim=0)
    along = (step @ direction)[..., None] * direction
    torch.testing.assert_close(step, along, atol=1e-4, rtol=1e-4)
