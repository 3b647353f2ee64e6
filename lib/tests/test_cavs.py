"""CAVs separate concepts and nothing else; TCAV tells sensitivity from chance."""

from __future__ import annotations

import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from steerlab.activations import collect
from steerlab.cavs import fit_cavs, load_cavs, masked_mean, pool, random_cavs, save_cavs
from steerlab.data import newsgroups as newsgroups_module
from steerlab.data.newsgroups import newsgroups
from steerlab.steering import AddVector, generate, steer
from steerlab.tcav import gradients, holm, target_tokens, tcav_scores, tcav_test

PRE = "blocks.1.hook_resid_pre"
TEXTS = [
    "The movie that I watched yesterday was good",
    "The soup was bad",
    "She walked through the garden and counted the boats",
]


def clusters(n=60, d=12, classes=3, mean=20.0, seed=0):
    """Residuals of some classes around a large shared mean: [n · classes, d] and their labels."""
    g = torch.Generator().manual_seed(seed)
    centres = torch.linalg.qr(torch.randn(d, d, generator=g)).Q[:classes] * 3
    shared = torch.zeros(d)
    shared[0] = mean
    x = torch.cat([c + torch.randn(n, d, generator=g) for c in centres]) + shared
    return x, [f"class {i}" for i in range(classes) for _ in range(n)], centres


# ------------------------------------------------------------------------------------------ pooling


@given(seed=st.integers(0, 1000), batch=st.integers(1, 5), length=st.integers(1, 7))
@settings(max_examples=30, deadline=None)
def test_the_masked_mean_is_the_mean_of_what_the_mask_keeps(seed, batch, length):
    g = torch.Generator().manual_seed(seed)
    resid = torch.randn(batch, length, 4, generator=g)
    mask = torch.rand(batch, length, generator=g) < 0.5
    rows = [r[m].mean(0) for r, m in zip(resid, mask, strict=True) if m.any()]
    # What lies under padding has no say, not even NaN.
    pooled = masked_mean(resid.masked_fill(~mask[..., None], torch.nan), mask)
    assert pooled.kept.tolist() == mask.any(1).tolist()
    assert len(pooled.means) == len(rows)
    if rows:
        torch.testing.assert_close(pooled.means, torch.stack(rows))


def test_pooling_skips_the_prefix_and_leaves_out_texts_that_are_all_prefix(any_model):
    activations = collect(any_model, TEXTS, PRE)
    lengths = [int((activations.document == i).sum()) for i in range(3)]
    skip = min(lengths)  # exactly the shortest text's tokens
    pooled = pool(any_model, TEXTS, PRE, skip=skip, batch_size=2)
    kept = [i for i in range(3) if lengths[i] > skip]
    assert 0 < len(kept) < 3
    assert pooled.kept.tolist() == [i in kept for i in range(3)]
    for row, i in zip(pooled.means, kept, strict=True):
        mine = activations.values[PRE][(activations.document == i) & (activations.position > skip)]
        torch.testing.assert_close(row, mine.mean(0), atol=1e-4, rtol=1e-4)
    assert pooled.labels(["a", "b", "c"]) == [["a", "b", "c"][i] for i in kept]


def test_pooling_without_a_skip_is_the_mean_over_all_but_position_0(model):
    expected = collect(model, TEXTS, PRE).mean_per_document(PRE)
    torch.testing.assert_close(pool(model, TEXTS, PRE).means, expected, atol=1e-5, rtol=1e-4)
    short = pool(model, TEXTS, PRE, max_tokens=3)
    first = collect(model, TEXTS, PRE)
    mine = first.values[PRE][(first.document == 2) & (first.position <= 3)].mean(0)
    torch.testing.assert_close(short.means[2], mine, atol=1e-5, rtol=1e-4)


# ------------------------------------------------------------------------------------------ fitting


def test_cavs_have_norm_1_point_to_their_class_and_generalise():
    x, labels, centres = clusters()
    held_out, held_labels, _ = clusters(seed=0, n=200)
    cavs = fit_cavs(x, labels, hook_name=PRE, model_name="m")
    torch.testing.assert_close(cavs.vectors.norm(dim=1), torch.ones(3))
    assert cavs.accuracy(held_out, held_labels) > 0.9
    for i, label in enumerate(cavs.labels):
        others = centres[[j for j in range(3) if j != i]].mean(0)
        assert cavs[label] @ (centres[i] - others) > 0


