"""The checks of assignment 02 pass a right function and tell each misconception by its own words."""

from __future__ import annotations

import pytest
import torch
from steerlab import checks
from steerlab.checks.inside import (
    gradients,
    practice_objective,
    shared_memory,
    still_attached,
)

# Right functions, written as a student might; keyword arguments make them wrong in one way.


def right_init(directions, norm, *, dim=1, scale=True, copy=True, encoder=None, bias=0.0):
    rows = directions / directions.norm(dim=dim, keepdim=True)
    rows = rows * norm if scale else rows
    W_enc = rows.T.clone() if copy else rows.T
    return {
        "W_enc": W_enc if encoder is None else encoder(W_enc),
        "b_enc": torch.full_like(directions[:, 0], bias),
        "W_dec": rows,
        "b_dec": torch.zeros_like(directions[0]),
    }


def right_forward(sae, x, *, relu=True, read=True, put_back=True, bias=True):
    pre = (x - sae["b_dec"] * read) @ sae["W_enc"] + sae["b_enc"] * bias
    code = pre.relu() if relu else pre
    return code, code @ sae["W_dec"] + sae["b_dec"] * put_back


def right_loss(x, x_hat, code, W_dec, sparsity, *, norm=lambda W: W.norm(dim=1), reduce=None):
    penalty = code * norm(W_dec)
    penalty = penalty.sum(1) if reduce is None else reduce(penalty)
    return (x - x_hat).square().sum(1).mean() + sparsity * penalty.mean()


def right_schedule(step, n_steps):
    return min(1.0, 5 * step / n_steps), min(1.0, 5 * (n_steps - step) / n_steps)


def right_train(
    sae, x, rows, sparsities, rates, loss, watch, *,
    copy=True, zero=True, keep=True, names=("W_enc", "b_enc", "W_dec", "b_dec"), set_rate=True,
    early=False, detach=True, weights=None,
):  # fmt: skip
    sae = {k: v.clone() if copy else v for k, v in sae.items()}
    for tensor in sae.values():
        tensor.requires_grad_()

    def adam():
        return torch.optim.Adam([sae[name] for name in names], lr=rates[0])

    optimizer = adam()
    for step, chosen in enumerate(rows):
        optimizer = optimizer if keep else adam()
        if early:
            watch(step, sae)
        if set_rate:
            optimizer.param_groups[0]["lr"] = rates[step]
        if zero:
            optimizer.zero_grad()
        loss(sae, x[chosen], (weights or sparsities)[step]).backward()
        optimizer.step()
        if not early:
            watch(step, sae)
    return {k: v.detach() if detach else v for k, v in sae.items()}


def right_scores(x, x_hat, code, losses, **changed):
    fires = code > 0
    scores = {
        "fvu": float((x - x_hat).square().sum() / (x - x.mean(0)).square().sum()),
        "l0": float(fires.sum(1).float().mean()),
        "dead": float((~fires.any(0)).float().mean()),
        "loss_recovered": losses and (losses[2] - losses[1]) / (losses[2] - losses[0]),
    }
    return scores | {name: change(x, x_hat, code, losses) for name, change in changed.items()}


def right_contexts(strengths, documents, tokens, skip, n, *, once=True, silent=False, early=False):
    found, seen = [], set()
    for place in strengths.argsort(descending=True).tolist():
        document = int(documents[place])
        if (strengths[place] <= 0 and not silent) or (once and document in seen):
            continue
        if early:
            seen.add(document)
        if int(tokens[place]) in skip:
            continue
        found.append(place)
        seen.add(document)
    return found[:n]


RIGHT = {
    checks.check_init_sae: right_init,
    checks.check_forward: right_forward,
    checks.check_sae_loss: right_loss,
    checks.check_schedule: right_schedule,
    checks.check_train_sae: right_train,
    checks.check_sae_scores: right_scores,
    checks.check_top_contexts: right_contexts,
}


@pytest.mark.parametrize("check", RIGHT)
def test_a_right_function_passes(check, capsys):
    check(RIGHT[check])
    assert capsys.readouterr().out.startswith("✓ ")


@pytest.mark.parametrize("check", RIGHT)
def test_an_unwritten_function_is_no_failure(check, capsys):
    def unwritten(*args, **kwargs):
        raise NotImplementedError("your code here")

    check(unwritten)
    assert "is not written yet" in capsys.readouterr().out


