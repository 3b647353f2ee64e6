"""The arithmetic behind `python -m benchmarks.embedded_model`, on cases small enough to know."""

import pytest
import torch

pytest.importorskip("benchmarks", reason="benchmarks/ is not in the installed package")
pytest.importorskip("sklearn")

from steerlab.sae import SAE, ClampFeatures

from benchmarks.embedded_probes import ClampControl, Row, SideBySide, rank_p


def test_a_clamp_s_control_takes_steps_of_the_same_length():
    g = torch.Generator().manual_seed(1)
    rows = torch.randn(32, 16, generator=g)
    sae = SAE(rows.T, torch.zeros(32), rows, torch.zeros(16), activation="topk", k=4)
    x = torch.randn(3, 4, 16, generator=g)
    clamp = ClampFeatures(sae, {5: 3.0})
    control = ClampControl(clamp, torch.ones(16))
    assert torch.allclose((clamp(x) - x).norm(dim=-1), (control(x) - x).norm(dim=-1), atol=1e-4)


def test_interventions_side_by_side_each_see_their_own_rows():
    resid = torch.arange(6.0).reshape(6, 1, 1)
    both = SideBySide([lambda x: x + 100, None, lambda x: -x])
    assert both(resid).flatten().tolist() == [100, 101, 2, 3, -4, -5]


def test_rank_p_is_two_sided_and_never_zero():
    assert rank_p(-3.0, [1.0, -2.0, 2.5]) == pytest.approx(1 / 4)
    assert rank_p(2.0, [1.0, -2.0, 2.5]) == pytest.approx(3 / 4)


def test_a_row_meets_its_threshold_or_not():
    assert Row("a", 0.03, "<= 0.03").ok
    assert not Row("a", 0.031, "<= 0.03").ok
    assert Row("b", 12, ">= 12").ok
    assert not Row("c", None, ">= 0").ok
