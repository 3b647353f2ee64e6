"""The checks of assignment 02_toy_sae."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from steerlab.checks.diagnosis import (
    CheckFailed,
    check_of,
    expect,
    expect_pair,
    expect_tensor,
    same,
)
from steerlab.checks.inside import gradients, shared_memory

NAMES = ("W_enc", "b_enc", "W_dec", "b_dec")


def expect_sae(value: object, d_model: int, d_sae: int) -> dict[str, Tensor]:
    """`value` as the four tensors of an autoencoder, or a diagnosis."""
    expect(value is not None, "it returns None. Is the `return` missing?")
    if not isinstance(value, Mapping) or set(value) != set(NAMES):
        shown = sorted(map(str, value)) if isinstance(value, Mapping) else type(value).__name__
        raise CheckFailed(f"return a dict with the names {', '.join(NAMES)}; got {shown}.")
    shapes = {
        "W_enc": ((d_model, d_sae), "d_model, d_sae"),
        "b_enc": ((d_sae,), "d_sae"),
        "W_dec": ((d_sae, d_model), "d_sae, d_model"),
        "b_dec": ((d_model,), "d_model"),
    }
    for name, (shape, dims) in shapes.items():
        try:
            expect_tensor(value[name], shape, dims)
        except CheckFailed as failure:
            raise CheckFailed(f"{name}: {failure}") from None
    return dict(value)


@check_of("init_sae")
def check_init_sae(function: Callable[..., Any]) -> str:
    """Diagnose `init_sae(directions, norm)` on three directions of width 2."""
    directions, norm = torch.tensor([[3.0, 4.0], [0.0, 2.0], [-1.0, 0.0]]), 0.5
    given = directions.clone()
    sae = expect_sae(function(directions, norm), 2, 3)
    expect(torch.equal(directions, given), "it changes `directions` in place: make a new tensor.")
    for name in ("b_enc", "b_dec"):
        expect(not sae[name].any(), f"{name} should begin at zero.")
    W_dec = sae["W_dec"].detach()
    unit = torch.tensor([[0.6, 0.8], [0.0, 1.0], [-1.0, 0.0]])
    expect(
        not same(W_dec, norm * directions / directions.norm(dim=0)),
        "you normalise the columns of W_dec. A latent's direction is a row: the norm runs over "
        "d_model.",
    )
    expect(
        not same(W_dec, norm * directions),
        "the rows of W_dec have different norms. Divide each direction by its own norm first.",
    )
    expect(not same(W_dec, unit), "the rows of W_dec have norm 1 and not `norm`.")
    expect(
        same(W_dec, norm * unit),
        "row i of W_dec is not directions[i] brought to the norm `norm`.",
    )
    expect(
        same(sae["W_enc"], W_dec.T),
        "W_enc is not the transpose of W_dec: column i of it and row i of W_dec start out alike.",
    )
    pairs = shared_memory(function, directions, norm)
    expect(
        not any({"W_enc", "W_dec"} == set(pair) for pair in pairs),
        "W_enc and W_dec lie on the same memory: `.T` makes a view and no copy. An optimizer that "
        "changes one of them would change the other with it. Copy it (`.clone()`).",
    )
    expect(not pairs, "two of your tensors lie on the same memory; each needs its own.")
    return "rows of the given norm, W_enc a copy of the transpose, biases zero."


@check_of("forward")
def check_forward(function: Callable[..., Any]) -> str:
    """Diagnose `forward(sae, x)` on two tokens of width 2 and three latents."""
    sae = {
        "W_enc": torch.tensor([[1.0, -1.0, 0.0], [0.0, 1.0, 2.0]]),
        "b_enc": torch.tensor([0.5, 0.0, -1.0]),
        "W_dec": torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]),
        "b_dec": torch.tensor([1.0, 2.0]),
    }
    x = torch.tensor([[2.0, 4.0], [0.0, 1.0]])
    result = expect_pair(function(sae, x), "code, reconstruction")
    first = result[0]
    expect(
        not (isinstance(first, Tensor) and first.shape == x.shape),
        "what comes first looks like the reconstruction: return (code, reconstruction).",
    )
    code = expect_tensor(first, (2, 3), "token, d_sae")
    expect(not (code < 0).any(), "the code has negative entries. Did you leave out the ReLU?")
    expect(
        not same(code[0], torch.tensor([2.5, 2.0, 7.0])),
        "the code is right for an encoder that reads x. Ours reads x − b_dec.",
    )
    expect(not same(code[0], torch.tensor([1.0, 1.0, 4.0])), "b_enc has no effect on your code.")
    expect(
        same(code, torch.tensor([[1.5, 1.0, 3.0], [0.0, 0.0, 0.0]])),
        "the code is not what the formula gives. For the first token it is [1.5, 1, 3].",
    )
    x_hat = expect_tensor(result[1], (2, 2), "token, d_model")
    expect(
        not same(x_hat, torch.tensor([[4.5, 4.0], [0.0, 0.0]])),
        "b_dec is taken off x before the encoder and has to be put back by the decoder.",
    )
    expect(
        same(x_hat, torch.tensor([[5.5, 6.0], [1.0, 2.0]])),
        "the code is right and the reconstruction is not: it is code · W_dec + b_dec.",
    )
    one = function(sae, x[:1])
    expect(
        same(one[0], code[:1]) and same(one[1], x_hat[:1]),
        "a token gets another code when it stands alone: tokens have nothing to do with each other.",
    )
    return "x − b_dec in, ReLU, b_dec back on, every token by itself."


@check_of("sae_loss")
def check_sae_loss(function: Callable[..., Any]) -> str:
    """Diagnose `sae_loss(x, x_hat, code, W_dec, sparsity)` on two tokens and three latents."""
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    x_hat = torch.tensor([[0.0, 0.0], [3.0, 6.0]])
    code = torch.tensor([[1.0, 0.0, 2.0], [0.0, 3.0, 0.0]])
    W_dec = torch.tensor([[3.0, 4.0], [1.0, 0.0], [0.0, 2.0]])

    def value(sparsity: float) -> float:
        got = function(x, x_hat, code, W_dec, sparsity)
        expect(got is not None, "it returns None. Is the `return` missing?")
        if not isinstance(got, Tensor):
            raise CheckFailed(
                f"it returns a {type(got).__name__}: a number has no gradient. Return the tensor."
            )
        expect(
            got.ndim == 0,
            f"the loss has shape {list(got.shape)}; it is one number, the mean over the tokens.",
        )
        return float(got)

    error = value(0.0)
    diagnoses = {
        9.0: "the squared error is summed over the tokens: average over them, or the loss grows "
        "with the batch.",
        2.25: "the squared error is averaged over d_model. Sum over d_model, and average over the "
        "tokens only.",
        (5**0.5 + 2) / 2: "you take the norm of the error; the loss asks for its square.",
        1.5: "you take absolute errors; the loss asks for squares.",
    }
    for wrong, diagnosis in diagnoses.items():
        expect(not math.isclose(error, wrong, rel_tol=1e-4), f"with sparsity 0, {diagnosis}")
    expect(
        math.isclose(error, 4.5, rel_tol=1e-4),
        f"with sparsity 0 the loss is {error:.3g}; the squared errors of the two tokens are 5 "
        "and 4.",
    )
    penalty = 2 * (value(0.5) - error)
    diagnoses = {
        0.0: "the code costs nothing: `sparsity` has no effect.",
        3.0: "the norms of the rows of W_dec have no effect. An activation of 1 on a row of norm "
        "5 adds five times as much to the reconstruction as on a row of norm 1, and pays five "
        "times as much.",
        2.0: "the penalty is averaged over the latents. It is summed over them: with 1,000 "
        "latents, an average is a thousand times weaker than what `sparsity` says.",
        1.0: "the penalty is averaged over the latents, and the norms of W_dec are left out.",
        12.0: "the penalty is summed over the tokens: average over them.",
        18.0: "you weigh by the squared norms of W_dec's rows; the loss asks for the norms.",
    }
    for wrong, diagnosis in diagnoses.items():
        expect(not math.isclose(penalty, wrong, rel_tol=1e-4, abs_tol=1e-6), diagnosis)
    expect(
        math.isclose(penalty, 6.0, rel_tol=1e-4),
        f"the penalty is {penalty:.3g} times sparsity. For the first token Σ f ‖W_dec‖ is "
        "1·5 + 2·2 = 9, for the second 3·1 = 3.",
    )
    _, to_x_hat, to_code, to_W_dec = gradients(function, x, x_hat, code, W_dec, 0.5)
    for name, gradient in (("x_hat", to_x_hat), ("code", to_code), ("W_dec", to_W_dec)):
        expect(
            gradient.any(),
            f"the value is right, but no gradient reaches {name}. A `.detach()`, `.item()` or "
            "`torch.no_grad()` cuts it off, and training would not feel that part of the loss.",
        )
    return "summed over d_model and over latents, averaged over tokens, weighed by ‖W_dec‖."


@check_of("schedule")
def check_schedule(function: Callable[..., Any]) -> str:
    """Diagnose `schedule(step, n_steps)` on trainings of 10 and of 100 steps."""
    pairs = [function(step, 10) for step in range(10)]
    expect(pairs[0] is not None, "it returns None. Is the `return` missing?")
    expect(
        all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in pairs),
        "return two numbers: the share of λ and the share of the learning rate.",
    )
    warm = [round(float(first), 6) for first, _ in pairs]
    rate = [round(float(second), 6) for _, second in pairs]
    warm_up, decay = [0.0, 0.5] + [1.0] * 8, [1.0] * 9 + [0.5]
    expect(
        not (warm == decay and rate == warm_up),
        "the two shares are swapped: λ comes first.",
    )
    expect(
        warm != [0.5] + [1.0] * 9,
        "your warm-up is a step ahead: at step 0 λ counts nothing yet.",
    )
    expect(max(warm) <= 1, "the share of λ grows beyond 1: it stays there after the warm-up.")
    expect(
        warm == warm_up,
        f"of 10 steps the first fifth is 2: the share of λ should go {_shown(warm_up)}, yours "
        f"goes {_shown(warm)}.",
    )
    expect(
        rate[-1] != 0.0,
        "at the last step your learning rate is 0: the step is wasted. At step t of n there are "
        "n − t steps left, this one included.",
    )
    expect(max(rate) <= 1, "the share of the learning rate is above 1 at first.")
    expect(
        rate == decay,
        f"of 10 steps the last fifth is 2: the share of the learning rate should go "
        f"{_shown(decay)}, yours goes {_shown(rate)}.",
    )
    longer = [tuple(map(float, function(step, 100))) for step in (0, 5, 50, 90)]
    expected = [(0.0, 1.0), (0.25, 1.0), (1.0, 1.0), (1.0, 0.5)]
    expect(
        all(math.isclose(a, b, abs_tol=1e-6) for got, want in zip(longer, expected, strict=True)
            for a, b in zip(got, want, strict=True)),
        f"of 100 steps, at 0, 5, 50 and 90 the pair should be {expected}, yours is {longer}.",
    )  # fmt: skip
    return "λ grows over the first fifth, the learning rate falls over the last."


def _shown(values: list[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


@check_of("train_sae")
def check_train_sae(function: Callable[..., Any]) -> str:
    """Diagnose `train_sae` on three steps with a learning rate of its own for each."""
    start = {
        "W_enc": torch.full((2, 3), 0.5),
        "b_enc": torch.zeros(3),
        "W_dec": torch.full((3, 2), 0.5),
        "b_dec": torch.zeros(2),
    }
    given = {name: tensor.clone() for name, tensor in start.items()}
    x = torch.arange(12.0).reshape(6, 2)
    rows = torch.tensor([[0, 3], [5, 1], [2, 2]])
    sparsities, rates = [0.0, 1.0, 2.0], [0.5, 0.25, 0.0]
    batches: list[Tensor] = []
    weights: list[float] = []
    seen: list[tuple[int, dict[str, Tensor]]] = []

    def objective(sae: Mapping[str, Tensor], batch: Tensor, sparsity: float) -> Tensor:
        """Slopes of 1 at the first step and of −1 afterwards, in every parameter."""
        slope = 1.0 if not batches else -1.0
        batches.append(batch.detach().clone())
        weights.append(float(sparsity))
        return slope * torch.stack([sae[name].sum() for name in NAMES]).sum()

    def watch(step: int, sae: Mapping[str, Tensor]) -> None:
        seen.append((int(step), {name: sae[name].detach().clone() for name in NAMES}))

    trained = function(start, x, rows, sparsities, rates, objective, watch)
    trained = expect_sae(trained, 2, 3)
    expect(
        all(torch.equal(start[name], given[name]) for name in NAMES),
        "the SAE that you were given has changed. Train copies (`.clone()`): the untrained SAE is "
        "still needed, to compare with.",
    )
    expect(
        len(batches) == 3,
        f"3 rows of `rows` make 3 steps; you computed the objective {len(batches)} times.",
    )
    _expect_batches(batches, x, rows)
    expect(
        weights == sparsities,
        f"step t takes sparsities[t]. Asked for were {sparsities}, you used {weights}.",
    )
    expect(
        [step for step, _ in seen] == [0, 1, 2],
        f"call watch(t, sae) after each step, t = 0, 1, 2; you called it with "
        f"{[step for step, _ in seen]}.",
    )
    _expect_steps([given, *(sae for _, sae in seen)], rates)
    expect(
        all(torch.equal(trained[name].detach(), seen[-1][1][name]) for name in NAMES),
        "what you return is not what the last step left.",
    )
    expect(
        not any(trained[name].requires_grad for name in NAMES),
        "what you return still carries gradients: `.detach()` it, or every later use of the SAE "
        "keeps a graph in memory.",
    )
    return "one Adam step a batch, each with its own λ and learning rate; the given SAE kept."


def _expect_batches(batches: list[Tensor], x: Tensor, rows: Tensor) -> None:
    for step, (batch, chosen) in enumerate(zip(batches, rows, strict=True)):
        expect(
            batch.shape == (2, 2),
            f"the batch of step {step} has shape {list(batch.shape)}: it holds x[i] for the two "
            "numbers i in rows[step].",
        )
        expect(
            torch.equal(batch, x[chosen]),
            f"the batch of step {step} is not x[rows[{step}]].",
        )


def _expect_steps(path: list[dict[str, Tensor]], rates: list[float]) -> None:
    """Adam's first step has the learning rate's length, whatever the gradient's."""
    moves = [
        {name: after[name] - before[name] for name in NAMES} for before, after in pairwise(path)
    ]
    for name in NAMES:
        first, second, third = (float(move[name].flatten()[0]) for move in moves)
        expect(
            first != 0,
            f"{name} does not move. All four tensors are trained: do they all require gradients, "
            "and does the optimizer know them?",
        )
        expect(first < 0, f"{name} moves uphill: the objective should become smaller.")
        expect(
            third == 0,
            f"at the third step learning_rates says 0 and {name} moves all the same. Set the "
            'learning rate before every step: optimizer.param_groups[0]["lr"] = …',
        )
        expect(
            math.isclose(-first, rates[0], rel_tol=1e-3),
            f"{name} moves by {-first:.3g} at the first step. Adam's first step has the length of "
            f"the learning rate, {rates[0]:g} here. Is it torch.optim.Adam with its default "
            "settings?",
        )
        expect(
            second > -0.1 * rates[1],
            "old gradients are still there at the second step: backward() adds to .grad, so set "
            "it to zero before (optimizer.zero_grad()).",
        )
        expect(
            second < 0.1 * rates[1],
            f"{name} forgets the first step at the second: make one optimizer, before the loop.",
        )