def test_two_classes_have_opposite_cavs():
    x, labels, _ = clusters(classes=2)
    cavs = fit_cavs(x, labels)
    torch.testing.assert_close(cavs.vectors[0], -cavs.vectors[1])
    assert cavs.accuracy(x, labels) > 0.95


def test_centring_keeps_the_shared_mean_out_of_every_cav():
    x, labels, _ = clusters(n=300, mean=1.0)
    shared = torch.nn.functional.one_hot(torch.tensor(0), 12).float()
    centred, raw = fit_cavs(x, labels), fit_cavs(x, labels, raw=True)
    # Without an intercept, the mean is what every boundary is shifted with.
    assert ((raw.vectors - centred.vectors) @ shared < -0.05).all()
    # Moving all residuals changes no centred CAV.
    moved = fit_cavs(x + 50 * shared, labels)
    torch.testing.assert_close(moved.vectors, centred.vectors, atol=1e-2, rtol=1e-2)


def test_scaling_all_residuals_changes_no_cav():
    x, labels, _ = clusters()
    torch.testing.assert_close(
        fit_cavs(x, labels).vectors, fit_cavs(37 * x, labels).vectors, atol=1e-3, rtol=1e-3
    )


def test_a_pattern_is_what_residuals_share_with_a_reading_and_a_cav_is_not():
    """Haufe et al., 2014: two channels, one holds signal and noise, the other the noise alone."""
    g = torch.Generator().manual_seed(0)
    signal, noise = (
        torch.randint(0, 2, (4000,), generator=g) * 2.0 - 1,
        torch.randn(4000, generator=g),
    )
    x = torch.stack([signal + 2 * noise, 2 * noise + 0.01 * torch.randn(4000, generator=g)], 1)
    cavs = fit_cavs(x, ["yes" if s > 0 else "no" for s in signal.tolist()], cost=1.0)
    normal, pattern = cavs["yes"], cavs.patterns(x)[cavs.labels.index("yes")]
    assert normal[1] < -0.5  # the classifier subtracts the noise channel
    assert pattern[0] > 0.99  # which the concept never changes


def test_random_cavs_tell_nothing_apart():
    x, labels, _ = clusters(n=200)
    drawn = random_cavs(x, 60, seed=3, size=40)
    torch.testing.assert_close(drawn.norm(dim=1), torch.ones(60))
    assert torch.equal(drawn, random_cavs(x, 60, seed=3, size=40))
    true = fit_cavs(x, labels).vectors[0]
    assert (drawn @ true).mean().abs() < 0.15


# ------------------------------------------------------------------------------------------- files


def test_cavs_are_read_back_with_all_that_belongs_to_them(tmp_path):
    x, labels, _ = clusters()
    cavs = fit_cavs(x, labels, hook_name=PRE, model_name="gemma-2-2b")
    save_cavs(cavs, tmp_path / "cavs.safetensors")
    back = load_cavs(tmp_path / "cavs.safetensors")
    assert torch.equal(back.vectors, cavs.vectors)
    assert back.predict(x) == cavs.predict(x)
    assert (back.labels, back.hook_name, back.model_name) == (cavs.labels, PRE, "gemma-2-2b")


def test_published_cavs_come_in_as_a_pt_file_and_nothing_else_does(tmp_path):
    torch.save({"cavs": torch.randn(2, 8) * 3, "labels": ["sport", "space"]}, tmp_path / "a.pt")
    cavs = load_cavs(tmp_path / "a.pt")
    assert cavs.labels == ("sport", "space")
    torch.testing.assert_close(cavs["space"].norm(), torch.tensor(1.0))

    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    (tmp_path / "b.pt").write_bytes(pickle.dumps({"cavs": Bomb()}))
    with pytest.raises(ValueError, match="refused"):
        load_cavs(tmp_path / "b.pt")
    assert not (tmp_path / "ran").exists()
    torch.save({"weights": torch.zeros(2)}, tmp_path / "c.pt")
    with pytest.raises(ValueError, match="expected cavs and labels"):
        load_cavs(tmp_path / "c.pt")
    save_file({"cavs": torch.zeros(2, 2)}, tmp_path / "d.safetensors")
    with pytest.raises(ValueError, match="holds no CAVs"):
        load_cavs(tmp_path / "d.safetensors")
    with pytest.raises(FileNotFoundError, match="there is no file"):
        load_cavs(tmp_path / "none.pt")


