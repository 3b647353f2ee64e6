"""A concept subspace holds the directions that tell two classes apart, and what a residual lacks."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from steerlab.activations import collect
from steerlab.sae import SAE
from steerlab.sparse import (
    SparseSolver,
    alignment,
    best_layer,
    concept_subspace,
    fit_subspace,
    read_texts,
    sweep_layers,
)

seeds = st.integers(0, 2**31 - 1)
PRE = "blocks.1.hook_resid_pre"
GOOD = [
    "The movie that I watched yesterday was good",
    "The food was warm and bright",
    "It was good",
]
BAD = ["The food was terrible", "The room was cold and the soup was bad", "The soup was bad"]


def classes(seed=0, n=60, d=10, mean=20.0):
    """Residuals with a large shared mean whose classes differ along the second and fifth axis."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(2 * n, d, generator=g) * torch.linspace(4, 0.5, d)
    x[:, 0] += mean
    x[:n, 1] += 3
    x[:n, 4] -= 2
    return x, [1] * n + [0] * n


# --------------------------------------------------------------------------------------- directions


@given(seed=seeds)
@settings(max_examples=25, deadline=None)
def test_directions_are_orthonormal_point_to_the_target_and_come_in_order(seed):
    x, labels = classes(seed)
    subspace = fit_subspace(x, labels, n_components=8, k=4)
    torch.testing.assert_close(
        subspace.directions @ subspace.directions.T, torch.eye(4), atol=1e-5, rtol=0
    )
    apart = subspace.target_mean - subspace.other_mean
    torch.testing.assert_close(
        subspace.directions @ apart, subspace.separations, atol=1e-4, rtol=1e-4
    )
    assert (subspace.separations > 0).all()
    assert subspace.separations.tolist() == sorted(subspace.separations.tolist(), reverse=True)
    assert 0 < subspace.concentration <= 1 + 1e-6
    assert subspace.explained == pytest.approx(
        subspace.concentration * float(apart.square().sum()), rel=1e-4
    )


def test_components_are_chosen_by_separation_and_not_by_variance():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(200, 6, generator=g) * torch.tensor([50.0, 20.0, 5.0, 1.0, 1.0, 1.0])
    for half in (slice(0, 100), slice(100, 200)):
        x[half] -= x[half].mean(0)
    x[:100, 3] += 4  # the classes differ along an axis of little variance, and nowhere else
    subspace = fit_subspace(x, [1] * 100 + [0] * 100, k=1)
    assert float(subspace.directions[0, 3]) > 0.95