@check_of("sae_scores")
def check_sae_scores(function: Callable[..., Any]) -> str:
    """Diagnose `sae_scores(x, x_hat, code, losses)` on four tokens and four latents."""
    x = torch.tensor([[11.0, 0.0], [9.0, 0.0], [10.0, 4.0], [10.0, -4.0]])
    x_hat = x + torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 2.0], [0.0, 1.0]])
    code = torch.tensor([[0.001, 0, 0, 2], [0, 0, 0, 3], [0, 0, 0, 4], [0, 0, 1, 0]])
    scores = function(x, x_hat, code, (2.0, 2.5, 4.0))
    expect(scores is not None, "it returns None. Is the `return` missing?")
    wanted = ("fvu", "l0", "dead", "loss_recovered")
    expect(
        isinstance(scores, Mapping) and set(scores) == set(wanted),
        f"return a dict with the names {', '.join(wanted)}.",
    )
    for name in wanted:
        expect(
            isinstance(scores[name], int | float),
            f"{name} is a {type(scores[name]).__name__}: make it a plain number (`float(…)`, "
            "`.item()`).",
        )
    diagnoses = {
        ("fvu", 6 / 434): "it is not centred: variance is what is left after the mean token has "
        "been taken off. Without that, an SAE that always answers with the mean looks excellent.",
        ("fvu", 28 / 34): "this is the share that *is* explained.",
        ("fvu", 0.328125): "it is averaged token by token. Sum the squared errors of all tokens, "
        "then divide once: single tokens near the mean would rule everything.",
        ("l0", 5 / 16): "L0 counts latents: a number for each token, not a share.",
        ("l0", 5.0): "L0 is summed over the tokens; it is the mean over them.",
        ("l0", 10.001 / 4): "you add up activations. L0 counts those that are not zero.",
        ("dead", 1.0): "dead latents are given as a number; say which share of all latents it is.",
        ("dead", 0.75): "this is the share that is alive.",
        ("dead", 0.5): "a latent that fires weakly, or seldom, is not dead. Dead means that it is "
        "zero on every token.",
        ("loss_recovered", 0.25): "this is the loss that is *lost*. 1 means that nothing is.",
        ("loss_recovered", 4 / 3): "it is upside down: the whole way, from ablated to clean, "
        "stands below.",
    }
    for (name, wrong), diagnosis in diagnoses.items():
        expect(not math.isclose(scores[name], wrong, rel_tol=1e-4), f"{name}: {diagnosis}")
    for name, right in (("fvu", 6 / 34), ("l0", 1.25), ("dead", 0.25), ("loss_recovered", 0.75)):
        expect(
            math.isclose(scores[name], right, rel_tol=1e-4),
            f"{name} is {scores[name]:.4g} and should be {right:.4g} here.",
        )
    expect(
        function(x, x_hat, code, None)["loss_recovered"] is None,
        "without losses there is nothing to recover: loss_recovered is None then.",
    )
    return "FVU around the mean token, L0 a count, dead latents by silence, loss recovered."


