"""The checks of assignment 05_sparse_steering."""

from __future__ import annotations

import math
from collections.abc import Callable
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

SOLVED = 1e-2  # a general solver's answer, relative: far below what any mistake changes

# Three features of norm 1 on a residual of width 3. The first two lean to either side of axis 0,
# the third one points away from it.
_ROWS = torch.tensor([[0.8, 0.6, 0.0], [0.28, -0.96, 0.0], [-1.0, 0.0, 0.0]])
_AXIS = torch.tensor([[1.0, 0.0, 0.0]])


def _texts() -> tuple[Tensor, Tensor]:
    """Eight residuals, four a class, whose axes are their principal components, far from 0.

    Axes 0 and 3 vary most and say nothing of the class; axis 1 tells the classes apart by 4 (the target
    lower), axis 2 by 2 (the target higher). Within a class 1 and 2 rise together just as much as the
    classes set them against each other.
    """
    signs = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]]).repeat(2, 1)
    labels = torch.tensor([True] * 4 + [False] * 4)
    side = torch.where(labels, 1.0, -1.0)
    x = torch.zeros(8, 4)
    x[:, 0] = 9 * signs[:, 0]
    x[:, 1] = -2 * side + 2 * signs[:, 1]
    x[:, 2] = side + signs[:, 1]
    x[:, 3] = 5 * signs[:, 0] * signs[:, 1]
    return x + torch.tensor([20.0, 30.0, -10.0, 5.0]), labels


@check_of("concept_directions")
def check_concept_directions(function: Callable[..., Any]) -> str:
    """Diagnose `concept_directions(x, labels, k, n_components)` on eight residuals of width 4."""
    x, labels = _texts()
    got = expect_pair(function(x, labels, 2), "directions, separations")
    directions = expect_tensor(got[0], (2, 4), "k, d_model")
    separations = expect_tensor(got[1], (2,), "k")
    lengths = directions.norm(dim=1)
    expect(
        same(lengths, torch.ones(2)),
        f"the directions have lengths {[round(float(v), 2) for v in lengths]}; principal components "
        "have length 1. (A length of 0 comes from a sign of 0: along that component the classes do "
        "not differ at all. Why was it kept?)",
    )
    largest = directions.abs().argmax(dim=1).tolist()
    expect(
        not {0, 3} & set(largest) or directions[:, [0, 3]].abs().max() < 0.99,
        "you kept a component along which residuals *vary* much. Here it has nothing to do with "
        "the classes. Order by |s_j|, how far apart the class means lie along a component.",
    )
    expect(
        bool((directions.abs().amax(dim=1) > 0.99).all()),
        "the components are not those of the centred residuals. Did you subtract the mean of all "
        "texts before the decomposition?",
    )
    expect(
        largest == [1, 2],
        "the two components are right and stand in the wrong order: the largest |s_j| comes first.",
    )
    expect(
        directions[0, 1] < 0 and directions[1, 2] > 0,
        "a component has no preferred sign, and the decomposition picks one at random. Turn each "
        "direction so that it points from the other class to the target.",
    )
    expect(
        bool((separations > 0).all()),
        "after the sign is mended every separation s_j is positive. Yours still have the old signs.",
    )
    expect(
        same(separations, torch.tensor([4.0, 2.0])),
        f"along these directions the class means lie 4 and 2 apart; you return "
        f"{[round(float(v), 2) for v in separations]}.",
    )
    few = function(x, labels, 2, n_components=1)
    kept = few[0] if isinstance(few, tuple | list) else few
    expect(
        isinstance(kept, Tensor) and len(kept) == 1,
        "only the first n_components components may be chosen from; with n_components=1 one "
        "direction is left.",
    )
    return "by separation and not by variance, each pointing to the target."


@check_of("missing")
def check_missing(function: Callable[..., Any]) -> str:
    """Diagnose `missing(h, directions, target_mean, alpha)` on residuals of width 3."""
    directions = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.6, 0.8]])
    target, h = torch.tensor([4.0, 5.0, 5.0]), torch.tensor([1.0, 10.0, 10.0])
    got = expect_tensor(function(h, directions, target), (2,), "k")
    expect(
        not same(got, torch.tensor([4.0, 7.0])),
        "that is where the target's mean lies. What is missing is the way from h to there, and h "
        "has some of it already.",
    )
    expect(not same(got, torch.tensor([-3.0, 7.0])), "the sign is the other way round.")
    expect(
        not same(got, torch.tensor([3.0, 0.0])),
        "where h has more than the target's mean, γ_j is negative. Keep it: it says how much may "
        "be lost along that direction.",
    )
    expect(same(got, torch.tensor([3.0, -7.0])), "it is not w_jᵀ(μ − h).")
    double = function(h, directions, target, alpha=2.0)
    expect(
        not same(double, torch.tensor([7.0, 0.0])),
        "α = 2 is twice the way from h to the mean. You go to twice the mean, which may lie "
        "anywhere.",
    )
    expect(same(double, torch.tensor([6.0, -14.0])), "α does not multiply what is missing.")
    batch = function(torch.stack([h, target]), directions, target)
    expect(
        isinstance(batch, Tensor) and same(batch, torch.tensor([[3.0, -7.0], [0.0, 0.0]])),
        "for several residuals [n, d_model] the result should be [n, k], one row for each.",
    )
    return "from h to the target's mean, along each direction."


