"""The benchmark of sparse steering solves one set of problems both ways, and compares fairly."""

from __future__ import annotations

import pytest
import torch
from steerlab.sparse import SparseSolver

from benchmarks import sparse


@pytest.fixture(scope="module")
def setting():
    g = torch.Generator().manual_seed(0)
    W_dec = torch.randn(300, 12, generator=g) * (0.5 + torch.rand(300, 1, generator=g))
    directions = torch.linalg.qr(torch.randn(12, 3, generator=g)).Q.T.contiguous()
    missing = torch.randn(2, 3, generator=g).abs() + 0.2
    return sparse.Setting("small", W_dec, directions, missing, torch.rand(2, 300, generator=g))


def test_the_prefilter_keeps_half_by_activity_and_half_by_cosine(setting, monkeypatch):
    monkeypatch.setattr(sparse, "PREFILTER", 40)
    kept = sparse.prefiltered(setting, 1)
    assert 20 <= len(kept) <= 40
    assert set(setting.activations[1].topk(20).indices.tolist()) <= set(kept.tolist())
    unit = setting.W_dec / setting.W_dec.norm(dim=1, keepdim=True)
    best = (unit @ setting.directions.T).abs().max(1).values.topk(20).indices
    assert set(best.tolist()) <= set(kept.tolist())


def test_without_a_prefilter_both_find_one_optimum(setting):
    answer = SparseSolver(setting.W_dec, setting.directions).socp(setting.missing[0])
    found = sparse.run_baseline(setting, 0, answer.epsilon, tolerance=1e-8)
    assert found.violation <= sparse.VIOLATION
    assert found.objective == pytest.approx(answer.objective, rel=1e-4)
    assert 0 < found.solver_seconds < found.seconds
    assert sparse.exact_prefilter(setting, 0, answer.epsilon).objective == pytest.approx(
        answer.objective, rel=1e-6
    )


def test_a_comparison_counts_where_the_prefilter_is_worse(setting, monkeypatch, capsys):
    monkeypatch.setattr(sparse, "PREFILTER", 16)
    result = sparse.compare(setting)
    assert result["n"] == 2
    assert result["max_gap"] <= 1e-6
    assert result["never_worse"]
    assert result["worse"] == 2
    assert all(over > 0 for over in result["excess"])
    assert result["speedup"] < result["speedup_with_cvxpy"]
    assert capsys.readouterr().out.count("prompt ") == 2


def test_an_answer_that_another_beats_would_be_seen(setting, monkeypatch):
    """The comparison can fail: a baseline with a lower objective makes it say so."""
    cheap = sparse.Baseline(1.0, 1.0, 1e-3, 0.0)
    monkeypatch.setattr(sparse, "run_baseline", lambda *_, **__: cheap)
    assert not sparse.compare(setting)["never_worse"]


def test_the_planted_dictionary_has_features_close_to_their_concepts(monkeypatch):
    monkeypatch.setattr(sparse, "FEATURES", 600)
    monkeypatch.setattr(sparse, "D_MODEL", 64)
    made = sparse.planted(2)
    cosines = made.W_dec @ made.W_dec.T - 2 * torch.eye(600)
    spread = sparse.random_rows(2)
    apart = spread.W_dec @ spread.W_dec.T - 2 * torch.eye(600)
    assert cosines.max(1).values.median() > apart.max(1).values.median() + 0.1
    torch.testing.assert_close(made.directions @ made.directions.T, torch.eye(5), atol=1e-5, rtol=0)
    assert made.missing.shape == (2, 5)
    assert (made.missing.clamp(min=0).norm(dim=1) > 0).all()
