"""Training: every kind learns, the fast step is the dense step, schedules do what they say."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from steerlab.sae import SAE, Recipe, evaluate_sae, recovery, train_sae
from steerlab.sae.dictionary import Dictionary
from steerlab.sae.training import Trainer
from torch.nn import functional as F

D = 16


@pytest.fixture(scope="module")
def planted():
    """Residuals that are sparse sums of 24 known directions in 16 dimensions, off centre."""
    g = torch.Generator().manual_seed(0)
    directions = F.normalize(torch.randn(24, D, generator=g), dim=1)
    active = torch.rand(6000, 24, generator=g) < 0.08
    x = (active * (0.3 + torch.rand(6000, 24, generator=g))) @ directions * 5 + 1
    return x, directions


RECIPES = [
    Recipe("topk", 128, 300, k=4),
    Recipe("relu", 128, 300, sparsity=0.3),
    Recipe("jumprelu", 128, 300, sparsity=0.1),
]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda r: r.activation)
def test_every_kind_learns_and_is_folded_for_unscaled_residuals(planted, recipe):
    x, directions = planted
    trained = train_sae(x, recipe, hook_name="blocks.1.hook_resid_pre", model_name="m")
    scores = evaluate_sae(trained.sae, x[:2000])
    assert scores.fvu < 0.3
    assert 0 < scores.l0 < 64
    assert trained.sae.hook_name == "blocks.1.hook_resid_pre"
    assert trained.history[-1].fvu < trained.history[0].fvu
    assert trained.history[-1].step == recipe.steps - 1
    # The planted directions are found, where an untrained dictionary has them by chance only.
    chance = recovery(torch.randn(128, D, generator=torch.Generator().manual_seed(1)), directions)
    found = recovery(trained.sae.W_dec, directions)
    assert found.mean() > chance.mean() + 0.1


def test_equal_seeds_give_equal_weights_and_others_do_not(planted):
    x, _ = planted
    recipe = Recipe("topk", 64, 20, k=4)
    one, two = (train_sae(x, recipe).sae for _ in range(2))
    other = train_sae(x, Recipe("topk", 64, 20, k=4, seed=1)).sae
    assert torch.equal(one.W_dec, two.W_dec)
    assert not torch.equal(one.W_dec, other.W_dec)


def dense_topk_loss(p, x, k, dead, revival):
    """The same loss by plain autograd over whole codes."""
    pre = (x - p["b_dec"]) @ p["encoder"].T + p["b_enc"]
    top = pre.topk(k, dim=1)
    code = torch.zeros_like(pre).scatter(1, top.indices, top.values.relu())
    error = x - code @ p["decoder"] - p["b_dec"]
    loss = error.square().sum(1).mean()
    if dead.any():
        asleep = pre.masked_fill(~dead, -torch.inf).topk(min(2 * k, int(dead.sum())), dim=1)
        guess = torch.zeros_like(pre).scatter(1, asleep.indices, asleep.values.relu())
        loss = loss + revival * (error.detach() - guess @ p["decoder"]).square().sum(1).mean()
    return loss, (code > 0).any(0)


def test_a_hundred_fast_steps_equal_dense_autograd_with_adam(planted):
    x, _ = planted
    # Few tokens a step and a short patience, so that latents die and are revived in between.
    recipe = Recipe("topk", 256, 100, k=3, batch_size=64, silent_steps=5, learning_rate=1e-3)
    scale = math.sqrt(D) / float(x.norm(dim=1).mean())
    trainer = Trainer(recipe, D, scale, x.mean(0) * scale)
    p = {
        name: value.detach().clone().requires_grad_()
        for name, value in trainer.dictionary.named_parameters()
    }
    adam = torch.optim.Adam(p.values(), lr=recipe.learning_rate)
    silent = torch.zeros(256)
    draws = torch.Generator().manual_seed(3)
    revived = 0
    for step in range(100):
        batch = x[torch.randint(len(x), (64,), generator=draws)] * scale
        dead = silent > recipe.silent_steps
        revived += int(dead.sum())
        loss, fired = dense_topk_loss(p, batch, 3, dead, recipe.revival)
        adam.param_groups[0]["lr"] = recipe.learning_rate_at(step)
        adam.zero_grad()
        loss.backward()
        adam.step()
        silent = torch.where(fired, torch.zeros(()), silent + 1)
        trainer.step(batch)
    assert revived > 0
    for name, value in trainer.dictionary.named_parameters():
        torch.testing.assert_close(value.detach(), p[name].detach(), atol=1e-5, rtol=1e-5)
    assert torch.equal(trainer.silent, silent.long())


@given(seed=st.integers(0, 1000), k=st.integers(1, 8))
@settings(max_examples=20, deadline=None)
def test_handwritten_gradients_are_those_of_autograd(seed, k):
    g = torch.Generator().manual_seed(seed)
    dictionary = Dictionary(Recipe("topk", 32, k=k), 8, g, torch.randn(8, generator=g)).double()
    x = torch.randn(12, 8, generator=g, dtype=torch.float64)
    dead = torch.rand(32, generator=g) < 0.5
    loss, *_ = dictionary(x, 0.0, dead)
    names, parameters = zip(*dictionary.named_parameters(), strict=True)
    fast = torch.autograd.grad(loss, parameters)
    slow_loss, _ = dense_topk_loss(dict(zip(names, parameters, strict=True)), x, k, dead, 1 / 32)
    slow = torch.autograd.grad(slow_loss, parameters)
    torch.testing.assert_close(loss, slow_loss)
    for one, other in zip(fast, slow, strict=True):
        torch.testing.assert_close(one, other, atol=1e-10, rtol=1e-8)


def test_the_relu_loss_weighs_each_activation_by_its_decoder_norm():
    g = torch.Generator().manual_seed(0)
    dictionary = Dictionary(Recipe("relu", 32), 8, g, torch.randn(8, generator=g))
    with torch.no_grad():
        dictionary.decoder.mul_(torch.rand(32, 1, generator=g) * 3)
        dictionary.b_enc.copy_(torch.randn(32, generator=g))
    x = torch.randn(50, 8, generator=g)
    loss, *_ = dictionary(x, 0.7, None)
    sae = dictionary.frozen()
    code = sae.encode(x)
    norms = sae.W_dec.norm(dim=1)
    expected = (x - sae.decode(code)).square().sum(1) + 0.7 * (code * norms).sum(1)
    torch.testing.assert_close(loss.detach(), expected.mean())
    # Rescaling a latent against its decoder row changes nothing.
    factor = torch.rand(32, 1, generator=g) + 0.5
    with torch.no_grad():
        dictionary.encoder.mul_(factor)
        dictionary.b_enc.mul_(factor[:, 0])
        dictionary.decoder.div_(factor)
    torch.testing.assert_close(dictionary(x, 0.7, None)[0].detach(), loss.detach())


def test_jumprelu_s_penalty_counts_latents_and_moves_thresholds_only_near_them():
    g = torch.Generator().manual_seed(0)
    dictionary = Dictionary(Recipe("jumprelu", 32, threshold=0.5, bandwidth=0.2), 8, g)
    x = torch.randn(40, 8, generator=g)
    without, with_penalty = (dictionary(x, weight, None)[0] for weight in (0.0, 2.0))
    l0 = (dictionary.frozen().encode(x) > 0).float().sum(1).mean()
    torch.testing.assert_close((with_penalty - without).detach(), 2 * l0)
    pre = x @ dictionary.encoder.detach().T
    near = ((pre - 0.5).abs() < 0.1).sum(0)
    [grad] = torch.autograd.grad(with_penalty - without, [dictionary.log_threshold])
    expected = -2.0 * near / 0.2 / len(x) * 0.5  # d θ / d log θ = θ
    torch.testing.assert_close(grad, expected, atol=1e-5, rtol=1e-4)


def test_sparsity_warms_up_and_the_learning_rate_decays():
    recipe = Recipe(steps=100, sparsity=2.0, learning_rate=1e-3)
    assert recipe.sparsity_at(0) == 0
    assert recipe.sparsity_at(10) == pytest.approx(1.0)
    assert recipe.sparsity_at(20) == recipe.sparsity_at(99) == 2.0
    assert recipe.learning_rate_at(0) == recipe.learning_rate_at(80) == 1e-3
    assert recipe.learning_rate_at(90) == pytest.approx(5e-4)
    assert 0 < recipe.learning_rate_at(99) <= 1e-4
    assert Recipe(warm_up=0.0).sparsity_at(0) == Recipe().sparsity


@pytest.mark.parametrize("activation", ["relu", "topk", "jumprelu"])
def test_long_gradients_are_shortened_and_short_ones_left(planted, activation):
    x = planted[0][:64]
    trainers = [
        Trainer(Recipe(activation, 32, 10, k=4, max_gradient_norm=norm), D, 1.0)
        for norm in (None, 1e-3, 1e9)
    ]
    for trainer in trainers:
        trainer.step(x)
    free, short, left = (
        torch.cat([p.grad.flatten() for p in trainer.dictionary.parameters()])
        for trainer in trainers
    )
    assert float(short.norm()) == pytest.approx(1e-3, rel=1e-3)
    torch.testing.assert_close(short / short.norm(), free / free.norm(), atol=1e-6, rtol=1e-3)
    assert torch.equal(left, free)


def test_resampling_gives_dead_latents_a_direction_and_adam_a_fresh_start(planted):
    x, _ = planted
    recipe = Recipe("relu", 64, 40, resample_every=10, sparsity=0.1)
    scale = math.sqrt(D) / float(x.norm(dim=1).mean())
    trainer = Trainer(recipe, D, scale, x.mean(0) * scale)
    with torch.no_grad():
        trainer.dictionary.b_enc[:20] = -100  # dead by construction
    before = trainer.dictionary.decoder.detach().clone()
    for step in range(10):
        trainer.step(x[step * 64 : (step + 1) * 64] * scale)
    living = trainer.dictionary.encoder[20:].norm(dim=1).mean()
    assert (trainer.dictionary.b_enc[:20] == 0).all()
    torch.testing.assert_close(trainer.dictionary.decoder[:20].norm(dim=1), torch.ones(20))
    torch.testing.assert_close(
        trainer.dictionary.encoder[:20].norm(dim=1), (0.2 * living).expand(20), rtol=0.2, atol=0.0
    )
    assert not torch.allclose(trainer.dictionary.decoder[:20], before[:20])
    for parameter in (trainer.dictionary.encoder, trainer.dictionary.b_enc):
        assert (trainer.optimizer.state[parameter]["exp_avg"][:20] == 0).all()
        assert trainer.optimizer.state[parameter]["exp_avg_sq"][20:].any()


def test_without_being_asked_nothing_is_resampled(planted, monkeypatch):
    monkeypatch.setattr(Trainer, "_resample", lambda *_: pytest.fail("resampled"))
    train_sae(planted[0], Recipe("relu", 32, 15))


def test_bad_input_is_explained(planted):
    x, _ = planted
    with pytest.raises(ValueError, match=r"x has shape \[0, 16\]; expected \[token, d_model\]"):
        train_sae(x[:0])
    broken = x.clone()
    broken[5, 3] = torch.nan
    with pytest.raises(
        ValueError, match=r"NaN or infinite values in 1 of 6000 rows \(first: row 5\)"
    ):
        train_sae(broken)
    with pytest.raises(TypeError, match="expected a float tensor"):
        train_sae(torch.zeros(4, 4, dtype=torch.long))
    with pytest.raises(ValueError, match="zero everywhere"):
        train_sae(torch.zeros(4, 4))
    for changes, message in [
        ({"activation": "gelu"}, "relu, topk or jumprelu"),
        ({"steps": 0}, "steps is 0"),
        ({"activation": "topk", "k": 5000}, "at most d_sae"),
        ({"learning_rate": 0.0}, "learning_rate is 0"),
        ({"warm_up": 1.5}, "share of all steps"),
        ({"sparsity": -1.0}, "sparsity is -1"),
        ({"resample_every": 0}, "resample_every is 0"),
        ({"max_gradient_norm": 0.0}, "max_gradient_norm is 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            Recipe(**changes)


def test_the_frozen_dictionary_is_an_sae(planted):
    dictionary = Dictionary(Recipe("topk", 32, k=4), D, torch.Generator().manual_seed(0))
    sae = dictionary.frozen()
    assert isinstance(sae, SAE)
    torch.testing.assert_close(sae.W_enc, sae.W_dec.T)
    torch.testing.assert_close(sae.W_dec.norm(dim=1), torch.ones(32))
    assert not any(parameter.requires_grad for parameter in sae.parameters())
