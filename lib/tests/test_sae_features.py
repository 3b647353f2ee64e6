"""Scores, contexts, labels, search and cards of features, on codes small enough to know."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from steerlab.activations import Activations
from steerlab.sae import (
    SAE,
    FeatureLabel,
    FeatureLabels,
    auroc,
    baselines,
    context_card,
    contexts,
    document_scores,
    evaluate_sae,
    label_features,
    loss_recovered,
    match_concepts,
    recovery,
)
from steerlab.sae.scores import percentiles

HOOK = "blocks.1.hook_resid_pre"
TEXTS = ["The movie was good and warm", "She counted the boats in the garden", "The soup was bad"]


def identity(d=4):
    """An autoencoder whose features are the positive parts of the coordinates."""
    return SAE(torch.eye(d), torch.zeros(d), torch.eye(d), torch.zeros(d), hook_name=HOOK)


def activations(values, document, tokens=None):
    x = torch.as_tensor(values, dtype=torch.float32)
    document = torch.tensor(document)
    tokens = torch.arange(len(x)) if tokens is None else torch.tensor(tokens)
    return Activations({HOOK: x}, document, torch.ones(len(x)), tokens, int(document.max()) + 1)


class Letters:
    """A tokenizer whose token i is the i-th letter."""

    def decode(self, ids, **_):
        return "".join(chr(97 + i) for i in ids)


# ------------------------------------------------------------------------------------------ scores


def test_scores_of_a_code_that_is_known():
    x = torch.tensor([[1.0, 0.0, -2.0, 0.0], [3.0, 0.0, -2.0, 0.0], [2.0, 4.0, -2.0, 0.0]])
    scores = evaluate_sae(identity(), x)
    assert scores.fvu == pytest.approx(12 / float((x - x.mean(0)).square().sum()))
    assert scores.l0 == pytest.approx(4 / 3)
    assert scores.dead == 0.5
    torch.testing.assert_close(scores.rate, torch.tensor([1.0, 1 / 3, 0.0, 0.0]))
    torch.testing.assert_close(scores.p999, torch.tensor([2.998, 4.0, 0.0, 0.0]))


@given(seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_the_percentile_is_that_of_each_latent_s_non_zero_activations(seed):
    x = torch.randn(300, 4, generator=torch.Generator().manual_seed(seed))
    scores = evaluate_sae(identity(), x)
    for i in range(4):
        column = x[:, i][x[:, i] > 0]
        torch.testing.assert_close(scores.p999[i], torch.quantile(column, 0.999))


def test_percentiles_stay_exact_where_millions_of_activations_come_before():
    count = torch.tensor([3_000_000, 11])
    latents = torch.repeat_interleave(torch.arange(2, dtype=torch.int32), count)
    strengths = torch.ones(len(latents))
    strengths[-11:] = torch.arange(11.0)
    assert float(percentiles(latents, strengths, count)[1]) == pytest.approx(9.99, abs=1e-4)


def test_predicting_the_mean_has_an_fvu_of_one_and_an_uncentred_fvu_would_not():
    x = torch.randn(500, 4) + 10
    mean = SAE(torch.zeros(4, 2), torch.zeros(2), torch.zeros(2, 4), x.mean(0))
    assert evaluate_sae(mean, x).fvu == pytest.approx(1.0, abs=1e-4)


def test_loss_recovered_is_one_for_a_perfect_splice_and_zero_for_the_mean(model):
    eye = torch.eye(32)
    both = torch.cat([eye, -eye])
    perfect = SAE(both.T, torch.zeros(64), both, torch.zeros(32), hook_name=HOOK)
    found = loss_recovered(model, perfect, TEXTS)
    assert found.share == pytest.approx(1.0, abs=1e-3)
    assert found.spliced == pytest.approx(found.clean, abs=1e-4)
    from steerlab.activations import collect

    mean = collect(model, TEXTS, HOOK).values[HOOK].mean(0)
    constant = SAE(torch.zeros(32, 2), torch.zeros(2), torch.zeros(2, 32), mean, hook_name=HOOK)
    assert loss_recovered(model, constant, TEXTS).share == pytest.approx(0.0, abs=1e-3)


def test_the_clean_loss_is_the_model_s_own(model):
    eye = torch.eye(32)
    both = torch.cat([eye, -eye])
    sae = SAE(both.T, torch.zeros(64), both, torch.zeros(32), hook_name=HOOK)
    total, count = 0.0, 0
    for text in TEXTS:
        tokens = model.to_tokens(text)
        nll = -model(tokens)[0, :-1].log_softmax(-1).gather(-1, tokens[0, 1:, None])
        total, count = total + float(nll.sum()), count + len(nll)
    assert loss_recovered(model, sae, TEXTS, batch_size=2).clean == pytest.approx(
        total / count, abs=1e-4
    )


def test_recovery_matches_one_to_one():
    planted = torch.eye(3)
    # One learned direction lies near all of two planted ones; it may count for one only.
    learned = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 2.0], [0.0, 0.0, -1.0]])
    found = recovery(learned, planted)
    assert sorted(found.tolist()) == pytest.approx([0.0, math.sqrt(0.5), 1.0])
    with pytest.raises(ValueError, match="2 learned directions for 3"):
        recovery(learned[:2], planted)
    with pytest.raises(ValueError, match=r"\[d_sae, d\]"):
        recovery(learned, torch.eye(4))


# ------------------------------------------------------------------------------------------- AUROC


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=30))
@settings(deadline=None)
def test_the_area_is_the_share_of_pairs_in_order(pairs):
    positive = [p for _, p in pairs]
    if all(positive) or not any(positive):
        return
    values = [float(v) for v, _ in pairs]
    wins = [
        1.0 if a > b else 0.5 if a == b else 0.0
        for a, p in zip(values, positive, strict=True) if p
        for b, q in zip(values, positive, strict=True) if not q
    ]  # fmt: skip
    area = auroc(torch.tensor(values)[:, None], torch.tensor(positive))
    assert float(area[0]) == pytest.approx(sum(wins) / len(wins), abs=1e-6)


def test_a_feature_is_chosen_on_one_set_and_scored_on_the_other():
    labels = ["a", "a", "b", "b"]
    select = torch.tensor([[1.0, 0.9], [1.0, 1.0], [0.0, 0.0], [0.0, 0.95]])
    judge = torch.tensor([[0.0, 1.0], [1.0, 1.0], [0.5, 0.0], [0.5, 0.0]])
    [match] = match_concepts(select, labels, judge, labels, concepts=["a"])
    # Feature 1 would be the better one on the judging set.
    assert (match.feature, match.selected, match.held_out) == (0, 1.0, 0.5)


def test_both_signs_count_only_where_asked():
    labels = ["a", "a", "b", "b"]
    down = torch.tensor([[0.0], [0.0], [1.0], [1.0]])
    [signed] = match_concepts(down, labels, down, labels, concepts=["a"], both_signs=True)
    assert (signed.sign, signed.held_out) == (-1, 1.0)
    [plain] = match_concepts(down, labels, down, labels, concepts=["a"])
    assert (plain.sign, plain.held_out) == (1, 0.0)


def test_documents_without_the_label_take_no_part():
    labels = ["a", None, "b"]
    scores = torch.tensor([[1.0], [5.0], [0.0]])
    [match] = match_concepts(scores, labels, scores, labels, concepts=["a"])
    assert match.held_out == 1.0


def test_an_untrained_sae_and_the_coordinates_are_there_to_compare_with():
    x = torch.randn(200, 4)
    found = baselines(x, identity())
    assert set(found) == {"raw coordinates", "PCA", "untrained SAE"}
    axes = found["PCA"][0](x)
    torch.testing.assert_close(axes.T @ axes, torch.diag((axes**2).sum(0)), atol=1e-2, rtol=0.0)
    assert found["untrained SAE"][0](x).shape == (200, 4)


def test_document_scores_are_means_over_each_document():
    acts = activations([[1.0, 0], [3.0, 0], [0, -2.0]], [0, 0, 1])
    scored = document_scores(acts, HOOK, identity(2).encode)
    assert scored.tolist() == [[2.0, 0.0], [0.0, 0.0]]


# ---------------------------------------------------------------------------------------- contexts


def test_top_contexts_come_one_a_document_strongest_first():
    values = [[9.0], [8.0], [1.0], [5.0], [0.0], [7.0]]
    acts = activations(values, [0, 0, 1, 1, 2, 2], [0, 1, 2, 3, 4, 5])
    found = contexts(acts, HOOK, identity(1), 0, Letters(), n=2, before=1, after=1)
    assert [(c.document, c.activation) for c in found.top] == [(0, 9.0), (2, 7.0)]
    assert found.rate == pytest.approx(5 / 6)
    # A context stays inside its document.
    assert found.top[0].text == "ab"
    assert found.top[1].text == "ef"
    assert found.top[1].tokens[found.top[1].peak] == "f"


def test_special_tokens_are_skipped_as_peaks_but_shown():
    acts = activations([[9.0], [8.0]], [0, 0], [25, 1])
    found = contexts(acts, HOOK, identity(1), 0, Letters(), skip=[25])
    assert found.top[0].activation == 8.0
    assert found.top[0].text == "zb"
    assert found.maximum == 8.0


@given(seed=st.integers(0, 1000), n=st.integers(4, 40))
@settings(max_examples=20, deadline=None)
def test_each_quartile_of_the_non_zero_activations_gives_one_context(seed, n):
    g = torch.Generator().manual_seed(seed)
    values = torch.rand(n, 1, generator=g) + 0.01
    acts = activations(values, list(range(n)), [0] * n)
    found = contexts(acts, HOOK, identity(1), 0, Letters(), seed=seed)
    ordered = values.flatten().sort().values.tensor_split(4)
    assert [c.quartile for c in found.quartiles] == [1, 2, 3, 4]
    for context, part in zip(found.quartiles, ordered, strict=True):
        assert float(part.min()) <= context.activation + 1e-6
        assert context.activation <= float(part.max()) + 1e-6


def test_a_feature_that_never_fires_has_no_contexts_and_a_card_that_says_so():
    acts = activations([[-1.0], [-2.0]], [0, 1])
    found = contexts(acts, HOOK, identity(1), 0, Letters())
    assert (found.top, found.quartiles, found.rate) == ((), (), 0.0)
    assert "dead here" in context_card(found)


# ------------------------------------------------------------------------------------------- cards


def test_a_card_shades_tokens_by_activation_and_escapes_the_text():
    class Nasty(Letters):
        def decode(self, ids, **_):
            return {0: "<script>", 1: "x\n", 2: " &"}[ids[0]]

    acts = activations([[4.0], [2.0], [0.0]], [0, 0, 0], [0, 1, 2])
    found = contexts(acts, HOOK, identity(1), 0, Nasty())
    label = FeatureLabel(0, "topic: <b>", 0.93, ("a",), 0.5, 4.0)
    card = context_card(found, label)
    assert "<script>" not in card
    assert "&lt;script&gt;" in card
    assert "topic: &lt;b&gt;" in card
    assert "detection 0.93" in card
    assert "\n" not in card
    assert "rgba(255,140,0,0.80)'>&lt;script&gt;" in card  # the strongest
    assert "rgba(255,140,0,0.45)'>x↵" in card  # half as strong
    assert "<span> &amp;</span>" in card  # silent: not shaded
    assert "fires on 66.7% of tokens" in card


# ------------------------------------------------------------------------------------------ labels


@pytest.fixture(scope="module")
def labels():
    g = torch.Generator().manual_seed(0)
    kinds = ["sea", "city"] * 20
    x = torch.rand(40, 3, generator=g) * 0.1
    for i, kind in enumerate(kinds):
        x[i, 0 if kind == "sea" else 1] += 1.0
    x[:, 2] = -1  # never fires
    acts = activations(x, list(range(40)), [i % 2 for i in range(40)])
    attributes = [{"topic": kind, "mood": None} for kind in kinds]
    sae = identity(3)
    return label_features(
        sae, HOOK, (acts, attributes), (acts, attributes), evaluate_sae(sae, x), Letters()
    )


def test_features_are_labelled_by_what_they_detect(labels):
    assert [labels[i].concept for i in range(3)] == ["topic: sea", "topic: city", None]
    assert labels[0].detection == 1.0
    assert labels[0].tokens[0] == "a"
    assert labels[2].rate == 0.0
    assert labels.concepts == ("topic: city", "topic: sea")


def test_search_finds_a_concept_by_its_name_or_value_or_a_token(labels):
    assert [label.feature for label in labels.search("sea")] == [0]
    assert [label.feature for label in labels.search("Topic: City")] == [1]
    assert labels.search("a")[0].feature == 0
    with pytest.raises(ValueError, match="close concepts: topic: "):
        labels.search("harbour")
    with pytest.raises(ValueError, match="is empty"):
        labels.search(" ")


def test_labels_are_read_back(labels, tmp_path):
    labels.save(tmp_path / "labels.json")
    back = FeatureLabels.load(tmp_path / "labels.json")
    assert dict(back) == dict(labels)
    (tmp_path / "other.json").write_text('[{"a": 1}]')
    with pytest.raises(ValueError, match="holds no feature labels"):
        FeatureLabels.load(tmp_path / "other.json")
    with pytest.raises(FileNotFoundError, match="no feature labels"):
        FeatureLabels.load(tmp_path / "none.json")


# --------------------------------------------------------------------------------------- bad input


def test_bad_input_is_explained(labels, model):
    sae = identity()
    with pytest.raises(ValueError, match="at least two tokens"):
        evaluate_sae(sae, torch.zeros(0, 4))
    with pytest.raises(ValueError, match=r"expected \[token, 4\]"):
        evaluate_sae(sae, torch.zeros(5, 3))
    with pytest.raises(ValueError, match="first: row 1"):
        evaluate_sae(sae, torch.tensor([[0.0] * 4, [torch.nan] * 4]))
    with pytest.raises(ValueError, match="no variance"):
        evaluate_sae(sae, torch.ones(5, 4))
    with pytest.raises(ValueError, match="marks 0 of 3 documents"):
        auroc(torch.zeros(3, 1), torch.zeros(3, dtype=torch.bool))
    with pytest.raises(ValueError, match="NaN or infinite"):
        auroc(torch.full((2, 1), torch.nan), torch.tensor([True, False]))
    with pytest.raises(ValueError, match="one label a document"):
        auroc(torch.zeros(3, 1), torch.tensor([True, False]))
    scores = torch.zeros(2, 1)
    with pytest.raises(ValueError, match="judge_labels has 2 of 2 documents of 'a'"):
        match_concepts(scores, ["a", "b"], scores, ["a", "a"])
    with pytest.raises(ValueError, match="names no concept"):
        match_concepts(scores, [None, None], scores, [None, None])
    with pytest.raises(ValueError, match="select has 2 documents and 1 labels"):
        match_concepts(scores, ["a"], scores, ["a", "b"])
    with pytest.raises(ValueError, match="feature 4 is out of range"):
        contexts(activations(torch.zeros(2, 4), [0, 1]), HOOK, sae, 4, Letters())
    with pytest.raises(ValueError, match=r"feature 9 has no label; labelled: 0 to 2"):
        _ = labels[9]
    with pytest.raises(ValueError, match="reads residuals of width 4"):
        loss_recovered(model, sae, TEXTS)
    with pytest.raises(ValueError, match="does not say which hook point"):
        loss_recovered(model, sae.like(hook_name=None), TEXTS)