@pytest.mark.parametrize("check", RIGHT)
def test_nothing_at_all_is_a_failure(check):
    with pytest.raises(checks.CheckFailed, match="returns None"):
        check(lambda *args, **kwargs: None)


def changed(function, **how):
    return lambda *args: function(*args, **how)


def diagnosed(check, function, words):
    with pytest.raises(checks.CheckFailed, match=words):
        check(function)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"dim": 0}, "normalise the columns"),
        ({"scale": False}, "norm 1 and not"),
        ({"copy": False}, "makes a view"),
        ({"encoder": lambda W: 2 * W}, "not the transpose"),
        ({"bias": -0.1}, "b_enc should begin at zero"),
    ],
)
def test_init_sae_is_diagnosed(how, words):
    diagnosed(checks.check_init_sae, changed(right_init, **how), words)


def test_init_sae_without_any_division_is_diagnosed():
    def undivided(directions, norm):
        return right_init(directions, norm) | {"W_dec": norm * directions}

    diagnosed(checks.check_init_sae, undivided, "different norms")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"relu": False}, "leave out the ReLU"),
        ({"read": False}, "Ours reads x − b_dec"),
        ({"put_back": False}, "put back by the decoder"),
        ({"bias": False}, "b_enc has no effect"),
    ],
)
def test_forward_is_diagnosed(how, words):
    diagnosed(checks.check_forward, changed(right_forward, **how), words)


def test_forward_in_the_wrong_order_is_diagnosed():
    diagnosed(checks.check_forward, lambda s, x: right_forward(s, x)[::-1], "looks like the recon")


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (changed(right_loss, reduce=lambda p: p.mean(1)), "averaged over the latents"),
        (changed(right_loss, norm=lambda W: torch.ones(len(W))), "norms of the rows of W_dec"),
        (changed(right_loss, norm=lambda W: W.square().sum(1)), "squared norms"),
        (changed(right_loss, reduce=lambda p: p.sum()), "summed over the tokens"),
        (changed(right_loss, norm=lambda W: W.norm(dim=1).detach()), "no gradient reaches W_dec"),
        (
            lambda x, y, f, W, s: right_loss(x, y, f, W, s) - (x - y).square().mean(1).mean(),
            "averaged over d_model",
        ),
        (lambda x, y, f, W, s: (x - y).square().sum(), "summed over the tokens"),
        (lambda x, y, f, W, s: (x - y).square().sum(1).mean(), "the code costs nothing"),
        (lambda *args: right_loss(*args).item(), "has no gradient"),
        (lambda x, *rest: right_loss(x, *rest).expand(len(x)), "it is one number"),
    ],
)
def test_sae_loss_is_diagnosed(wrong, words):
    diagnosed(checks.check_sae_loss, wrong, words)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda t, n: right_schedule(t, n)[::-1], "swapped"),
        (lambda t, n: (min(1.0, 5 * (t + 1) / n), right_schedule(t, n)[1]), "a step ahead"),
        (lambda t, n: (5 * t / n, right_schedule(t, n)[1]), "beyond 1"),
        (lambda t, n: (right_schedule(t, n)[0], min(1.0, 5 * (n - 1 - t) / n)), "is wasted"),
        (lambda t, n: (right_schedule(t, n)[0], 1 - t / n), "the last fifth is 2"),
        (lambda t, n: (1.0, right_schedule(t, n)[1]), "the first fifth is 2"),
        (lambda t, n: right_schedule(t, 10), "of 100 steps"),
        (lambda t, n: right_schedule(t, n)[0], "return two numbers"),
    ],
)
def test_schedule_is_diagnosed(wrong, words):
    diagnosed(checks.check_schedule, wrong, words)


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"copy": False}, "has changed"),
        ({"zero": False}, "old gradients"),
        ({"keep": False}, "forgets the first step"),
        ({"names": ("W_enc", "W_dec")}, "b_enc does not move"),
        ({"set_rate": False}, "moves all the same"),
        ({"early": True}, "does not move|after each step"),
        ({"detach": False}, "still carries gradients"),
        ({"weights": [2.0, 2.0, 2.0]}, "step t takes sparsities"),
    ],
)
def test_train_sae_is_diagnosed(how, words):
    diagnosed(checks.check_train_sae, changed(right_train, **how), words)