# ---------------------------------------------------------------------------------- a sister model


def test_cavs_of_a_base_model_steer_its_tuned_sister(model):
    """Fitted on one model, applied to another with the same architecture and other weights."""
    import copy

    pooled = pool(model, TEXTS * 2, PRE)
    cavs = fit_cavs(pooled.means, ["a", "b", "c"] * 2, hook_name=PRE, model_name="base")
    sister = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in sister.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    hook_name = cavs.check_fits(sister)
    with steer(sister, {hook_name: AddVector(cavs["a"], 50.0)}):
        steered = generate(sister, TEXTS[:1], max_new_tokens=4)
    assert steered[0].tokens != generate(sister, TEXTS[:1], max_new_tokens=4)[0].tokens


def test_cavs_of_another_width_or_hook_are_refused(model):
    x, labels, _ = clusters()
    with pytest.raises(ValueError, match=r"12 wide \(fitted on base\).* 32"):
        fit_cavs(x, labels, hook_name=PRE, model_name="base").check_fits(model)
    with pytest.raises(ValueError, match="which hook point"):
        fit_cavs(x, labels).check_fits(model)


# -------------------------------------------------------------------------------------------- TCAV


def test_gradients_are_what_a_small_step_along_the_vector_does(any_model):
    targets = torch.tensor([3, 17, 40])
    found = gradients(any_model, TEXTS, PRE, targets)
    vector = torch.nn.functional.normalize(
        torch.randn(32, generator=torch.Generator().manual_seed(0)), dim=0
    )

    def log_p(coefficient):
        values = []
        for text in TEXTS:  # one by one: padding must have no say
            with steer(any_model, {PRE: AddVector(vector, coefficient)}):
                logits = any_model(any_model.to_tokens(text))[0, -1]
            values.append(logits.log_softmax(-1)[targets].logsumexp(0))
        return torch.stack(values)

    step = 1e-2
    slope = (log_p(step) - log_p(-step)) / (2 * step)
    torch.testing.assert_close(found @ vector, slope, atol=2e-2, rtol=5e-2)


def test_a_tcav_score_is_a_share_and_not_a_mean():
    grads = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [-100.0, 0.0]])
    vectors = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert tcav_scores(grads, vectors).tolist() == [0.75, 0.25]


def test_a_concept_that_matters_stands_out_from_random_cavs_and_a_random_one_does_not():
    g = torch.Generator().manual_seed(0)
    concept = torch.nn.functional.normalize(torch.randn(20, generator=g), dim=0)
    grads = torch.randn(200, 20, generator=g) + 2 * concept
    random = torch.nn.functional.normalize(torch.randn(300, 20, generator=g), dim=1)
    one, other = tcav_test(grads, {"true": concept, "chance": random[0]}, random[1:])
    assert one.score > 0.95
    assert one.p_corrected < 0.05
    assert other.p > 0.05
    # Two-sided: the opposite concept matters as much.
    [opposite] = tcav_test(grads, {"opposite": -concept}, random)
    assert opposite.p < 0.05
    assert opposite.score < 0.05


def test_p_is_counted_from_one_half_and_not_from_the_median_of_the_random_scores():
    grads = torch.cat([torch.ones(19, 1), -torch.ones(1, 1)]).repeat(1, 2)
    grads[:, 1] = 1.0
    # 60 random CAVs score 0.05 and 40 score 0.95: as far from one half as the concept, all of them.
    random = torch.tensor([[-1.0, 0.0]]).repeat(100, 1)
    random[:40] *= -1
    [tested] = tcav_test(grads, {"concept": torch.tensor([1.0, 0.0])}, random)
    assert tested.score == pytest.approx(0.95)
    assert tested.random_median == pytest.approx(0.05)
    assert tested.p == 1.0
    [tested] = tcav_test(grads, {"concept": torch.tensor([0.0, 1.0])}, random)
    assert tested.p == pytest.approx(1 / 101)


