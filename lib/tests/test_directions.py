"""Directions point from negative to positive, and controls match them in norm."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from steerlab.activations import collect
from steerlab.directions import (
    contrastive_pairs,
    mean_difference,
    persona_direction,
    random_directions,
    shuffled_label_directions,
)

PRE = "blocks.1.hook_resid_pre"
GOOD = ["The movie was good and warm", "The food was good", "The garden was bright and good"]
BAD = ["The room was cold and bad", "The soup was terrible"]


def resid(model, text):
    """Residual of each token of one text, read without padding: [pos, d_model]."""
    _, cache = model.run_with_cache(model.to_tokens(text), names_filter=PRE)
    return cache[PRE][0]


def test_mean_difference_weighs_every_text_alike(any_model):
    def mean(texts):
        return torch.stack([resid(any_model, t)[1:].mean(0) for t in texts]).mean(0)

    expected = mean(GOOD) - mean(BAD)
    got = mean_difference(any_model, GOOD, BAD, PRE)
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(mean_difference(any_model, BAD, GOOD, PRE), -got)


def test_contrastive_pairs_compare_last_tokens(any_model):
    pairs = [
        resid(any_model, p)[-1] - resid(any_model, n)[-1]
        for p, n in zip(GOOD[:2], BAD, strict=True)
    ]
    got = contrastive_pairs(any_model, GOOD[:2], BAD, PRE)
    torch.testing.assert_close(got, torch.stack(pairs).mean(0), atol=1e-4, rtol=1e-4)


def test_a_persona_direction_changes_sign_with_the_personas(any_model):
    statements = ["The movie was", "The food was", "The room and the garden"]
    one = persona_direction(any_model, statements, "warm: ", "cold: ", PRE)
    other = persona_direction(any_model, statements, "cold: ", "warm: ", PRE)
    torch.testing.assert_close(one, -other, atol=1e-3, rtol=1e-3)
    differences = torch.stack(
        [
            resid(any_model, "warm: " + s)[-1] - resid(any_model, "cold: " + s)[-1]
            for s in statements
        ]
    )
    assert (differences.mean(0) @ one) > 0
    # No other direction explains more of the differences.
    explained = (differences @ one / one.norm()).square().sum()
    top = torch.linalg.matrix_norm(differences, 2).square()
    torch.testing.assert_close(explained, top, rtol=1e-3, atol=1e-3)


@given(st.integers(1, 20), st.integers(0, 1000), st.floats(0.01, 100))
@settings(max_examples=30, deadline=None)
def test_random_directions_have_the_norm_asked_for_and_their_seed(n, seed, scale):
    like = scale * torch.ones(16)
    draws = random_directions(n, like, seed)
    assert draws.shape == (n, 16)
    torch.testing.assert_close(draws.norm(dim=1), like.norm().expand(n))
    assert torch.equal(draws, random_directions(n, like, seed))
    assert not torch.equal(draws, random_directions(n, like, seed + 1))


def test_random_directions_are_isotropic():
    draws = random_directions(20_000, torch.ones(4), seed=0)
    covariance = draws.T @ draws / len(draws)
    torch.testing.assert_close(covariance, torch.eye(4), atol=0.05, rtol=0)


def test_shuffled_labels_stay_in_the_cloud_of_the_texts(any_model):
    good = collect(any_model, GOOD, PRE).mean_per_document(PRE)
    bad = collect(any_model, BAD, PRE).mean_per_document(PRE)
    true = mean_difference(any_model, GOOD, BAD, PRE)
    draws = shuffled_label_directions(good, bad, 20, seed=1)
    torch.testing.assert_close(draws.norm(dim=1), true.norm().expand(20), rtol=1e-4, atol=1e-4)
    span = torch.cat([good, bad])
    span = span - span.mean(0)
    projected = draws @ torch.linalg.pinv(span) @ span
    torch.testing.assert_close(projected, draws, atol=1e-2, rtol=1e-2)
    assert torch.equal(draws, shuffled_label_directions(good, bad, 20, seed=1))


def test_bad_input_is_explained(model):
    with pytest.raises(ValueError, match="positive is empty"):
        mean_difference(model, [], BAD, PRE)
    with pytest.raises(TypeError, match="negative is one string"):
        mean_difference(model, GOOD, "bad", PRE)
    with pytest.raises(ValueError, match="Close to it"):
        mean_difference(model, GOOD, BAD, "blocks.1.resid_pre")
    with pytest.raises(ValueError, match="3 positive and 2 negative"):
        contrastive_pairs(model, GOOD, BAD, PRE)
    with pytest.raises(ValueError, match="same prefix"):
        persona_direction(model, GOOD, "a ", "a ", PRE)
    with pytest.raises(ValueError, match="zero, NaN or infinite"):
        random_directions(3, torch.zeros(4), 0)
    with pytest.raises(ValueError, match="at least one"):
        random_directions(0, torch.ones(4), 0)
    with pytest.raises(ValueError, match="do not differ"):
        shuffled_label_directions(torch.ones(2, 4), torch.ones(2, 4), 3, 0)


def test_shuffles_that_balance_exactly_are_drawn_again():
    draws = shuffled_label_directions(torch.ones(2, 4), torch.zeros(2, 4), 10, 0)
    torch.testing.assert_close(draws.norm(dim=1), torch.full((10,), 2.0))