def test_train_sae_on_other_batches_is_diagnosed():
    def in_order(sae, x, rows, *rest):
        return right_train(sae, x, torch.arange(6).reshape(3, 2), *rest)

    diagnosed(checks.check_train_sae, in_order, "is not x.rows")


@pytest.mark.parametrize(
    ("name", "wrong", "words"),
    [
        ("fvu", lambda x, y, f, c: float((x - y).square().sum() / x.square().sum()), "not centred"),
        (
            "fvu",
            lambda x, y, f, c: float(
                ((x - y).square().sum(1) / (x - x.mean(0)).square().sum(1)).mean()
            ),
            "token by token",
        ),
        ("fvu", lambda x, y, f, c: 28 / 34, r"share that \*is\* explained"),
        ("l0", lambda x, y, f, c: float((f > 0).float().mean()), "not a share"),
        ("l0", lambda x, y, f, c: int((f > 0).sum()), "summed over the tokens"),
        ("l0", lambda x, y, f, c: float(f.sum(1).mean()), "add up activations"),
        ("dead", lambda x, y, f, c: float((f.mean(0) < 1e-2).float().mean()), "weakly, or seldom"),
        ("dead", lambda x, y, f, c: int((f == 0).all(0).sum()), "given as a number"),
        ("dead", lambda x, y, f, c: float((f > 0).any(0).float().mean()), "that is alive"),
        ("loss_recovered", lambda x, y, f, c: c and (c[1] - c[0]) / (c[2] - c[0]), "lost"),
        ("loss_recovered", lambda x, y, f, c: c and (c[2] - c[0]) / (c[2] - c[1]), "upside down"),
        ("loss_recovered", lambda x, y, f, c: 0.75, "None then"),
        ("l0", lambda x, y, f, c: (f > 0).float().sum(1).mean(), "plain number"),
    ],
)
def test_sae_scores_are_diagnosed(name, wrong, words):
    diagnosed(checks.check_sae_scores, changed(right_scores, **{name: wrong}), words)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (changed(right_contexts, once=False), "belong to the same text"),
        (changed(right_contexts, early=True), "drops out"),
        (changed(right_contexts, silent=True), "activation 0"),
        (lambda s, d, t, skip, n: right_contexts(s, d, t, [], n), "is to be skipped"),
        (lambda s, *rest: s[right_contexts(s, *rest)].tolist(), "plain whole numbers"),
        (lambda *args: right_contexts(*args)[::-1], "three strongest"),
    ],
)
def test_top_contexts_are_diagnosed(wrong, words):
    diagnosed(checks.check_top_contexts, wrong, words)


# ------------------------------------------------------------------------- looking from inside


def test_gradients_reach_into_dicts_and_are_zero_where_they_are_cut_off():
    sae, x = {"a": torch.tensor(2.0), "b": torch.tensor(3.0)}, torch.tensor(5.0)

    def function(sae, x):
        return sae["a"] * x, sae["b"].detach() * 2

    assert [float(g) for g in gradients(function, sae, x)] == [5.0, 0.0, 2.0]
    assert [float(g) for g in gradients(lambda sae, x: 1.0, sae, x)] == [0.0, 0.0, 0.0]


def test_shared_memory_is_seen_through_views():
    W = torch.ones(2, 3)
    assert shared_memory(lambda: {"a": W, "b": W.T, "c": W.clone()}) == [["a", "b"]]


def test_tensors_that_still_require_gradients_are_named():
    W = torch.ones(2, requires_grad=True)
    assert still_attached(lambda: {"a": W, "b": W.detach(), "c": 2 * W}) == ["a", "c"]


def test_the_practice_objective_feels_every_tensor_the_batch_and_the_sparsity():
    sae = {
        "W_enc": torch.ones(2, 3),
        "b_enc": torch.zeros(3),
        "W_dec": torch.ones(3, 2),
        "b_dec": torch.zeros(2),
    }
    batch = torch.tensor([[1.0, 3.0]])
    found = gradients(practice_objective, sae, batch, 0.5)
    assert all(bool(gradient.any()) for gradient in found)
    assert practice_objective(sae, batch, 0.5) != practice_objective(sae, batch, 1.0)