@check_of("top_contexts")
def check_top_contexts(function: Callable[..., Any]) -> str:
    """Diagnose `top_contexts(strengths, documents, tokens, skip, n)` on ten tokens of five texts."""
    strengths = torch.tensor([0.0, 5.0, 4.0, 9.0, 1.0, 0.0, 3.0, 2.0, 0.0, 0.0])
    documents = torch.tensor([0, 0, 0, 1, 1, 2, 2, 3, 3, 4])
    tokens = torch.tensor([7, 8, 9, 3, 8, 7, 9, 8, 9, 7])

    def found(n: int, skip: list[int]) -> list[int]:
        value = function(strengths, documents, tokens, skip, n)
        expect(value is not None, "it returns None. Is the `return` missing?")
        value = value.tolist() if isinstance(value, Tensor) else value
        expect(
            isinstance(value, list | tuple) and all(isinstance(place, int) for place in value),
            "return a list of places: plain whole numbers that index `strengths`.",
        )
        return list(value)

    got = found(3, [])
    expect(got != [9.0, 5.0, 3.0], "you return activations; return the places where they stand.")
    expect(
        got != [3, 1, 2],
        "places 1 and 2 belong to the same text. One place for each text: its strongest.",
    )
    expect(got == [3, 1, 6], f"the three strongest texts peak at places [3, 1, 6]; got {got}.")
    got = found(4, [3])
    expect(3 not in got, "place 3 holds a token that is to be skipped.")
    expect(
        got != [1, 6, 7],
        "the text whose strongest token is skipped drops out of yours. It stays, with its next "
        "token: a text counts as seen when you *take* a place of it, and not before.",
    )
    expect(
        got == [1, 6, 7, 4],
        f"skipping token 3, the four places should be [1, 6, 7, 4]; got {got}.",
    )
    got = found(10, [])
    expect(
        not any(strengths[place] == 0 for place in got),
        "some of your places have activation 0: the feature does not fire there. Give fewer than "
        "n places where there are no more.",
    )
    expect(got == [3, 1, 6, 7], f"asked for 10, four texts fire: [3, 1, 6, 7]; got {got}.")
    return "strongest first, one a text, none on a skipped token, none without activation."
