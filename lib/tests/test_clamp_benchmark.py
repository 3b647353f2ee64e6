"""`python -m benchmarks.clamp` on sizes that take no time: what it reports, and what it refuses."""

from __future__ import annotations

import json

import pytest
import torch
from steerlab.sae import ClampFeatures

from benchmarks import clamp


@pytest.fixture(scope="module")
def small():
    return clamp.wide(3, 3, d_model=64, d_sae=512, n_layers=2)


def test_all_three_ways_are_timed_in_turns(small):
    said = []
    timing = clamp.measure(small, said.append)
    assert set(timing.tokens_per_second) == set(clamp.WAYS)
    assert all(rate > 0 for rate in timing.tokens_per_second.values())
    assert timing.steered_over_unsteered > 0
    assert timing.over_textbook > 0
    assert "random weights" in said[0]


def test_the_textbook_form_makes_the_same_step(small):
    x = torch.randn(1, 5, 64, generator=torch.Generator().manual_seed(3))
    expected = ClampFeatures(small.sae, small.values)(x)
    got = clamp.TextbookClamp(small.sae, small.values)(x)
    torch.testing.assert_close(got, expected, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(got, x)


def test_forms_that_differ_are_not_compared(small, monkeypatch):
    monkeypatch.setattr(clamp.TextbookClamp, "__call__", lambda self, resid: resid + 1.0)
    with pytest.raises(RuntimeError, match="differ"):
        clamp.measure(small, lambda line: None)


def test_the_last_line_is_one_json_object_with_both_ratios(small, monkeypatch, capsys):
    monkeypatch.setattr(clamp, "embedded", lambda *given: small)
    monkeypatch.setattr(clamp, "wide", lambda *given: small)
    clamp.main(["--quick"])
    lines = capsys.readouterr().out.splitlines()
    report = json.loads(lines[-1])
    for row in (report, report["embedded"], report["wide"]):
        assert row["steered_over_unsteered"] > 0
        assert row["over_textbook"] > 0
    assert any("ok" in line or "MISSED" in line for line in lines[:-1])