def _expect_answer(got: Any, n: int, what: str) -> tuple[str, Tensor | None]:
    """(status, amounts or None), or a diagnosis."""
    status, amounts = expect_pair(got, "status, amounts or None")
    known = ("already_satisfied", "optimal", "infeasible")
    expect(
        isinstance(status, str),
        f"what comes first is a {type(status).__name__}; it should be the status.",
    )
    expect(status in known, f"{status!r} is no status; there are {', '.join(map(repr, known))}.")
    if amounts is None:
        expect(status == "infeasible", f"the status is {status!r}, but there are no amounts.")
        return status, None
    return status, expect_tensor(amounts, (n,), what)


def _expect_statuses(solve: Callable[[Tensor, Tensor], Any]) -> None:
    """Whether nothing to do and nothing to be done are told apart."""
    status, amounts = _expect_answer(solve(_ROWS, torch.tensor([-2.0])), 3, "n_features")
    expect(
        status == "already_satisfied" and amounts is not None and not bool(amounts.any()),
        "with γ = −2 the residual is past its threshold: nothing is to be done, the amounts are "
        f'zeros, and the status is "already_satisfied". Yours is {status!r}.',
    )
    status, amounts = _expect_answer(solve(_ROWS[2:], torch.tensor([1.0])), 1, "n_features")
    expect(
        status == "infeasible",
        f"the only feature points the wrong way, and no amount of it would do. You say {status!r}"
        + (
            " and return zeros, which looks like an answer and is none."
            if amounts is not None and not bool(amounts.any())
            else "."
        ),
    )
    expect(amounts is None, 'where the status is "infeasible" there are no amounts: return None.')


