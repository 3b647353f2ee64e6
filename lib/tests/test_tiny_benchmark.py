"""The arithmetic behind `python -m benchmarks.embedded_model`, on cases small enough to know."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("benchmarks", reason="benchmarks/ is not in the installed package")
pytest.importorskip("sklearn")

from benchmarks.embedded_probes import Row, SideBySide, aurocs, rank_p
from benchmarks.embedded_saes import (
    SAE,
    Clamp,
    ClampControl,
    score_sae,
    train_sae,
)


@pytest.fixture(scope="module")
def planted():
    """Residuals that are sparse sums of 24 known directions in 16 dimensions, off centre."""
    generator = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(24, 16, generator=generator), dim=1)
    active = torch.rand(6000, 24, generator=generator) < 0.08
    return (active * torch.rand(6000, 24, generator=generator)) @ directions * 5 + 1


@pytest.mark.parametrize(("kind", "sparsity"), [("topk", 0.0), ("relu", 0.3), ("jumprelu", 0.1)])
def test_every_kind_of_sae_learns_planted_directions(planted, kind, sparsity):
    sae, _ = train_sae(kind, planted, steps=300, sparsity=sparsity, batch=512)
    before = score_sae(SAE(kind, planted), planted[:2000]).fvu
    after = score_sae(sae, planted[:2000])
    assert after.fvu < 0.3 < before
    assert 0 < after.l0 < sae.W_dec.shape[0] / 2


@settings(max_examples=20, deadline=None)
@given(alpha=st.floats(0, 10), latent=st.integers(0, 127))
def test_the_clamp_equals_encode_set_decode_and_add_the_error(planted, alpha, latent):
    torch.manual_seed(1)
    sae = SAE("relu", planted).requires_grad_(False)
    x = planted[:12].reshape(3, 4, 16)
    features = sae.encode(x)
    error = x - sae.decode(features)
    features[..., latent] = alpha
    assert torch.allclose(Clamp(sae, latent, alpha)(x), sae.decode(features) + error, atol=1e-4)


def test_a_clamp_s_control_takes_steps_of_the_same_length(planted):
    torch.manual_seed(1)
    sae = SAE("topk", planted).requires_grad_(False)
    x = planted[:12].reshape(3, 4, 16)
    clamp = Clamp(sae, 5, 3.0)
    control = ClampControl(clamp, torch.ones(16))
    assert torch.allclose((clamp(x) - x).norm(dim=-1), (control(x) - x).norm(dim=-1), atol=1e-4)


def test_area_under_the_curve_counts_pairs_in_order():
    scores = torch.tensor([[0.1], [0.4], [0.4], [0.9]])
    labels = torch.tensor([0, 0, 1, 1])
    # Of the four pairs (one from each class) three are in order and one is tied.
    assert aurocs(scores, labels, 2)[1].item() == pytest.approx(3.5 / 4)
    assert aurocs(scores, labels, 2)[0].item() == pytest.approx(0.5 / 4)


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