@given(st.lists(st.floats(0.001, 1), min_size=1, max_size=8))
@settings(deadline=None)
def test_holm_s_correction_keeps_the_order_and_lies_between_p_and_bonferroni(p):
    corrected = holm(p)
    for one, other in zip(p, corrected, strict=True):
        assert one <= other <= min(1.0, len(p) * one) + 1e-12 or other == max(
            min(1.0, (len(p) - rank) * q) for rank, q in enumerate(sorted(p)) if q <= one
        )
    order = sorted(range(len(p)), key=lambda i: p[i])
    assert [corrected[i] for i in order] == sorted(corrected)


def test_holm_s_correction_of_a_known_case():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


def test_target_tokens_are_the_first_inside_a_sentence(model):
    ids = target_tokens(model, ["garden", "movie", "garden"])
    firsts = {
        model.tokenizer(f" {w}", add_special_tokens=False)["input_ids"][0]
        for w in ("garden", "movie")
    }
    assert set(ids.tolist()) == firsts


# ------------------------------------------------------------------------------------ newsgroups


class Rows:
    """What `datasets` would give: 20 groups of unequal size, some posts empty."""

    def __init__(self):
        self.rows = [(f"post {i} of {g}", f"group {g}") for g in range(20) for i in range(5 + g)]
        self.rows += [("  ", "group 0")] * 3

    def __len__(self):
        return len(self.rows)

    def shuffle(self, seed):
        self.seed = seed
        return self

    def __getitem__(self, column):
        return [row[("text", "label_text").index(column)] for row in self.rows]


def test_newsgroups_are_balanced_and_hold_no_empty_post(monkeypatch):
    import datasets

    monkeypatch.setattr(datasets, "load_dataset", lambda name, split: Rows())
    texts, labels = newsgroups("test", 60)
    assert {labels.count(label) for label in labels} == {3}
    assert all(text.strip() for text in texts)
    assert len(newsgroups("train")[0]) == len(Rows()) - 3


def test_newsgroups_without_a_network_name_the_offline_corpus(monkeypatch):
    import datasets

    def away(*_, **__):
        raise OSError("no route")

    monkeypatch.setattr(datasets, "load_dataset", away)
    with pytest.raises(ConnectionError, match="without either"):
        newsgroups()
    with pytest.raises(ValueError, match='"train" or "test"'):
        newsgroups("validation")
    with pytest.raises(ValueError, match="at least one post"):
        newsgroups(n=19)
    assert newsgroups_module.GROUPS == 20


# ------------------------------------------------------------------------------------- bad input


def test_bad_input_is_explained(model):
    x, labels, _ = clusters()
    broken = x.clone()
    broken[7] = torch.nan
    for arguments, message in [
        ((x[:0], []), "a row or more"),
        ((x, labels[:-1]), "179 labels for 180 means"),
        ((x, ["one"] * 180), r"labels name 1 class \(one\)"),
        ((broken, labels), r"NaN or infinite values in 1 of 180 rows \(first: row 7\)"),
        ((torch.ones(4, 3), ["a", "b"] * 2), "all the same residual"),
    ]:
        with pytest.raises(ValueError, match=message):
            fit_cavs(*arguments)
    cavs = fit_cavs(x, labels)
    with pytest.raises(ValueError, match="no CAV for 'ocean'; there are class 0"):
        _ = cavs["ocean"]
    with pytest.raises(ValueError, match="expected d_model = 12"):
        cavs.predict(x[:, :5])
    with pytest.raises(ValueError, match="expected one each"):
        cavs.accuracy(x, labels[:3])
    with pytest.raises(ValueError, match="no text has a token beyond position 0 and skip = 60"):
        pool(model, TEXTS, PRE, skip=60)
    with pytest.raises(ValueError, match="skip is -1"):
        pool(model, TEXTS, PRE, skip=-1)
    with pytest.raises(ValueError, match="NaN or infinite values at positions that count"):
        masked_mean(torch.full((1, 2, 3), torch.nan), torch.ones(1, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"expected \[batch, pos, d_model\]"):
        masked_mean(torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.bool))
    with pytest.raises(ValueError, match="of 3 texts"):
        random_cavs(x[:3], 5, 0)
    with pytest.raises(ValueError, match="49 random CAVs"):
        tcav_test(torch.randn(4, 12), {"a": x[0]}, torch.randn(49, 12))
    with pytest.raises(ValueError, match=r"expected token ids from 0"):
        gradients(model, TEXTS, PRE, torch.tensor([10**6]))
    with pytest.raises(ValueError, match="words is empty"):
        target_tokens(model, [])