@check_of("solve_socp")
def check_solve_socp(function: Callable[..., Any]) -> str:
    """Diagnose `solve_socp(D, directions, gamma, epsilon)` on three features of width 3."""
    gamma = torch.tensor([4.0])
    status, got = _expect_answer(function(_ROWS, _AXIS, gamma, 50.0), 3, "n_features")
    expect(status == "optimal", f"5 of feature 0 reach the threshold; you say {status!r}.")
    assert got is not None
    expect(
        bool((got >= -SOLVED).all()),
        "an amount is negative. A feature can be turned up, and below nothing there is nothing: "
        "δ ≥ 0.",
    )
    expect(
        not same(got, torch.tensor([0.0, 0.0, 0.0]), SOLVED),
        "all amounts are zero, and zero does not reach the threshold.",
    )
    lifted = float(got @ _ROWS[:, 0])
    expect(
        lifted >= 4 - SOLVED * 4, f"what is added reaches {lifted:.2f} of the 4 that are missing."
    )
    expect(
        same(got, torch.tensor([5.0, 0.0, 0.0]), SOLVED),
        "the amounts are not the smallest in sum: 5 of feature 0 alone would do. Is the objective "
        "1ᵀδ?",
    )
    # The shortest vector that reaches the threshold has length 4, and takes both features.
    status, tight = _expect_answer(function(_ROWS, _AXIS, gamma, 4.001), 3, "n_features")
    expect(
        status == "optimal",
        "with ε = 4.001 you find no answer, and there is one: 4.1 of feature 0 and 2.6 of feature 1 "
        "add up to a vector of length 4. Is your bound on ‖δ‖? It belongs on what the features "
        "*add up to*, Dᵀδ, where they partly cancel.",
    )
    assert tight is not None
    length = float((tight @ _ROWS).norm())
    expect(
        length <= 4.001 * (1 + SOLVED),
        f"with ε = 4.001 the vector has length {length:.2f}. The norm bound is not kept.",
    )
    status, _ = _expect_answer(function(_ROWS, _AXIS, gamma, 3.0), 3, "n_features")
    expect(
        status == "infeasible",
        f"with ε = 3 nothing can reach a threshold that is 4 away, and you say {status!r}.",
    )
    both = torch.tensor([[1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    kept = function(_ROWS, both, torch.tensor([4.0, -3.5]), 50.0)
    status, got = _expect_answer(kept, 3, "n_features")
    expect(
        status == "optimal"
        and got is not None
        and same(got, torch.tensor([5.0, 0.0, 0.0]), SOLVED),
        "γ = (4, −3.5) allows a loss of up to 3.5 along the second direction, and 5 of feature 0 lose 3: "
        "that is the answer. A negative γ neither demands the loss (the constraint is ≥, not =) nor "
        "forbids it.",
    )
    _expect_statuses(lambda rows, g: function(rows, _AXIS, g, 50.0))
    return "least in sum, thresholds reached, the bound on Dᵀδ, and three statuses told apart."


@check_of("smallest_epsilon")
def check_smallest_epsilon(function: Callable[..., Any]) -> str:
    """Diagnose `smallest_epsilon(D, directions, gamma)` on features of width 3."""

    def number(rows: Tensor, directions: Tensor, gamma: list[float]) -> float:
        value = function(rows, directions, torch.tensor(gamma))
        expect(value is not None, "it returns None. Is the `return` missing?")
        try:
            return float(value)
        except (TypeError, ValueError):
            raise CheckFailed(f"it returns a {type(value).__name__}; return a number.") from None

    got = number(_ROWS, _AXIS, [4.0])
    expect(
        abs(got - 5) > 0.05,
        "5 is the length of the *cheapest* vector. A shorter one reaches the threshold, at a higher "
        "price, and the price is no matter here.",
    )
    expect(abs(got - 16) > 0.1, "that is the squared length.")
    expect(abs(got - 4) < 0.02, f"the shortest vector that will do has length 4, not {got:.3g}.")
    alone = number(_ROWS[:1], _AXIS, [4.0])
    expect(
        abs(alone - 4) > 0.05,
        "you assume that the features can make any vector. With feature 0 alone they cannot, and "
        "the shortest that it makes has length 5.",
    )
    expect(abs(alone - 5) < 0.02, f"with feature 0 alone the answer is 5, not {alone:.3g}.")
    none = number(_ROWS[2:], _AXIS, [4.0])
    expect(
        math.isinf(none) and none > 0,
        f"where no amounts reach the threshold no ε would do: the answer is infinite, not {none}.",
    )
    expect(
        abs(number(_ROWS, _AXIS, [-1.0])) < 1e-3,
        "where nothing is missing the shortest vector is 0.",
    )
    return "the shortest vector that the features can make and that reaches the thresholds."


@check_of("solve_qp")
def check_solve_qp(function: Callable[..., Any]) -> str:
    """Diagnose `solve_qp(D, directions, gamma, lam)` on three features of width 3."""
    gamma = torch.tensor([4.0])
    status, got = _expect_answer(function(_ROWS, _AXIS, gamma, 1e-4), 3, "n_features")
    expect(
        status == "optimal" and got is not None,
        f"5 of feature 0 reach the threshold; you say {status!r}.",
    )
    assert got is not None
    expect(bool((got >= -SOLVED).all()), "an amount is negative: δ ≥ 0.")
    expect(
        same(got, torch.tensor([5.0, 0.0, 0.0]), 2 * SOLVED),
        "with a tiny λ the length hardly counts, and the cheapest amounts are 5 of feature 0. Is "
        "the objective the sum of the amounts plus the penalty, and do they reach the threshold?",
    )
    # With amounts a, b and .8a + .28b = 4, the penalised cost is least at b = 2.6936 − 1.0526/λ.
    lam = 0.8
    expected = _two_features(lam)
    status, got = _expect_answer(function(_ROWS, _AXIS, gamma, lam), 3, "n_features")
    expect(status == "optimal" and got is not None, f"for λ = {lam} you say {status!r}.")
    assert got is not None
    expect(
        not same(got, _two_features(2 * lam), SOLVED),
        "your answer is the one for twice this λ. The penalty is λ/2 · ‖Dᵀδ‖².",
    )
    expect(
        not same(got, torch.tensor([5.0, 0.0, 0.0]), SOLVED),
        "the penalty seems to have no effect: feature 1 makes the vector shorter, and at this λ "
        "it is worth its price.",
    )
    expect(
        same(got, expected, SOLVED),
        "the amounts do not minimise 1ᵀδ + λ/2 ‖Dᵀδ‖². Is it the *squared* length, and the length "
        "of Dᵀδ, not of δ?",
    )
    _expect_statuses(lambda rows, g: function(rows, _AXIS, g, lam))
    return "sum and penalty weighed as they should be, thresholds reached, statuses told apart."


def _two_features(lam: float) -> Tensor:
    """Where the QP's cost along .8a + .28b = 4 is least, found by trying."""
    b = torch.linspace(0, 5, 20_001, dtype=torch.double)
    a = (4 - 0.28 * b) / 0.8
    cost = a + b + lam / 2 * (16 + (0.6 * a - 0.96 * b) ** 2)
    best = int(cost.argmin())
    return torch.stack([a[best], b[best], torch.zeros((), dtype=torch.double)])


@check_of("steering_vector")
def check_steering_vector(function: Callable[..., Any]) -> str:
    """Diagnose `steering_vector(D, norms, delta)` on three features of width 3."""
    norms = torch.tensor([2.0, 8.0, 0.5])
    delta = torch.tensor([3.0, 4.0, 1e-6])
    given, features = expect_pair(
        function(_ROWS, norms, delta), "vector, dictionary {feature: activation}"
    )
    vector = expect_tensor(given, (3,), "d_model")
    expect(
        isinstance(features, dict),
        f"what comes second is a {type(features).__name__}; a dictionary {{feature: activation}} "
        "should.",
    )
    expected = torch.tensor([3.52, -2.04, 0.0])
    weighed = (delta * norms) @ _ROWS
    expect(
        not same(vector, weighed) and not same(vector, (delta / norms) @ _ROWS),
        "the amounts are lengths already. The vector is the sum of δ_i times the row of norm 1.",
    )
    expect(same(vector, expected), "the vector is not Dᵀδ.")
    expect(
        2 not in features,
        "feature 2 stands at a millionth: that is the solver's rounding, not an active feature. "
        "Leave out what is below a thousandth of the largest amount.",
    )
    expect(set(features) == {0, 1}, f"the active features are 0 and 1, not {sorted(features)}.")
    expect(list(features) == [1, 0], "the feature with the largest amount comes first.")
    values = {i: float(value) for i, value in features.items()}
    expect(
        values != {0: 3.0, 1: 4.0},
        "these are amounts: lengths in the residual stream. An *activation* is counted in the "
        "autoencoder's own unit, in which feature i adds a row of length norms[i].",
    )
    expect(
        abs(values[0] - 1.5) < 1e-4 and abs(values[1] - 0.5) < 1e-4,
        f"an amount of 3 along a row of length 2 is an activation of 1.5; you return {values}.",
    )
    vector, features = function(_ROWS, norms, torch.zeros(3))
    expect(
        not bool(vector.any()) and features == {},
        "with all amounts at 0 the vector is 0 and no feature is active.",
    )
    return "Dᵀδ, and the active features with activations in the autoencoder's unit."


@check_of("at_dose")
def check_at_dose(function: Callable[..., Any]) -> str:
    """Diagnose `at_dose(vectors, stream, dose)` on three vectors and four tokens."""
    vectors = torch.tensor([[3.0, 4.0], [0.0, 0.1], [0.0, 0.0]])
    stream = torch.tensor([[10.0, 0.0], [-10.0, 0.0], [0.0, 2.0], [0.0, -2.0]])
    given = vectors.clone()
    got = function(vectors, stream, 0.5)
    expect(got is not None, "it returns None. Is the `return` missing?")
    expect(
        not (isinstance(got, Tensor) and bool(got.isnan().any())),
        "the vector of zeros comes out as NaN: you divide 0 by 0. It should stay zero.",
    )
    got = expect_tensor(got, (3, 2), "n, d_model")
    expect(torch.equal(vectors, given), "your function changes the vectors that it is given.")
    lengths = got.norm(dim=1)
    expect(not bool(got[2].any()), "the vector of zeros should stay zero.")
    expect(
        bool(lengths.any()),
        "all vectors have length 0. The mean of these tokens is 0, but their mean *length* is 6.",
    )
    expect(
        abs(float(lengths[0] - lengths[1])) < 1e-3,
        f"two vectors come out with lengths {float(lengths[0]):.2f} and {float(lengths[1]):.2f}. At "
        "one dose all are equally long.",
    )
    expect(
        abs(float(lengths[0]) - 0.5 * math.sqrt(52)) > 1e-3,
        "you take the root of the mean square of the tokens' lengths. The dose counts in mean length.",
    )
    expect(
        abs(float(lengths[0]) - 3) < 1e-3,
        f"the tokens have a mean length of 6, so a dose of 0.5 is a length of 3, not "
        f"{float(lengths[0]):.2f}.",
    )
    expect(same(got[0], torch.tensor([1.8, 2.4])), "the direction of a vector must not change.")
    return "every vector as long as the dose asks, and nothing stays nothing."
