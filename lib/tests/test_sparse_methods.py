"""Nine methods answer in one way, and are compared at one dose by a judge that none has seen."""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import replace

import pytest
import torch
from steerlab.activations import collect
from steerlab.data import contrast
from steerlab.data.contrasts import Contrast
from steerlab.directions import mean_difference
from steerlab.generation import Completion, generate
from steerlab.models import load_model
from steerlab.sae import SAE, load_sae
from steerlab.sparse import (
    METHODS,
    Infeasible,
    compare_methods,
    feature_correlations,
    judge_for,
    kl_to_unsteered,
    steering_methods,
    text_judge,
    word_judge,
)
from steerlab.sparse.compare import read_completions
from steerlab.steering import AddVector, residual_norm, steer
from steerlab.tokens import encode

PRE = "blocks.1.hook_resid_pre"
GOOD = ("The movie was good", "It was warm and bright", "The movie was bright", "The food was warm",
        "She was good", "The boats were bright")  # fmt: skip
BAD = ("The movie was bad", "It was cold and terrible", "The movie was terrible", "The soup was cold",
       "The soup was bad", "The room was cold")  # fmt: skip


def small_contrast() -> Contrast:
    return Contrast(
        concept="sentiment", target="good", other="bad",
        target_texts=GOOD[:4], other_texts=BAD[:4],
        target_held_out=GOOD[4:], other_held_out=BAD[4:],
        target_pairs=GOOD[:3], other_pairs=BAD[:3],
        statements=(" The room was", " The soup was"),
        target_prefix="It was good.", other_prefix="It was bad.",
        prompts=("The movie", "The food was", "She walked through the garden"),
        words_for=("good", "warm", "bright"), words_against=("bad", "cold", "terrible"),
    )  # fmt: skip


def random_sae(n=200, d=32, hook_name=PRE, seed=0) -> SAE:
    g = torch.Generator().manual_seed(seed)
    rows = torch.randn(n, d, generator=g)
    rows = rows / rows.norm(dim=1, keepdim=True)
    return SAE(rows.T, torch.full((n,), -1.0), rows, torch.zeros(d), hook_name=hook_name)


@pytest.fixture(scope="module")
def methods(model):
    return steering_methods(model, random_sae(), small_contrast(), k=2)


# ---------------------------------------------------------------------------------------- methods


def test_all_nine_methods_give_a_vector_for_a_residual(model, methods):
    assert tuple(methods.by_name) == METHODS
    h = methods.subspace.read(model, ["The movie"])[0]
    for name, method in methods.by_name.items():
        found = method(h)
        assert found.vector.shape == (32,)
        assert bool(found.vector.any()) == (name != "none")
    with pytest.raises(ValueError, match="no method 'CAA'; there are none, random"):
        methods["CAA"]


def test_dense_methods_are_the_librarys_own_directions(model, methods):
    told, h = small_contrast(), torch.zeros(32)
    means = mean_difference(model, told.target_texts, told.other_texts, PRE)
    torch.testing.assert_close(methods["class means"](h).vector, means, atol=1e-4, rtol=1e-4)
    assert methods["class means"](h).features is None
    random = methods["random"](h).vector
    assert float(random.norm()) == pytest.approx(float(means.norm()), rel=1e-4)
    assert abs(float(random @ means)) < 0.8 * float(means.norm() ** 2)


def test_features_are_chosen_by_their_correlation_with_the_labels(model, methods):
    told, sae = small_contrast(), random_sae()
    r = feature_correlations(model, sae, told)
    texts = [*told.target_texts, *told.other_texts]
    activations = collect(model, texts, PRE)
    means = torch.stack(
        [sae.encode(activations.values[PRE][activations.document == i]).mean(0) for i in range(8)]
    )
    label = torch.tensor([1.0] * 4 + [0.0] * 4)
    for feature in range(0, 200, 17):
        if means[:, feature].std() > 1e-6:
            expected = torch.corrcoef(torch.stack([means[:, feature], label]))[0, 1]
            assert float(r[feature]) == pytest.approx(float(expected), abs=1e-4)
        else:
            assert r[feature] == 0
    single = methods["single feature"](torch.zeros(32))
    assert single.features == (int(r.argmax()),)
    top = methods["top-k features"](torch.zeros(32))
    assert set(top.features) == set(r.abs().topk(10).indices.tolist())
    expected = sum(r[i] * sae.W_dec[i] for i in top.features)
    torch.testing.assert_close(top.vector, expected, atol=1e-5, rtol=1e-5)