@given(seed=seeds, shift=st.floats(-50, 50), size=st.floats(0.1, 10))
@settings(max_examples=15, deadline=None)
def test_moving_all_residuals_changes_nothing_and_scaling_them_scales_what_is_missing(
    seed, shift, size
):
    x, labels = classes(seed)
    h = x[-1]
    plain = fit_subspace(x, labels, k=2)
    moved = fit_subspace(x + shift, labels, k=2)
    torch.testing.assert_close(moved.directions, plain.directions, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(moved.missing(h + shift), plain.missing(h), atol=1e-2, rtol=1e-3)
    scaled = fit_subspace(size * x, labels, k=2)
    torch.testing.assert_close(
        scaled.missing(size * h), size * plain.missing(h), atol=1e-3 * size, rtol=1e-3
    )


def test_thresholds_lie_at_the_targets_mean_and_what_is_missing_leads_there():
    x, labels = classes()
    subspace = fit_subspace(x, labels, k=3)
    h = x[-1]
    torch.testing.assert_close(subspace.thresholds, subspace.directions @ x[:60].mean(0))
    torch.testing.assert_close(
        subspace.directions @ h + subspace.missing(h), subspace.thresholds, atol=1e-4, rtol=1e-4
    )
    torch.testing.assert_close(subspace.missing(h, alpha=2.0), 2 * subspace.missing(h))
    assert not subspace.missing(subspace.target_mean).any()


def test_steering_by_the_answer_reaches_every_threshold():
    x, labels = classes()
    subspace = fit_subspace(x, labels, k=3)
    g = torch.Generator().manual_seed(1)
    solver = SparseSolver(torch.randn(300, 10, generator=g), subspace.directions)
    for h in x[60:70]:
        steered = h + solver.socp(subspace.missing(h)).vector
        assert (subspace.directions @ steered >= subspace.thresholds - 1e-4).all()
        assert solver.socp(subspace.missing(steered)).status == "already_satisfied"


def test_the_reversed_subspace_steers_to_the_other_class():
    x, labels = classes()
    subspace = fit_subspace(x, labels, k=3)
    other = subspace.reversed()
    torch.testing.assert_close(other.directions, -subspace.directions)
    torch.testing.assert_close(other.thresholds, -subspace.directions @ subspace.other_mean)
    direct = fit_subspace(x, labels, target=0, k=3)
    torch.testing.assert_close(direct.directions, other.directions, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(direct.thresholds, other.thresholds, atol=1e-3, rtol=1e-3)


def test_the_score_is_the_share_of_thresholds_reached():
    x, labels = classes()
    subspace = fit_subspace(x, labels, k=2)
    far = subspace.target_mean + 10 * subspace.directions[0] - 10 * subspace.directions[1]
    assert subspace.score(far[None]) == 0.5
    assert subspace.score(torch.stack([far, far + 20 * subspace.directions[1]])) == 0.75
    assert subspace.score(x[:60]) > subspace.score(x[60:])


def test_fewer_texts_or_dimensions_give_fewer_directions():
    x, labels = classes(n=3)
    assert len(fit_subspace(x, labels, k=50).directions) == 5  # centred: one less than texts
    flat = x.clone()
    flat[:, 5:] = 0
    assert len(fit_subspace(flat, labels, k=10).directions) <= 5


# ------------------------------------------------------------------------------------------ texts


@pytest.mark.parametrize("pooling", ["mean", "last"])
def test_texts_are_pooled_alike_for_the_fit_and_for_what_is_steered(model, pooling):
    subspace = concept_subspace(model, GOOD, BAD, PRE, k=2, pooling=pooling)
    read = subspace.read(model, GOOD)
    torch.testing.assert_close(read.mean(0), subspace.target_mean, atol=1e-4, rtol=1e-4)
    collected = collect(model, GOOD, PRE)
    if pooling == "last":
        torch.testing.assert_close(read, collected.last_per_document(PRE))
    else:
        torch.testing.assert_close(read, collected.mean_per_document(PRE))
    assert subspace.hook_name == PRE


def test_the_sweep_reports_every_layer_and_leaves_the_last_ones_out(any_model):
    layers = sweep_layers(any_model, GOOD, BAD, k=2)
    assert [found.layer for found in layers] == [0, 1]
    assert [found.considered for found in layers] == [True, False]
    assert best_layer(layers).layer == 0
    everything = sweep_layers(any_model, GOOD, BAD, k=2, exclude_last=0)
    assert best_layer(everything).explained == max(found.explained for found in layers)
    assert all(0 < found.share <= 1 and found.alignment is None for found in layers)
    with pytest.raises(ValueError, match="an autoencoder to align with"):
        best_layer(layers, by="alignment")


def test_alignment_is_1_where_a_feature_points_along_each_direction(model):
    subspace = concept_subspace(model, GOOD, BAD, PRE, k=2)
    noise = torch.randn(20, 32, generator=torch.Generator().manual_seed(0))
    exact = torch.cat([noise, 3 * subspace.directions])
    assert alignment(exact, subspace) == pytest.approx(1.0, abs=1e-5)
    assert alignment(noise, subspace) < 0.9
    # A feature can only be added: of two that point away, each is at best orthogonal to the other's.
    assert alignment(-exact[20:], subspace) == pytest.approx(0.0, abs=1e-5)
    assert alignment(-exact[20:21], subspace) < -0.5
    sae = SAE(exact.T, torch.zeros(22), exact, torch.zeros(32), hook_name=PRE)
    swept = sweep_layers(model, GOOD, BAD, k=2, saes={1: sae}, exclude_last=0)
    assert best_layer(swept, by="alignment").layer == 1
    with pytest.raises(ValueError, match=f"reads {PRE}, not blocks.0"):
        sweep_layers(model, GOOD, BAD, saes={0: sae})


# -------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda x, y: (x, [1] * len(x)), "labels hold 1 value \\(1\\)"),
        (lambda x, y: (x, [0, 1, 2] * (len(x) // 3)), "labels hold 3 values"),
        (lambda x, y: (x, y[:-1]), "119 labels for 120 residuals"),
        (lambda x, y: (x, ["a" if v else "b" for v in y]), "target is 1, but labels are a and b"),
        (lambda x, y: (x.index_fill(0, torch.tensor(3), torch.nan), y), "first: row 3"),
        (lambda x, y: (x[:60].repeat(2, 1), y), "the same mean residual"),
        (lambda x, y: (torch.ones(120, 10), y), "the same mean residual"),
    ],
)
def test_classes_that_cannot_be_told_apart_are_refused(change, says):
    with pytest.raises(ValueError, match=says):
        fit_subspace(*change(*classes()))


def test_numbers_and_names_that_cannot_be_are_refused(model):
    x, labels = classes()
    with pytest.raises(ValueError, match="k is 0"):
        fit_subspace(x, labels, k=0)
    with pytest.raises(ValueError, match="k is 9; expected 1 to n_components = 8"):
        fit_subspace(x, labels, n_components=8, k=9)
    with pytest.raises(ValueError, match='pooling is "mean" or "last"'):
        fit_subspace(x, labels, pooling="max")
    with pytest.raises(ValueError, match='pooling is "mean" or "last"'):
        read_texts(model, GOOD, PRE, "max")
    subspace = fit_subspace(x, labels)
    with pytest.raises(ValueError, match="expected one residual, \\[10\\]"):
        subspace.missing(x)
    with pytest.raises(ValueError, match="h holds NaN"):
        subspace.missing(x[0] * torch.nan)
    with pytest.raises(ValueError, match="alpha is 0"):
        subspace.missing(x[0], alpha=0)
    with pytest.raises(ValueError, match="which hook point"):
        subspace.read(model, GOOD)
    with pytest.raises(ValueError, match="exclude_last is 2, but this model has 2"):
        sweep_layers(model, GOOD, BAD, exclude_last=2)
    with pytest.raises(ValueError, match="target is empty"):
        sweep_layers(model, [], BAD)
