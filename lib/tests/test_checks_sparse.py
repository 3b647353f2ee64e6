"""The checks of 05 pass a right function and tell each misconception from the others."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize
from steerlab import checks

# Right functions, written as a student might, but for the solver: scipy's are at hand at once. They
# live here and not beside the checks, which students can read.


def right_directions(
    x, labels, k, n_components=50, *, centre=True, by="separation", sign=True, order=1
):
    start = x - x.mean(0) if centre else x
    rows = torch.linalg.svd(start, full_matrices=False)[2][:n_components]
    s = rows @ (x[labels].mean(0) - x[~labels].mean(0))
    kept = s.abs().argsort(descending=True)[:k] if by == "separation" else torch.arange(k)
    kept = kept[::order] if order > 0 else kept.flip(0)
    turn = torch.where(s[kept] < 0, -1.0, 1.0)
    if not sign:
        turn = turn * torch.tensor([1.0, -1.0])[: len(kept)]
    return rows[kept] * turn[:, None], s[kept].abs()


def right_missing(h, directions, target, alpha=1.0):
    return alpha * ((target - h) @ directions.T)


def program(D, W, gamma, cost, within=math.inf, *, signed=False, equal=False, length_of=None):
    """min cost(δ) by SLSQP, from a feasible start; None where there is none."""
    D, W, gamma = (t.double().numpy() for t in (D, W, gamma))
    lift = W @ D.T
    bounds = [(None if signed else 0, None)] * len(D)
    start = linprog(np.ones(len(D)), -lift, -gamma, bounds=[(0, None)] * len(D))
    if start.status != 0:
        return None
    length = length_of or (lambda delta: np.linalg.norm(D.T @ delta))
    limits = [{"type": "eq" if equal else "ineq", "fun": lambda delta: lift @ delta - gamma}]
    if math.isfinite(within):
        limits.append({"type": "ineq", "fun": lambda delta: within - length(delta)})
    best = minimize(
        lambda delta: cost(delta, D), start.x + 0.1, bounds=bounds, constraints=limits,
        method="SLSQP", options={"maxiter": 300, "ftol": 1e-12},
    )  # fmt: skip
    met = (lift @ best.x - gamma).min() > -1e-5 and length(best.x) <= within * (1 + 1e-5)
    return torch.from_numpy(best.x).float() if met else None


def with_status(delta, gamma, n):
    if gamma.max() <= 0:
        return "already_satisfied", torch.zeros(n)
    return ("infeasible", None) if delta is None else ("optimal", delta)


def total(delta, D):
    return delta.sum()


def right_socp(D, W, gamma, epsilon, **options):
    return with_status(program(D, W, gamma, total, epsilon, **options), gamma, len(D))


def right_epsilon(D, W, gamma):
    if gamma.max() <= 0:
        return 0.0
    delta = program(D, W, gamma, lambda d, rows: np.sum((rows.T @ d) ** 2))
    return math.inf if delta is None else float((delta @ D).norm())


def right_qp(D, W, gamma, lam, *, factor=0.5, length=lambda d, rows: np.sum((rows.T @ d) ** 2)):
    delta = program(D, W, gamma, lambda d, rows: d.sum() + factor * lam * length(d, rows))
    return with_status(delta, gamma, len(D))


def right_vector(D, norms, delta, *, share=1e-3, unit=True):
    on = [int(i) for i in delta.argsort(descending=True) if delta[i] > share * delta.max()]
    return delta @ D, {i: float(delta[i] / (norms[i] if unit else 1.0)) for i in on}


def right_dose(vectors, stream, dose):
    lengths = vectors.norm(dim=1, keepdim=True)
    return torch.where(
        lengths > 0, dose * stream.norm(dim=1).mean() * vectors / lengths, torch.zeros(())
    )


RIGHT = {
    "concept_directions": right_directions,
    "missing": right_missing,
    "solve_socp": right_socp,
    "smallest_epsilon": right_epsilon,
    "solve_qp": right_qp,
    "steering_vector": right_vector,
    "at_dose": right_dose,
}


@pytest.mark.parametrize("task", RIGHT)
def test_right_functions_pass(task, capsys):
    getattr(checks, f"check_{task}")(RIGHT[task])
    assert capsys.readouterr().out.startswith(f"✓ {task}: ")


@pytest.mark.parametrize("task", RIGHT)
def test_an_unwritten_function_gets_a_friendly_line(task, capsys):
    def not_yet(*args, **kwargs):
        raise NotImplementedError

    getattr(checks, f"check_{task}")(not_yet)
    assert "is not written yet" in capsys.readouterr().out


def zeros_are_a_success(D, W, gamma, epsilon):
    status, delta = right_socp(D, W, gamma, epsilon)
    return ("optimal", torch.zeros(len(D))) if delta is None else (status, delta)


def names_an_infeasible_zero(D, W, gamma, epsilon):
    status, delta = right_socp(D, W, gamma, epsilon)
    return status, torch.zeros(len(D)) if delta is None else delta


def raised(gamma):
    return gamma.clamp(min=0)


def turned_only(x, labels, k, n_components=50):
    rows, s = right_directions(x, labels, k, n_components)
    return rows, s * torch.tensor([1.0, -1.0])[: len(s)]


def squared_length(d, rows):
    return np.sum(d**2)


WRONG = {
    "concept_directions": [
        (lambda *a, **o: right_directions(*a, **o, by="variance"), "vary"),
        (lambda *a, **o: right_directions(*a, **o, sign=False), "no preferred sign"),
        (lambda *a, **o: right_directions(*a, **o, order=-1), "wrong order"),
        (lambda *a, **o: right_directions(*a, **o, centre=False), "centred"),
        (turned_only, "every separation s_j is positive"),
        (lambda x, labels, k, n_components=50: right_directions(x, labels, k), "n_components"),
        (lambda *a, **o: right_directions(*a, **o)[0], "return two things"),
    ],
    "missing": [
        (lambda h, W, mu, alpha=1.0: alpha * W @ mu, "has some of it already"),
        (lambda h, W, mu, alpha=1.0: alpha * W @ (h - mu), "other way round"),
        (lambda h, W, mu, alpha=1.0: raised(alpha * W @ (mu - h)), "negative"),
        (lambda h, W, mu, alpha=1.0: W @ (alpha * mu - h), "twice the mean"),
        (lambda h, W, mu, alpha=1.0: W @ (mu - h), "does not multiply"),
    ],
    "solve_socp": [
        (lambda *a: right_socp(*a[:3], math.inf), "norm bound is not kept"),
        (lambda *a: right_socp(*a, length_of=np.linalg.norm), "bound on ‖δ‖"),
        (lambda *a: right_socp(*a, equal=True), "neither"),
        (lambda D, W, g, e: right_socp(D, W, g.clamp(min=0), e), "neither"),
        (zeros_are_a_success, "nothing can reach"),
        (names_an_infeasible_zero, "no amounts: return None"),
        (lambda D, W, g, e: ("optimal", torch.zeros(len(D))), "all amounts are zero"),
        (lambda D, W, g, e: ("fine", torch.zeros(len(D))), "no status"),
        (lambda *a: right_socp(*a)[1], "return two things"),
        (lambda D, W, g, e: ("optimal", torch.tensor([6.0, 1.0, 0.0])), "smallest in sum"),
        (lambda D, W, g, e: ("optimal", torch.tensor([0.0, 0.0, -4.0])), "negative"),
    ],
    "smallest_epsilon": [
        (lambda D, W, g: float((right_socp(D, W, g, math.inf)[1] @ D).norm()), "cheapest"),
        (lambda D, W, g: float(raised(g).norm()), "can make any vector"),
        (lambda D, W, g: right_epsilon(D, W, g) ** 2, "squared"),
        (lambda D, W, g: min(right_epsilon(D, W, g), 1e6), "infinite"),
        (lambda D, W, g: None, "None"),
    ],
    "solve_qp": [
        (lambda *a: right_qp(*a, factor=1.0), "twice this λ"),
        (lambda *a: right_qp(*a, factor=0.0), "no effect"),
        (lambda *a: right_qp(*a, length=squared_length), "length of Dᵀδ, not of δ"),
        (lambda D, W, g, lam: ("optimal", torch.tensor([6.0, 0.0, 0.0])), "cheapest amounts"),
    ],
    "steering_vector": [
        (lambda D, n, d: ((d * n) @ D, right_vector(D, n, d)[1]), "lengths already"),
        (lambda D, n, d: right_vector(D, n, d, share=0.0), "rounding"),
        (lambda D, n, d: right_vector(D, n, d, unit=False), "autoencoder's own unit"),
        (lambda D, n, d: (d @ D, dict(sorted(right_vector(D, n, d)[1].items()))), "comes first"),
        (lambda D, n, d: d @ D, "return two things"),
    ],
    "at_dose": [
        (lambda v, x, dose: v / v.norm(dim=1, keepdim=True) * dose, "NaN"),
        (lambda v, x, dose: right_dose(v, x.mean(0, keepdim=True), dose), "mean \\*length\\*"),
        (lambda v, x, dose: v * dose * 6 / v.norm(dim=1).max(), "equally long"),
        (lambda v, x, dose: right_dose(v, (x**2).sum(1, keepdim=True).mean().sqrt()[None, None], dose),
         "mean square"),
        (lambda v, x, dose: right_dose(v, x, 2 * dose), "is a length of 3"),
        (lambda v, x, dose: v.mul_(2.0), "changes the vectors"),
        (lambda v, x, dose: right_dose(v.flip(1), x, dose), "direction"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("task", "wrong", "diagnosis"),
    [(task, wrong, text) for task, rows in WRONG.items() for wrong, text in rows],
)
def test_each_misconception_has_its_own_diagnosis(task, wrong, diagnosis):
    with pytest.raises(checks.CheckFailed, match=diagnosis):
        getattr(checks, f"check_{task}")(wrong)