def test_convex_methods_bring_every_prompt_to_the_thresholds(model, methods):
    for h in methods.subspace.read(model, small_contrast().prompts):
        for name in ("SOCP", "QP"):
            found = methods[name](h)
            assert found.answer is not None
            assert found.answer.gap <= 1e-6
            assert found.features == found.answer.features
            reached = methods.subspace.directions @ (h + found.vector)
            assert (reached >= methods.subspace.thresholds - 1e-4).all()


def test_an_autoencoder_without_its_place_or_without_a_feature_for_the_target_is_refused(model):
    with pytest.raises(ValueError, match="which hook point"):
        steering_methods(model, random_sae(hook_name=None), small_contrast())
    with pytest.raises(ValueError, match=r"no hook point .blocks\.7"):
        steering_methods(model, random_sae(hook_name="blocks.7.hook_resid_pre"), small_contrast())
    dead = random_sae().like(b_enc=torch.full((200,), -1e6))
    with pytest.raises(ValueError, match="no feature of this SAE fires more"):
        steering_methods(model, dead, small_contrast())


# ----------------------------------------------------------------------------------------- judges


def test_the_judge_of_words_counts_and_the_judge_of_texts_generalises():
    def completion(text):
        return Completion("", text, (1,), ())

    words = word_judge(["good"], ["bad"])
    assert words([completion("good good bad")]) == pytest.approx(2 / 3)
    assert words([completion("neither")]) is None
    told = contrast("sentiment", n=400)
    judge = text_judge(told.target_held_out, told.other_held_out)
    fresh = contrast("sentiment", n=60, seed=5)
    assert judge([completion(text) for text in fresh.target_texts]) > 0.8
    assert judge([completion(text) for text in fresh.other_texts]) < 0.2
    assert judge([completion(" ")]) is None
    wordless = replace(told, words_for=(), words_against=())
    assert judge_for(wordless)([completion(fresh.target_texts[0])]) > 0.5
    assert judge_for(told)([completion("lovely")]) == 1.0


# -------------------------------------------------------------------------------------- comparison


@pytest.fixture(scope="module")
def comparison(model, methods):
    return compare_methods(
        model, methods, small_contrast(), dose=0.5, per_prompt=3, max_new_tokens=8
    )


def test_every_method_is_compared_at_the_same_dose(model, methods, comparison):
    assert {row.method for row in comparison.rows} == set(METHODS)
    for row in comparison.rows:
        assert row.dose == pytest.approx(0.0 if row.method == "none" else 0.5, rel=1e-4)
        assert row.n == 9
        assert row.infeasible == 0
    norm = residual_norm(model, PRE, small_contrast().prompts)
    means = methods["class means"](torch.zeros(32)).vector
    expected = 0.5 * norm / float(means.norm())
    assert comparison["class means"].coefficient == pytest.approx(expected, rel=1e-4)
    assert comparison["none"].kl == pytest.approx(0.0, abs=1e-6)
    assert comparison["SOCP"].kl > 0.01
    assert comparison["class means"].l0 is None
    assert comparison["single feature"].l0 == 1


def test_without_a_dose_vectors_are_added_as_they_come(model, methods):
    few = replace(methods, by_name={name: methods[name] for name in ("none", "class means")})
    table = compare_methods(
        model, few, small_contrast(), None, prompts=["The movie"], per_prompt=1, max_new_tokens=2
    )
    length = float(methods["class means"](torch.zeros(32)).vector.norm())
    norm = residual_norm(model, PRE, ["The movie"])
    assert table["class means"].dose == pytest.approx(length / norm, rel=1e-4)
    assert table["class means"].coefficient == 1.0
    assert table["none"].dose == 0.0
    assert table.dose is None


def test_rows_are_ranked_by_the_judge_alone(model, methods):
    """A judge that counts a letter: no quantity that was optimised has a say."""

    def letters(completions):
        text = "".join(c.text for c in completions)
        return text.count("a") / max(1, len(text))

    told = small_contrast()
    few = replace(methods, by_name={name: methods[name] for name in ("none", "random", "SOCP")})
    ranked = compare_methods(model, few, told, 0.5, judge=letters, per_prompt=2, max_new_tokens=6)
    scores = [row.concept_score for row in ranked.rows]
    assert scores == sorted(scores, reverse=True)
    for row in ranked.rows:
        assert len(row.by_prompt) == len(told.prompts)
        assert min(row.by_prompt) <= row.concept_score <= max(row.by_prompt)
    nothing = compare_methods(
        model, few, told, 0.5, judge=lambda c: None, per_prompt=1, max_new_tokens=2
    )
    assert all(row.concept_score is None for row in nothing.rows)
    assert "–" in str(nothing)


