"""Candidates, token sets, controls and statistics of the interference evaluation."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from steerlab.activations import collect
from steerlab.evaluation import (
    MathTokens,
    bootstrap_over_prompts,
    decoder_rows_like,
    feature_candidates,
    kl_divergence,
    math_margin,
    math_tokens,
    rank_p,
)
from steerlab.evaluation.statistics import slope
from steerlab.sae import SAE

HOOK = "blocks.1.hook_resid_pre"
CODE = ["x = [1, 2]", "def f(x): return x", "import os"]
MATH = ["$$ 1 + 1 = 2 $$", "$$ x^{2} $$", "Hence \\frac{1}{2}"]


def random_sae(d_sae=24, seed=0, d_in=32):
    draw = torch.Generator().manual_seed(seed)
    W_dec = torch.randn(d_sae, d_in, generator=draw)
    return SAE(
        torch.randn(d_in, d_sae, generator=draw), torch.zeros(d_sae), W_dec, torch.zeros(d_in),
        hook_name=HOOK,
    )  # fmt: skip


# ---------------------------------------------------------------- tokens and margins


def test_every_token_is_either_mathematics_or_the_rest(any_model):
    tokens = math_tokens(any_model)
    known = len(any_model.tokenizer)
    assert not (tokens.math & tokens.rest).any()
    assert (tokens.math | tokens.rest)[:known].all()
    assert not (tokens.math | tokens.rest)[known:].any()
    assert {"$", "\\"} <= {text.strip() for text in tokens.texts.values()}
    assert not any(text.strip().isalnum() for text in tokens.texts.values())


def test_the_embedded_models_own_mathematics_opens_with_a_math_token():
    from steerlab import load_model

    tiny = load_model("tiny")
    tokens = math_tokens(tiny)
    for text in ("$$", " $$", " \\", "^{"):
        [token] = tiny.tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokens.math[token], text
    for text in ("```", "python", " =", "{", "3", "\n"):
        [token] = tiny.tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokens.rest[token], text


def test_further_tokens_can_be_named_and_pieces_cannot(model):
    with_plus = math_tokens(model, also=["+"])
    assert int(with_plus.math.sum()) == int(math_tokens(model).math.sum()) + 1
    with pytest.raises(ValueError, match="'theorem' is no single token"):
        math_tokens(model, also=["theorem"])


def test_token_sets_that_overlap_are_refused():
    math_set = torch.tensor([True, True, False])
    with pytest.raises(ValueError, match=r"tokens \[1\] are in both sets"):
        MathTokens(math_set, torch.tensor([False, True, True]))
    with pytest.raises(ValueError, match="is empty"):
        MathTokens(math_set, torch.zeros(3, dtype=torch.bool))


@given(st.lists(st.floats(-20, 20), min_size=6, max_size=6), st.floats(-50, 50))
def test_a_margin_is_a_difference_of_maxima_and_shifts_of_all_logits_cancel(values, shift):
    tokens = MathTokens(torch.arange(6) < 2, (torch.arange(6) >= 2) & (torch.arange(6) < 5))
    margin, log_odds = math_margin(torch.tensor(values), tokens)
    assert float(margin) == pytest.approx(max(values[:2]) - max(values[2:5]), abs=1e-4)
    odds = sum(map(math.exp, values[:2])) / sum(map(math.exp, values[2:5]))
    assert float(log_odds) == pytest.approx(math.log(odds), abs=1e-3)
    shifted = math_margin(torch.tensor(values) + shift, tokens)
    assert float(shifted[0]) == pytest.approx(float(margin), abs=1e-3)
    # The sixth row of the vocabulary belongs to no token.
    changed = torch.tensor(values)
    changed[5] = 99.0
    assert float(math_margin(changed, tokens)[0]) == pytest.approx(float(margin), abs=1e-4)


def test_logits_of_another_model_or_nan_are_refused(model):
    tokens = math_tokens(model)
    with pytest.raises(ValueError, match="different models"):
        math_margin(torch.zeros(2, 5), tokens)
    with pytest.raises(ValueError, match="NaN"):
        math_margin(torch.full((len(tokens.math),), float("nan")), tokens)


def test_kl_is_that_of_the_two_distributions():
    p, q = torch.tensor([0.5, 0.25, 0.25]), torch.tensor([0.25, 0.5, 0.25])
    expected = 0.5 * math.log(2) + 0.25 * math.log(0.5)
    assert float(kl_divergence(p.log() + 3, q.log())) == pytest.approx(expected, abs=1e-6)
    never = torch.tensor([0.0, float("-inf")])
    assert float(kl_divergence(never, torch.tensor([0.0, 0.0]))) == pytest.approx(math.log(2))


# ---------------------------------------------------------------- candidates and controls


def test_candidates_are_ranked_by_mean_activity_difference_of_prompts(model):
    sae = random_sae()
    found = feature_candidates(model, sae, CODE, MATH, top=3)
    read = collect(model, CODE + MATH, HOOK)
    scale = sae.W_dec.norm(dim=1)
    means = []
    for document in range(6):  # one prompt counts once, however long it is
        rows = read.values[HOOK][read.document == document]
        means.append((sae.encode(rows) * scale).mean(0))
    gap = torch.stack(means[:3]).mean(0) - torch.stack(means[3:]).mean(0)
    assert [c.feature for c in found.code] == gap.topk(3).indices.tolist()
    assert [c.feature for c in found.math] == (-gap).topk(3).indices.tolist()
    assert found.code[0].difference == pytest.approx(float(gap.max()), abs=1e-4)
    assert found.selected_on == set(CODE + MATH)


def test_rescaling_a_feature_changes_no_ranking(model):
    sae = random_sae()
    factor = torch.linspace(0.1, 9, sae.d_sae)
    scaled = sae.like(W_enc=sae.W_enc * factor, W_dec=sae.W_dec / factor[:, None])
    one, other = (feature_candidates(model, s, CODE, MATH) for s in (sae, scaled))
    assert [c.feature for c in one.code] == [c.feature for c in other.code]


def test_a_prompt_cannot_be_code_and_mathematics_at_once(model):
    with pytest.raises(ValueError, match="among both code and math"):
        feature_candidates(model, random_sae(), CODE, [CODE[0]])


def test_decoder_row_controls_are_live_fire_as_often_and_are_never_the_feature():
    sae = random_sae(40)
    rates = torch.zeros(40)
    rates[:30] = torch.logspace(-4, -0.5, 30)
    rows, chosen = decoder_rows_like(sae, rates, 5, seed=0, feature=10)
    assert rows.norm(dim=1).numpy() == pytest.approx(1, abs=1e-5)
    assert 10 not in chosen
    assert set(chosen) <= set(range(5, 16))
    everything = decoder_rows_like(sae, rates, 99, seed=0, feature=10)[1]
    assert set(everything) == set(range(30)) - {10}
    with pytest.raises(ValueError, match="no other feature"):
        decoder_rows_like(sae, torch.zeros(40), 5, seed=0)


# ---------------------------------------------------------------- statistics


def test_rank_p_counts_controls_on_both_sides_and_never_reaches_zero():
    assert rank_p(2.0, [0.1] * 99) == 0.01
    assert rank_p(2.0, [-2.0, 1.0, 3.0]) == 0.75
    assert rank_p(-2.0, [-2.0, 1.0, 3.0]) == 0.75
    with pytest.raises(ValueError, match="no controls"):
        rank_p(1.0, [])
    with pytest.raises(ValueError, match="NaN"):
        rank_p(1.0, [float("nan")])


@given(st.floats(-5, 5), st.lists(st.floats(-5, 5), min_size=1, max_size=30))
def test_rank_p_is_a_rank(observed, controls):
    p = rank_p(observed, controls)
    assert 1 / (1 + len(controls)) <= p <= 1
    assert rank_p(-observed, controls) == p


def test_the_bootstrap_resamples_prompts_and_not_their_tokens():
    values = [float(i % 7) for i in range(20)]
    prompts = [f"p{i}" for i in range(20)]
    once = bootstrap_over_prompts(values, prompts)
    # Fifty tokens of each prompt that all say the same are no more evidence than one.
    tokens = bootstrap_over_prompts(values * 50, prompts * 50)
    assert (tokens.low, tokens.high) == pytest.approx((once.low, once.high))
    assert tokens.n_prompts == once.n_prompts == 20
    assert once.low < once.estimate < once.high


def test_a_change_is_taken_within_the_same_prompts():
    base = [float(10 * i) for i in range(30)]
    steered = [value + 1 for value in base]
    prompts = [str(i) for i in range(30)]
    change = bootstrap_over_prompts(steered, prompts, base)
    # The prompts differ by hundreds, the change by nothing.
    assert (change.estimate, change.low, change.high) == pytest.approx((1, 1, 1))


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    draw = torch.Generator().manual_seed(0)
    inside = 0
    for seed in range(200):
        values = torch.randn(40, generator=draw).tolist()
        found = bootstrap_over_prompts(
            values, [str(i) for i in range(40)], seed=seed, resamples=400
        )
        inside += found.low <= 0 <= found.high
    assert 0.88 <= inside / 200 <= 0.99


def test_missing_values_stay_missing():
    found = bootstrap_over_prompts([1.0, None, 0.0], ["a", "b", "c"])
    assert found.estimate == pytest.approx(0.5)
    assert bootstrap_over_prompts([None], ["a"]).estimate is None
    with pytest.raises(ValueError, match="differ in length"):
        bootstrap_over_prompts([1.0], ["a", "b"])


def test_a_slope_sums_up_a_sweep():
    assert slope([-1, 0, 2], [-3.0, 0.0, 6.0]) == pytest.approx(3)
    assert slope([0, 1], [0.0, None]) is None
