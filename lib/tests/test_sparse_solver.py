"""The sparse programs are solved to their optimum over the whole dictionary, and prove it."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from steerlab.sparse import Infeasible, SparseSolver, solve_reference

seeds = st.integers(0, 2**31 - 1)
properties = settings(max_examples=15, deadline=None)


def problem(seed, d=12, n=80, k=3, scale=1.0):
    """A random dictionary with rows of any length, orthonormal directions, and what is missing."""
    g = torch.Generator().manual_seed(seed)
    lengths = torch.rand(n, 1, generator=g, dtype=torch.double) * 3 + 0.2
    W_dec = torch.randn(n, d, generator=g, dtype=torch.double) * lengths
    directions = torch.linalg.qr(torch.randn(d, k, generator=g, dtype=torch.double)).Q.T
    gamma = scale * torch.randn(k, generator=g, dtype=torch.double)
    gamma[0] = gamma[0].abs() + 0.1 * scale
    return W_dec, directions.contiguous(), gamma


def unit(W_dec):
    return W_dec / W_dec.norm(dim=1, keepdim=True)


def reach(gamma):
    return float(gamma.clamp(min=0).norm())


def assert_certified(answer, W_dec, directions, gamma):
    """Feasible to 1e-6, and not improvable by more than a millionth."""
    assert answer.status == "optimal"
    assert answer.gap <= 1e-6
    assert answer.violation <= 1e-6
    delta = answer.delta.double()
    moved = unit(W_dec.double()).T @ delta
    torch.testing.assert_close(answer.vector.double(), moved, atol=1e-5, rtol=1e-5)
    assert (delta >= 0).all()
    assert (directions @ moved >= gamma - 1e-5 * reach(gamma)).all()
    assert answer.norm == pytest.approx(float(moved.norm()), rel=1e-4)
    if answer.epsilon is not None:
        assert answer.norm <= answer.epsilon * (1 + 1e-6)
    # The dual point is feasible for every feature there is, and its value is the bound.
    mu, y = answer.multipliers, answer.dual
    assert (mu >= 0).all()
    assert float((unit(W_dec.double()) @ y).max()) <= 1 + 1e-9
    z = directions.T @ mu - y
    cost = z @ z / (2 * answer.lam) if answer.lam else answer.epsilon * z.norm()
    assert answer.bound == pytest.approx(float(gamma @ mu - cost), rel=1e-6, abs=1e-9)


# ------------------------------------------------------------------------------- the same optimum


@given(seed=seeds, d=st.integers(2, 14), k=st.integers(1, 4), slack=st.floats(1.01, 4))
@settings(max_examples=25, deadline=None)
def test_the_socp_has_the_optimum_that_cvxpy_finds(seed, d, k, slack):
    W_dec, directions, gamma = problem(seed, d=d, n=8 * d, k=min(k, d))
    epsilon = slack * reach(gamma)
    answer = SparseSolver(W_dec, directions).socp(gamma, epsilon)
    delta = solve_reference(W_dec, directions, gamma, epsilon=epsilon)
    if answer.status == "infeasible":
        assert delta is None
        assert answer.smallest_epsilon > epsilon
        return
    assert delta is not None
    assert_certified(answer, W_dec, directions, gamma)
    assert answer.objective == pytest.approx(float(delta.sum()), rel=2e-5)


@given(seed=seeds, d=st.integers(2, 14), k=st.integers(1, 4), lam=st.floats(1e-3, 1e3))
@settings(max_examples=25, deadline=None)
def test_the_qp_has_the_optimum_that_cvxpy_finds(seed, d, k, lam):
    W_dec, directions, gamma = problem(seed, d=d, n=8 * d, k=min(k, d))
    answer = SparseSolver(W_dec, directions).qp(gamma, lam)
    delta = solve_reference(W_dec, directions, gamma, lam=lam)
    if answer.status == "infeasible":
        assert delta is None
        assert answer.smallest_epsilon == math.inf
        return
    assert delta is not None
    assert_certified(answer, W_dec, directions, gamma)
    moved = unit(W_dec).T @ delta
    value = float(delta.sum() + lam / 2 * moved @ moved)
    assert answer.objective == pytest.approx(value, rel=2e-5)


@pytest.mark.parametrize(("solver", "asked"), [("SCS", {"epsilon": 4.0}), ("OSQP", {"lam": 1.0})])
def test_the_reference_form_goes_to_other_solvers_as_well(solver, asked):
    W_dec, directions, gamma = problem(4)
    expected = solve_reference(W_dec, directions, gamma, **asked)
    delta = solve_reference(W_dec, directions, gamma, solver=solver, **asked)
    torch.testing.assert_close(delta.sum(), expected.sum(), rtol=1e-2, atol=0)
    once = {"max_iters" if solver == "SCS" else "max_iter": 1}
    with pytest.raises(RuntimeError, match=f"{solver} gave up"):
        solve_reference(W_dec, directions, gamma, solver=solver, **asked, **once)


@given(seed=seeds, d=st.integers(2, 6), copies=st.integers(2, 4))
@properties
def test_copies_and_opposites_of_features_do_no_harm(seed, d, copies):
    W_dec, directions, gamma = problem(seed, d=d, n=4 * d, k=min(2, d))
    once = SparseSolver(W_dec, directions).qp(gamma, 1.0)
    many = torch.cat([W_dec] * copies + [torch.zeros(3, d, dtype=torch.double)])
    again = SparseSolver(many, directions).qp(gamma, 1.0)
    assert once.status == again.status
    if once.status == "optimal":
        assert again.objective == pytest.approx(once.objective, rel=1e-6)
        assert_certified(again, torch.cat([W_dec] * copies + [W_dec[:3]]), directions, gamma)


# ---------------------------------------------------------------------------------- invariances


@given(seed=seeds)
@properties
def test_rescaling_features_changes_no_answer_but_their_activations(seed):
    W_dec, directions, gamma = problem(seed)
    by = torch.rand(len(W_dec), dtype=torch.double, generator=torch.Generator().manual_seed(seed))
    by = 10 ** (4 * by - 2)
    plain = SparseSolver(W_dec, directions).socp(gamma)
    scaled = SparseSolver(W_dec * by[:, None], directions).socp(gamma)
    assert plain.status == scaled.status
    if plain.status == "optimal":
        torch.testing.assert_close(plain.vector, scaled.vector, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(plain.delta, scaled.delta, atol=1e-5, rtol=1e-4)
        for answer, norms in (
            (plain, W_dec.norm(dim=1)),
            (scaled, (W_dec * by[:, None]).norm(dim=1)),
        ):
            expected = answer.amounts.double() / norms[list(answer.features)]
            torch.testing.assert_close(answer.activations.double(), expected, rtol=1e-5, atol=0)


@given(seed=seeds)
@properties
def test_the_order_of_features_and_a_turn_of_the_space_change_nothing(seed):
    W_dec, directions, gamma = problem(seed)
    g = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(W_dec), generator=g)
    turn = torch.linalg.qr(torch.randn(12, 12, generator=g, dtype=torch.double)).Q
    plain = SparseSolver(W_dec, directions).socp(gamma)
    turned = SparseSolver((W_dec @ turn)[order], directions @ turn).socp(gamma)
    assert plain.status == turned.status
    if plain.status == "optimal":
        assert turned.objective == pytest.approx(plain.objective, rel=1e-6)
        torch.testing.assert_close(
            plain.vector.double() @ turn, turned.vector.double(), atol=1e-4, rtol=1e-4
        )


@given(seed=seeds, size=st.floats(1e-3, 1e3))
@properties
def test_what_is_missing_and_the_answer_grow_together(seed, size):
    W_dec, directions, gamma = problem(seed)
    solver = SparseSolver(W_dec, directions)
    plain, grown = solver.socp(gamma), solver.socp(size * gamma)
    assert plain.status == grown.status
    if plain.status == "optimal":
        torch.testing.assert_close(size * plain.vector, grown.vector, atol=1e-4 * size, rtol=1e-4)


@given(seed=seeds)
@properties
def test_an_answer_is_the_same_whatever_was_solved_before(seed):
    W_dec, directions, gamma = problem(seed)
    other = problem(seed + 1)[2]
    fresh = SparseSolver(W_dec, directions).socp(gamma)
    warm = SparseSolver(W_dec, directions)
    warm.qp(other, 3.0)
    warm.socp(other, 1.1 * reach(other))
    again = warm.socp(gamma)
    assert fresh.status == again.status
    if fresh.status == "optimal":
        assert again.objective == pytest.approx(fresh.objective, rel=1e-6)


# --------------------------------------------------------------------------------------- statuses


@given(seed=seeds)
@properties
def test_a_zero_answer_comes_only_when_everything_is_satisfied(seed):
    W_dec, directions, gamma = problem(seed)
    solver = SparseSolver(W_dec, directions)
    for answer in (solver.socp(-gamma.abs()), solver.qp(-gamma.abs())):
        assert answer.status == "already_satisfied"
        assert answer.l0 == 0
        assert not answer.vector.any()
    answer = solver.socp(gamma)
    if answer.status == "infeasible":
        with pytest.raises(Infeasible):
            _ = answer.vector
    else:
        assert answer.vector.any()


@given(seed=seeds, share=st.floats(0.1, 0.99))
@properties
def test_an_impossible_bound_is_answered_with_the_smallest_that_would_do(seed, share):
    W_dec, directions, gamma = problem(seed, n=200)
    solver = SparseSolver(W_dec, directions)
    tight = solver.socp(gamma, share * reach(gamma))
    assert tight.status == "infeasible"
    # Rows in all directions: nothing but what is missing itself has to be added.
    assert tight.smallest_epsilon == pytest.approx(reach(gamma), rel=1e-6)
    with pytest.raises(
        Infeasible, match=f"smallest ε that would do is {tight.smallest_epsilon:.6g}"
    ):
        _ = tight.delta
    assert solver.socp(gamma, 1.0001 * tight.smallest_epsilon).status == "optimal"
    assert solver.socp(gamma, 0.9999 * tight.smallest_epsilon).status == "infeasible"


@given(seed=seeds)
@properties
def test_few_features_need_more_norm_than_what_is_missing_and_say_how_much(seed):
    W_dec, directions, gamma = problem(seed, d=6, n=9, k=2)
    solver = SparseSolver(W_dec, directions)
    answer = solver.socp(gamma, 1.0001 * reach(gamma))
    if answer.status == "optimal":
        return
    smallest = answer.smallest_epsilon
    if smallest == math.inf:
        assert solve_reference(W_dec, directions, gamma, epsilon=1e5 * reach(gamma)) is None
        with pytest.raises(Infeasible, match="whatever the norm"):
            answer.check()
        return
    assert solve_reference(W_dec, directions, gamma, epsilon=1.001 * smallest) is not None
    assert solve_reference(W_dec, directions, gamma, epsilon=0.999 * smallest) is None


# ------------------------------------------------------------------------------- paths and defaults


def test_a_loose_bound_needs_at_most_k_features_and_the_default_one_binds():
    W_dec, directions, gamma = problem(5, d=40, n=600, k=5)
    gamma = gamma.abs()
    solver = SparseSolver(W_dec, directions)
    loose = solver.socp(gamma, 1e3)
    assert loose.l0 <= 5
    default = solver.socp(gamma)
    assert default.epsilon == pytest.approx(1.25 * reach(gamma))
    assert default.norm == pytest.approx(default.epsilon, rel=1e-6)
    assert default.l0 > 5
    assert default.objective > loose.objective


def test_along_a_path_the_cost_falls_as_the_bound_loosens_and_rises_with_the_penalty():
    W_dec, directions, gamma = problem(8, d=30, n=400, k=4)
    solver = SparseSolver(W_dec, directions)
    bounds = [reach(gamma) * f for f in (1.02, 1.1, 1.3, 1.7, 3.0)]
    path = solver.socp_path(gamma, bounds)
    costs = [answer.objective for answer in path]
    assert costs == sorted(costs, reverse=True)
    for bound, answer in zip(bounds, path, strict=True):
        fresh = SparseSolver(W_dec, directions).socp(gamma, bound)
        assert answer.objective == pytest.approx(fresh.objective, rel=1e-6)
    norms = [answer.norm for answer in solver.qp_path(gamma, [0.01, 0.1, 1.0, 10.0])]
    assert norms == sorted(norms, reverse=True)


def test_the_qp_whose_penalty_is_the_bounds_price_is_the_socp():
    W_dec, directions, gamma = problem(3)
    solver = SparseSolver(W_dec, directions)
    by_bound = solver.socp(gamma, 1.1 * reach(gamma))
    low, high = 1e-4, 1e4
    for _ in range(40):  # the norm falls as the penalty rises
        lam = (low * high) ** 0.5
        by_penalty = solver.qp(gamma, lam)
        low, high = (lam, high) if by_penalty.norm > by_bound.norm else (low, lam)
    torch.testing.assert_close(by_penalty.vector, by_bound.vector, atol=1e-4, rtol=1e-4)
    assert float(by_penalty.amounts.sum()) == pytest.approx(by_bound.objective, rel=1e-5)


def test_a_prompt_like_the_last_one_needs_fewer_looks_at_the_dictionary(monkeypatch):
    W_dec, directions, gamma = problem(21, d=40, n=3000, k=4)
    gamma = gamma.abs() + 0.3
    solver = SparseSolver(W_dec, directions)
    looks, prices = [], solver.rows.prices
    monkeypatch.setattr(solver.rows, "prices", lambda y: looks.append(1) or prices(y))
    solver.socp(gamma)
    first = len(looks)
    for nudge in (1.01, 1.02, 1.03):
        looks.clear()
        assert_certified(solver.socp(nudge * gamma), W_dec, directions, nudge * gamma)
        assert len(looks) < first
    solver.forget()
    looks.clear()
    solver.socp(gamma)
    assert len(looks) == first


def test_the_certificate_covers_features_that_were_never_looked_at():
    """A prefilter by cosine with the directions misses the optimum; the bound shows by how much."""
    W_dec, directions, gamma = problem(11, d=40, n=2000, k=3)
    gamma = gamma.abs() + 0.5
    best = SparseSolver(W_dec, directions).socp(gamma)
    relevance = (unit(W_dec) @ directions.T).abs().max(dim=1).values
    some = relevance.topk(100).indices
    filtered = SparseSolver(W_dec[some], directions).socp(gamma)
    assert filtered.objective > best.objective * 1.01
    assert best.bound == pytest.approx(best.objective, rel=1e-6)


def test_directions_of_any_length_that_are_not_orthogonal_are_right_too():
    W_dec, directions, gamma = problem(2, k=3)
    mix = torch.tensor([[2.0, 0.5, 0.0], [0.0, 0.1, 0.05], [1.0, 0.0, 5.0]], dtype=torch.double)
    oblique = mix @ directions
    answer = SparseSolver(W_dec, oblique).socp(gamma, 20.0)
    delta = solve_reference(W_dec, oblique, gamma, epsilon=20.0)
    assert answer.objective == pytest.approx(float(delta.sum()), rel=1e-5)


# ------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        (lambda D, W: (D.numpy(), W), TypeError, "W_dec is ndarray"),
        (lambda D, W: (D.long(), W), TypeError, "torch.int64"),
        (lambda D, W: (D[0], W), ValueError, "expected \\[d_sae, d_model\\]"),
        (lambda D, W: (D * 0, W), ValueError, "zeros alone"),
        (lambda D, W: (D.index_fill(0, torch.tensor(7), torch.nan), W), ValueError, "first: row 7"),
        (lambda D, W: (D, W[:, :-1]), ValueError, "as wide as the decoder's rows"),
        (lambda D, W: (D, torch.cat([W, W[:1]])), ValueError, "linearly dependent"),
        (lambda D, W: (D, W * torch.inf), ValueError, "directions holds NaN or infinite"),
        (lambda D, W: (D, W.tolist()), TypeError, "directions is list"),
    ],
)
def test_a_dictionary_or_directions_that_cannot_be_are_refused(change, error, says):
    W_dec, directions, _ = problem(0)
    with pytest.raises(error, match=says):
        SparseSolver(*change(W_dec, directions))


def test_goals_bounds_and_penalties_that_cannot_be_are_refused():
    W_dec, directions, gamma = problem(0)
    solver = SparseSolver(W_dec, directions)
    with pytest.raises(ValueError, match="expected \\[3\\], one for each direction"):
        solver.socp(gamma[:2])
    with pytest.raises(ValueError, match="gamma holds NaN"):
        solver.qp(gamma * torch.nan)
    for epsilon in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="epsilon is"):
            solver.socp(gamma, epsilon)
        with pytest.raises(ValueError, match="lam is"):
            solver.qp(gamma, epsilon)
    with pytest.raises(ValueError, match="and not both"):
        solve_reference(W_dec, directions, gamma)