def test_the_table_shows_and_exports_every_row(comparison):
    lines = str(comparison).splitlines()
    assert len(lines) == 10
    assert len({len(line.removesuffix("  not usable")) for line in lines}) == 1
    records = comparison.records()
    assert json.loads(json.dumps(records)) == records
    file = io.StringIO()
    writer = csv.DictWriter(file, records[0])
    writer.writeheader()
    writer.writerows(records)
    file.seek(0)
    assert len(list(csv.DictReader(file))) == 9
    assert {"nll", "distinct2", "repeated", "kl", "l0", "concept_score"} <= set(records[0])


def test_a_method_without_a_vector_says_for_how_many_prompts_and_scores_nothing(model):
    """Features that all point away from the target: no amount of them would do."""
    told = small_contrast()
    means = mean_difference(model, told.target_texts, told.other_texts, PRE)
    sae = random_sae()
    away = sae.W_dec - (sae.W_dec @ means).abs()[:, None] * means / means.norm() ** 2
    away = torch.where((away @ means)[:, None] > 0, -away, away)
    methods = steering_methods(model, sae.like(W_dec=away), told, k=1)
    # One direction of k = 1 need not be the mean difference; those rows point away from this one.
    w = methods.subspace.directions[0]
    rows = torch.where((away @ w)[:, None] > 0, -away, away)
    methods = steering_methods(model, sae.like(W_dec=rows), told, k=1)
    with pytest.raises(Infeasible, match="whatever the norm"):
        methods["SOCP"](methods.subspace.other_mean)
    few = replace(
        methods, by_name={name: methods[name] for name in ("none", "SOCP", "class means")}
    )
    compared = compare_methods(model, few, told, 0.5, per_prompt=1, max_new_tokens=2)
    row = compared["SOCP"]
    assert (row.n, row.infeasible, row.concept_score) == (0, 3, None)
    assert compared["class means"].n == 3
    assert "SOCP" in str(compared)


def test_the_divergence_is_that_of_the_steered_model(model):
    prompts = ["The movie", "The movie that I watched yesterday was"]
    vectors = torch.randn(2, 32, generator=torch.Generator().manual_seed(0))
    both = kl_to_unsteered(model, PRE, prompts, vectors)
    total, count = 0.0, 0
    for prompt, vector in zip(prompts, vectors, strict=True):
        tokens = torch.tensor([encode(model, prompt)])
        plain = model(tokens).log_softmax(-1)
        with steer(model, {PRE: AddVector(vector)}):
            steered = model(tokens).log_softmax(-1)
        kl = torch.nn.functional.kl_div(plain, steered, log_target=True, reduction="none").sum(-1)
        total, count = total + float(kl[0, 1:].sum()), count + kl.shape[1] - 1
    assert both == pytest.approx(total / count, rel=1e-3)


def test_completions_are_read_without_their_prompt_and_without_steering(any_model):
    written = generate(any_model, ["The movie", "She walked"], max_new_tokens=5)
    read = read_completions(any_model, written, PRE)
    for row, completion in zip(read, written, strict=True):
        tokens = torch.tensor([[*completion.prompt_tokens, *completion.tokens]])
        _, cache = any_model.run_with_cache(tokens)
        own = cache[PRE][0, -len(completion.tokens) :]
        torch.testing.assert_close(row, own.mean(0), atol=1e-3, rtol=1e-3)
    with (
        steer(any_model, {PRE: AddVector(torch.ones(32))}),
        pytest.raises(ValueError, match="unsteered model"),
    ):
        read_completions(any_model, written, PRE)


def test_a_dose_or_a_number_of_completions_that_cannot_be_is_refused(model, methods):
    for dose in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="dose is"):
            compare_methods(model, methods, small_contrast(), dose)
    alone = replace(methods, by_name={"SOCP": methods["SOCP"]})
    with pytest.raises(ValueError, match='lack "none"'):
        compare_methods(model, alone, small_contrast(), 0.5)
    with pytest.raises(ValueError, match="per_prompt is 0"):
        compare_methods(model, methods, small_contrast(), 0.5, per_prompt=0)


# --------------------------------------------------------------------------------- embedded model


def test_on_the_embedded_model_sparse_steering_brings_the_sentiment_with_few_features():
    model = load_model("tiny")
    sae = load_sae("tiny", model)
    told = contrast("sentiment", n=120)
    methods = steering_methods(model, sae, told)
    chosen = {name: methods.by_name[name] for name in ("none", "random", "class means", "SOCP")}
    table = compare_methods(
        model, replace(methods, by_name=chosen), told, 0.45,
        prompts=told.prompts[:3], per_prompt=10, max_new_tokens=12,
    )  # fmt: skip
    assert table["SOCP"].concept_score > 0.8 > table["none"].concept_score
    assert table["SOCP"].concept_score > table["random"].concept_score + 0.2
    assert table["SOCP"].usable
    assert table["SOCP"].l0 < 25
