"""Planted features: known directions, sums of a few of them, reproducible."""

from __future__ import annotations

import math

import pytest
import torch
from steerlab.data import planted_features


def test_vectors_are_sums_of_the_planted_directions():
    planted = planted_features(500, d_model=10, n_features=30, rate=0.1)
    torch.testing.assert_close(planted.x, planted.activations @ planted.directions)
    torch.testing.assert_close(planted.directions.norm(dim=1), torch.ones(30))
    assert float(planted.x.norm(dim=1).mean()) == pytest.approx(math.sqrt(10), rel=1e-4)
    assert float((planted.activations > 0).float().mean()) == pytest.approx(0.1, abs=0.01)


def test_another_draw_keeps_the_directions():
    first, again, other = (planted_features(50, seed=3, draw=d) for d in (0, 0, 1))
    assert torch.equal(first.x, again.x)
    assert torch.equal(first.directions, other.directions)
    assert not torch.equal(first.x, other.x)


@pytest.mark.parametrize("wrong", [{"n": 0}, {"n": 5, "rate": 0.0}, {"n": 5, "d_model": 0}])
def test_impossible_sizes_are_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        planted_features(**wrong)
