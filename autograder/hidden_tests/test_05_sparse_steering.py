"""Hidden tests of assignment 05_sparse_steering. They run in the trusted process and call the student's.

Each test of a task looks at one mistake and is lenient about the others. No expected value comes from
the program that the student is asked to write: components come from a covariance's eigenvectors,
linear programs from scipy, small quadratic ones from trying every guess of what is active, and the
norm-bounded ones from an answer whose dual point is checked here, feature by feature, in float64.
"""

# canary-e2f2452f56fc60d5d1c39057eba3cb04

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace

import clarabel
import numpy as np
import torch
from autograder.probe import task
from scipy import sparse
from scipy.optimize import linprog
from steerlab.sparse import SparseSolver

# A first-order solver at its defaults stays below 2e-3; what a mistake changes lies above 4e-2.
SOLVED = 1e-2
REACHED = 2e-3  # by how much a threshold or a bound may be missed, relative to the largest
TOLERANCE = 1e-3
APART = 0.04
CLOSE = 1e-4  # what counts as no difference


def draw(rng, low, high):
    """A whole number from low to high, both included."""
    return int(torch.randint(low, high + 1, (), generator=rng))


def gauss(rng, *shape):
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def uniform(rng, low, high):
    return low + (high - low) * float(torch.rand((), generator=rng))


def orthonormal(rng, k, width):
    return torch.linalg.qr(gauss(rng, width, width)).Q[:, :k].T.contiguous().float()


def unit_rows(rng, n, width):
    rows = gauss(rng, n, width)
    return (rows / rows.norm(dim=1, keepdim=True)).float()


def as_tensor(value, shape):
    """A finite tensor of that shape in float64."""
    assert isinstance(value, torch.Tensor)
    assert tuple(value.shape) == tuple(shape)
    value = value.detach().double().cpu()
    assert bool(value.isfinite().all())
    return value


def close(value, expected, tolerance=TOLERANCE):
    expected = torch.as_tensor(expected, dtype=torch.float64)
    value = as_tensor(value, expected.shape)
    return bool((value - expected).norm() <= tolerance * expected.norm())


def number(value):
    if isinstance(value, torch.Tensor):
        assert value.numel() == 1
        value = value.item()
    assert isinstance(value, float | int)
    assert not isinstance(value, bool)
    return float(value)


def two(value):
    assert isinstance(value, tuple | list)
    assert len(value) == 2
    return value


def relative(a, b):
    return abs(a - b) / max(abs(a), abs(b), 1e-12)


# ------------------------------------------------------------------------- concept_directions


@dataclass
class Texts:
    x: torch.Tensor
    labels: torch.Tensor
    axes: np.ndarray  # eigenvectors of the covariance, largest first
    apart: np.ndarray  # along each, the signed distance of the class means


def some_texts(rng, *, offset, limit=None, first=False):
    """Residuals whose largest components say little of the class, and clear gaps everywhere.

    first: the very largest does, and is one of the three that say most.
    """
    for _ in range(2000):
        n, width = draw(rng, 40, 60), draw(rng, 8, 11)
        labels = torch.rand(n, generator=rng) < 0.4
        if not 10 <= labels.sum().item() <= n - 10:
            continue
        basis = torch.linalg.qr(gauss(rng, width, width)).Q
        scale = 6.0 * 0.72 ** torch.arange(width, dtype=torch.float64)
        x = gauss(rng, n, width) * scale
        x = x - x.mean(0)
        moved = torch.zeros(width, dtype=torch.float64)
        places = torch.randperm(width - 3, generator=rng)[:3] + 2
        if first:
            places[draw(rng, 0, 2)] = 0
        moved[places] = scale[places] * torch.tensor([1.6, -1.2, 0.8], dtype=torch.float64)
        x = (x + labels[:, None] * moved) @ basis.T
        x = x - x.mean(0) + (15 * gauss(rng, width) if offset else 0.0)
        x = x.float()
        exact = x.double().numpy()
        values, axes = np.linalg.eigh(np.cov(exact.T))
        values, axes = values[::-1], axes[:, ::-1].T
        mask = labels.numpy()
        apart = axes @ (exact[mask].mean(0) - exact[~mask].mean(0))
        sizes = np.sort(np.abs(apart[:limit]))[::-1]
        gaps = sizes[:-1] - sizes[1:]
        order = np.argsort(-np.abs(apart[:limit]))
        clear = np.all(values[:-1] / values[1:] > 1.12) and np.all(gaps[:3] > 0.12 * sizes[0])
        # Distances in units of the spread along each component would put others first.
        by_effect = np.argsort(-np.abs(apart[:limit]) / np.sqrt(values[:limit]))
        telling = set(by_effect[:2]) != set(order[:2])
        if clear and telling and (0 in order[:3]) == first and np.any(order[:3] > 2):
            return Texts(x, labels, axes, apart)
    raise AssertionError("no residuals with clear gaps")


def more_than_half(texts):
    return len(texts.axes) // 2 + 1


def wanted(texts, k, limit=None):
    """Indices of the k components of the concept, best first."""
    return np.argsort(-np.abs(texts.apart[:limit]))[:k]


def directions_of(student, texts, k, **options):
    got, separations = two(student.concept_directions(texts.x, texts.labels, k, **options))
    return as_tensor(got, (k, texts.x.shape[1])).numpy(), separations


def both_ways(texts):
    """The same texts with either class as the target: whoever relies on the signs that a
    decomposition happens to have is wrong about one of them.
    """
    return texts, replace(texts, labels=~texts.labels, apart=-texts.apart)


def within_classes(texts, k):
    """The k most telling components of residuals minus the means of their own classes."""
    exact, mask = texts.x.double().numpy(), texts.labels.numpy()
    means = [exact[own].mean(0) for own in (mask, ~mask)]
    axes = np.linalg.eigh(np.cov((exact - np.where(mask[:, None], *means)).T))[1].T
    return axes[np.argsort(-np.abs(axes @ (means[0] - means[1])))[:k]]


def same_span(got, expected):
    return np.abs(got.T @ got - expected.T @ expected).max() < 1e-2


@task(
    "concept_directions",
    weight=3,
    misconception="Keep the components along which the class means lie furthest apart, whichever "
    "sign that has. How much residuals vary along them does not matter.",
)
def test_components_are_kept_by_how_far_they_separate(student, rng):
    for k, first in ((2, False), (3, False), (3, True)):
        texts = some_texts(rng, offset=False, first=first)
        for target in both_ways(texts):
            got, _ = directions_of(student, target, k)
            assert same_span(got, texts.axes[wanted(texts, k)])


@task(
    "concept_directions",
    weight=1,
    misconception="Far from the origin the components come out different: they are those of the "
    "residuals minus the mean over all texts.",
)
def test_residuals_are_centred_first(student, rng):
    def centring_matters(texts):
        """Those of residuals that are centred class by class are clearly others."""
        cosines = np.abs(within_classes(texts, 3) @ texts.axes.T).max(1)
        return True if cosines.min() < 0.97 else None

    texts, _ = repeat_until(lambda: some_texts(rng, offset=True), centring_matters)
    got, _ = directions_of(student, texts, 3)
    # Lenient about which components are kept: each one given has to be a component.
    cosines = np.abs(got @ texts.axes.T).max(1)
    assert bool((cosines > 0.99).all())
    assert same_span(
        got @ texts.axes.T, np.eye(len(texts.axes))[np.abs(got @ texts.axes.T).argmax(1)]
    )


@task(
    "concept_directions",
    weight=2,
    misconception="Each direction must point from the other class to the target, where labels are True.",
)
def test_every_direction_points_to_the_target(student, rng):
    for texts in both_ways(some_texts(rng, offset=False)):
        k = more_than_half(texts)  # so many do not all point one way by themselves
        got, _ = directions_of(student, texts, k)
        exact, mask = texts.x.double().numpy(), texts.labels.numpy()
        along = got @ (exact[mask].mean(0) - exact[~mask].mean(0))
        assert bool((along > -CLOSE * np.abs(texts.apart).max()).all())
        assert np.abs(got @ got.T - np.eye(k)).max() < 1e-2


@task(
    "concept_directions",
    weight=1,
    misconception="The separations are positive, in falling order, each that of its own direction.",
)
def test_separations_belong_to_their_directions_and_fall(student, rng):
    def orders_differ(texts):
        """Distances in units of the spread do not fall where the distances do."""
        spread = (texts.x.double().numpy() @ texts.axes.T).std(0)
        sizes = np.abs(texts.apart)[np.argsort(-np.abs(texts.apart) / spread)][
            : more_than_half(texts)
        ]
        return True if np.diff(sizes).max() > 0.1 * sizes.max() else None

    texts, _ = repeat_until(lambda: some_texts(rng, offset=False), orders_differ)
    k = more_than_half(texts)
    for target in both_ways(texts):
        got, separations = directions_of(student, target, k)
        separations = as_tensor(separations, (k,)).numpy()
        exact, mask = target.x.double().numpy(), target.labels.numpy()
        along = np.abs(got @ (exact[mask].mean(0) - exact[~mask].mean(0)))
        nothing = CLOSE * float(np.abs(texts.apart).max())
        assert np.allclose(separations, along, rtol=1e-3, atol=nothing)
        assert bool((np.diff(separations) < nothing).all())


@task(
    "concept_directions",
    weight=1,
    misconception="Only the n_components components with the largest variance may be chosen from.",
)
def test_only_the_first_components_take_part(student, rng):
    def limited():
        limit = draw(rng, 4, 5)
        return some_texts(rng, offset=False, limit=limit), limit

    def next_one_tempts(texts, limit):
        """Whoever looks at one component more, or at all of them, keeps others."""
        return True if limit in wanted(texts, 2, limit + 1) else None

    (texts, limit), _ = repeat_until(limited, lambda case: next_one_tempts(*case))
    # The last of those that may be chosen is among the best, and has to be let in.
    last = int(wanted(texts, 2, limit).max()) + 1
    for target in both_ways(texts):
        narrow, _ = directions_of(student, target, 2, n_components=last)
        assert same_span(narrow, texts.axes[wanted(texts, 2, last)])
        got, _ = directions_of(student, target, 2, n_components=limit)
        assert same_span(got, texts.axes[wanted(texts, 2, limit)])


@task(
    "concept_directions",
    weight=1,
    misconception="Your function changes the residuals that it was given. Build new tensors.",
)
def test_the_residuals_are_left_as_they_are(student, rng):
    texts = some_texts(rng, offset=True)
    result, (after, *_) = student.call_keeping("concept_directions", texts.x, texts.labels, 2)
    assert torch.equal(after, texts.x)
    got = as_tensor(two(result)[0], (2, texts.x.shape[1]))
    assert bool(got.any())


# ------------------------------------------------------------------------------------ missing


def missing_case(rng, *batch):
    """h, directions, target_mean; along the first direction h lacks something, along the last not."""
    for _ in range(1000):
        width, k = draw(rng, 6, 9), 3
        W = orthonormal(rng, k, width)
        target, h = 3 * gauss(rng, width).float(), 3 * gauss(rng, *batch, width).float()
        lacks = exact_missing(h, W, target)
        if bool((lacks.abs() > 0.3).all()) and bool((lacks > 0).any()) and bool((lacks < 0).any()):
            return h, W, target
    raise AssertionError("no residual that lacks one thing and has another")


def exact_missing(h, W, target):
    rows = []
    for residual in h.double().reshape(-1, h.shape[-1]):
        rows.append([float(sum(w.double() * (target.double() - residual))) for w in W])
    return torch.tensor(rows, dtype=torch.float64).reshape(*h.shape[:-1], len(W))


@task(
    "missing",
    weight=2,
    misconception="What is missing along w_j is w_jᵀ(μ − h): the target's mean minus what this "
    "residual has already.",
)
def test_it_is_the_way_from_the_residual_to_the_mean(student, rng):
    for _ in range(2):
        h, W, target = missing_case(rng)
        expected = exact_missing(h, W, target)
        got = as_tensor(student.missing(h, W, target), expected.shape)
        lacking = expected > 0
        assert close(got[lacking], expected[lacking])


@task(
    "missing",
    weight=1,
    misconception="A row where the residual has more than the mean is negative. It stays negative.",
)
def test_what_is_there_in_plenty_is_negative(student, rng):
    def signs_are_its_own(case):
        """Some row is negative and would not be without the residual, or the other way round."""
        h, W, target = case
        there = exact_missing(h, W, target) < 0
        without = exact_missing(torch.zeros_like(h), W, target) < 0
        return True if bool((there != without).any() and there.any()) else None

    (h, W, target), _ = repeat_until(lambda: missing_case(rng), signs_are_its_own)
    expected = exact_missing(h, W, target)
    got = as_tensor(student.missing(h, W, target), expected.shape)
    assert bool(((got < 0) == (expected < 0)).all())
    assert bool((got[expected < 0].abs() > 1e-3).all())


@task(
    "missing",
    weight=1,
    misconception="α stretches the way from the residual to the mean, all of it and nothing else.",
)
def test_alpha_stretches_the_way(student, rng):
    h, W, target = missing_case(rng)
    once = as_tensor(student.missing(h, W, target), (len(W),))
    assert bool(once.any())
    for alpha in (uniform(rng, 1.6, 3.0), uniform(rng, 0.3, 0.7)):
        assert close(student.missing(h, W, target, alpha=alpha), alpha * once)


@task(
    "missing",
    weight=1,
    misconception="Several residuals [n, d_model] or other shapes go wrong, or single numbers do.",
)
def test_several_residuals_at_once(student, rng):
    for batch in ((4,), (2, 3), ()):
        h, W, target = missing_case(rng, *batch)
        alpha = uniform(rng, 0.5, 2.0)
        got = student.missing(h, W, target, alpha=alpha)
        assert close(got, alpha * exact_missing(h, W, target))


# --------------------------------------------------------------------- what the programs give


def least_sum(D, W, gamma, *, equal=()):
    """The linear program without norm bound: (sum, amounts), or None where nothing would do.

    equal: rows that have to be met exactly.
    """
    lift = (W.double() @ D.double().T).numpy()
    goal = gamma.double().numpy()
    above = [j for j in range(len(goal)) if j not in equal]
    solved = linprog(
        np.ones(len(D)),
        A_ub=-lift[above] if above else None,
        b_ub=-goal[above] if above else None,
        A_eq=lift[list(equal)] if len(equal) else None,
        b_eq=goal[list(equal)] if len(equal) else None,
        method="highs",
    )
    return (float(solved.fun), solved.x) if solved.status == 0 else None


def bounded(D, W, gamma, epsilon):
    """The least sum within the norm bound, and δ; None unless a dual point proves it here."""
    answer = SparseSolver(D, W).socp(gamma.double(), epsilon)
    if answer.status != "optimal":
        return None
    rows = D.double().numpy()
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    mu, y = answer.multipliers.numpy(), answer.dual.numpy()
    z = W.double().numpy().T @ mu - y
    proof = float(gamma.double().numpy() @ mu - epsilon * np.linalg.norm(z))
    fine = mu.min() > -1e-9 and (rows @ y).max() < 1 + 1e-6
    if not fine or answer.objective - proof > 1e-4 * answer.objective:
        return None
    return answer.objective, answer.delta.double().numpy()


def by_guessing(program, lam=None, *, separately=False):
    """(δ, 1ᵀδ, length²) of the QP for λ, or of the shortest vector, by trying every active set.

    Small problems with independent rows only: each guess of which features are on and which rows are tight
    is one linear system, and the best of those that turn out feasible is the optimum. separately: with
    the penalty on ‖δ‖² instead.
    """
    rows, lift, goal = program.numbers()
    n, k = len(rows), len(goal)
    gram = np.eye(n) if separately else rows @ rows.T
    weight, price = (1.0, 0.0) if lam is None else (lam, 1.0)
    best = None
    for on in itertools.product((False, True), repeat=n):
        live = np.flatnonzero(on)
        for held in itertools.product((False, True), repeat=k):
            tight = np.flatnonzero(held)
            if not len(live) or len(tight) > len(live):
                continue
            A = lift[np.ix_(tight, live)]
            corner = np.zeros((len(tight), len(tight)))
            system = np.block([[weight * gram[np.ix_(live, live)], -A.T], [A, corner]])
            right = np.concatenate([np.full(len(live), -price), goal[tight]])
            delta = np.zeros(n)
            delta[live] = np.linalg.lstsq(system, right, rcond=None)[0][: len(live)]
            if delta.min() < -1e-9 or (lift @ delta - goal).min() < -1e-8:
                continue
            value = price * delta.sum() + weight / 2 * delta @ gram @ delta
            if best is None or value < best[0]:
                best = (value, delta)
    if best is None:
        return None
    delta = best[1]
    return delta, delta.sum().item(), float(delta @ rows @ rows.T @ delta)


def quadratic_ends(program, lam=None):
    """Whether Clarabel, CVXPY's choice for it, solves the QP for λ, or for the least squared length.

    About one program in a thousand makes it turn in circles, which is nobody's mistake.
    """
    rows, lift, goal = program.numbers()
    n, k = len(rows), len(goal)
    weight, price = (2.0, 0.0) if lam is None else (lam, 1.0)
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    solver = clarabel.DefaultSolver(
        sparse.triu(weight * rows @ rows.T, format="csc"),
        np.full(n, price),
        sparse.csc_matrix(np.vstack([-lift, -np.eye(n)])),
        np.concatenate([-goal, np.zeros(n)]),
        [clarabel.NonnegativeConeT(n + k)],
        settings,
    )
    return solver.solve().status == clarabel.SolverStatus.Solved


@dataclass
class Program:
    D: torch.Tensor
    W: torch.Tensor
    gamma: torch.Tensor

    @property
    def reach(self):
        return float(self.gamma.double().relu().norm())

    def numbers(self):
        """Rows, what a unit of each feature lifts, and γ, in float64."""
        lift = (self.W.double() @ self.D.double().T).numpy()
        return self.D.double().numpy(), lift, self.gamma.double().numpy()

    def check(self, delta):
        """δ ≥ 0 and every threshold is reached, both within what a solver leaves open."""
        delta = as_tensor(delta, (len(self.D),))
        assert float(delta.min()) >= -REACHED * max(1.0, float(delta.max()))
        self.check_thresholds(delta)
        return delta

    def check_thresholds(self, delta):
        lifted = self.W.double() @ (self.D.double().T @ delta)
        assert bool((lifted >= self.gamma.double() - REACHED * max(1.0, self.reach)).all())

    def length(self, delta):
        return float((self.D.double().T @ delta).norm())


def some_program(rng, k=3, *, n=36, width=8, low=-2.0):
    """A dictionary that points everywhere, and a γ with a row well above 0."""
    D, W = unit_rows(rng, n, width), orthonormal(rng, k, width)
    gamma = torch.tensor([uniform(rng, low, 6.0) for _ in range(k)])
    gamma[draw(rng, 0, k - 1)] = uniform(rng, 3.0, 6.0)
    return Program(D, W, gamma)


def repeat_until(make, fits, tries=3000):
    for _ in range(tries):
        case = make()
        found = fits(case)
        if found is not None:
            return case, found
    raise AssertionError("no problem of that kind was drawn")


def gain_of_signs(program):
    """By what share amounts of any sign would be cheaper; None where nothing would do."""
    plain = least_sum(program.D, program.W, program.gamma)
    signed = least_sum(torch.cat([program.D, -program.D]), program.W, program.gamma)
    return None if plain is None or signed is None else 1 - signed[0] / plain[0]


def met_exactly(program):
    """The linear program's answer that lifts each direction by γ_j and no more."""
    rows = tuple(range(len(program.gamma)))
    return least_sum(program.D, program.W, program.gamma, equal=rows)


def amounts_of(result, program):
    """The amounts of an answer that says it is optimal."""
    status, delta = two(result)
    assert isinstance(status, str)
    assert status.startswith("optimal")
    return as_tensor(delta, (len(program.D),))


def away_from(rng, W, n, width):
    """Features of which none lifts the first direction."""
    D = unit_rows(rng, n, width)
    along = (D @ W[0])[:, None]
    D = torch.where(along > 0, D - 1.5 * along * W[0], D)
    return D / D.norm(dim=1, keepdim=True)


# --------------------------------------------------------------------------------- solve_socp


@task(
    "solve_socp",
    weight=2,
    misconception="With a bound that does not bind, the answer is the least sum of amounts that lifts "
    "every direction by its γ_j.",
)
def test_the_cheapest_amounts_reach_every_threshold(student, rng):
    for k in (1, 3):

        def cheapest(program):
            if (gain_of_signs(program) or 0) > CLOSE:
                return None  # amounts below 0 are another test's
            least = least_sum(program.D, program.W, program.gamma)
            exact = met_exactly(program)
            if least is None or exact is None or exact[0] > (1 + CLOSE) * least[0]:
                return None  # and so is meeting the rows exactly
            return least

        program, (least, _) = repeat_until(lambda k=k: some_program(rng, k, low=1.0), cheapest)
        delta = amounts_of(
            student.solve_socp(program.D, program.W, program.gamma, 40 * program.reach), program
        )
        program.check_thresholds(delta)
        assert relative(float(delta.abs().sum()), least) < SOLVED


def bound_matters(program, tightness):
    """(ε, least sum) where the bound changes the answer and one on ‖δ‖ would be another."""
    loose = least_sum(program.D, program.W, program.gamma)
    epsilon = tightness * program.reach
    found = bounded(program.D, program.W, program.gamma, epsilon)
    if loose is None or found is None:
        return None
    least, delta = found
    signed = bounded(torch.cat([program.D, -program.D]), program.W, program.gamma, epsilon)
    if signed is None or least < (1 + APART) * signed[0]:
        return None  # whether a mistake with signs is one here shall not be luck
    if least < (1 + APART) * loose[0] or relative(float(np.linalg.norm(delta)), epsilon) < 0.1:
        return None
    return epsilon, least


@task(
    "solve_socp",
    weight=2,
    misconception="The bound holds for the length of what the features add up to, ‖Dᵀδ‖ ≤ ε: it is "
    "missing, or it is on something else.",
)
def test_the_length_of_the_sum_is_bounded(student, rng):
    for plenty in (True, False):
        tightness = uniform(rng, 1.08, 1.2)

        def fits(program, plenty=plenty, tightness=tightness):
            # To meet the rows exactly takes a vector as long as γ: once no bound allows that.
            if plenty and float(program.gamma.norm()) < 1.02 * tightness * program.reach:
                return None
            return bound_matters(program, tightness)

        low = -4.0 if plenty else -2.0
        program, (epsilon, least) = repeat_until(lambda low=low: some_program(rng, low=low), fits)
        delta = amounts_of(
            student.solve_socp(program.D, program.W, program.gamma, epsilon), program
        )
        assert program.length(delta) <= epsilon * (1 + REACHED)
        program.check(delta)
        assert relative(delta.sum().item(), least) < SOLVED


@task(
    "solve_socp",
    weight=1,
    misconception="Amounts below 0 are not allowed: a feature cannot be less than off.",
)
def test_no_amount_is_negative(student, rng):
    def signed_is_cheaper(program):
        if met_exactly(program) is None:
            return None
        return True if (gain_of_signs(program) or 0) > APART else None

    program, _ = repeat_until(lambda: some_program(rng, n=16, width=6), signed_is_cheaper)
    delta = amounts_of(
        student.solve_socp(program.D, program.W, program.gamma, 40 * program.reach), program
    )
    assert float(delta.min()) >= -REACHED * float(delta.abs().max())
    assert float(delta.max()) > 0.1


@task(
    "solve_socp",
    weight=1,
    misconception="A row with a negative γ_j bounds what may be lost there. It is neither left out, "
    "nor raised to 0, nor met exactly.",
)
def test_rows_with_a_negative_goal_count_as_they_are(student, rng):
    def draw_one():
        program = some_program(rng, 2)
        program.gamma = torch.tensor([uniform(rng, 3.0, 6.0), uniform(rng, -1.5, -0.5)])
        return program

    def binds(program):
        kept = least_sum(program.D, program.W, program.gamma)
        dropped = least_sum(program.D, program.W[:1], program.gamma[:1])
        raised = least_sum(program.D, program.W, program.gamma.relu())
        if kept is None or dropped is None or raised is None:
            return None
        if kept[0] < (1 + APART) * dropped[0] or raised[0] < (1 + APART) * kept[0]:
            return None
        if gain_of_signs(program) > CLOSE:
            return None
        return kept

    def is_slack(program):
        kept = least_sum(program.D, program.W, program.gamma)
        exact = least_sum(program.D, program.W, program.gamma, equal=(1,))
        if kept is None or exact is None or exact[0] < (1 + APART) * kept[0]:
            return None
        return None if gain_of_signs(program) > CLOSE else kept

    for fits in (binds, is_slack):
        program, (least, _) = repeat_until(draw_one, fits)
        delta = amounts_of(
            student.solve_socp(program.D, program.W, program.gamma, 40 * program.reach), program
        )
        program.check_thresholds(delta)
        assert relative(float(delta.abs().sum()), least) < SOLVED


@task(
    "solve_socp",
    weight=2,
    misconception="Where no amounts will do, the status is infeasible and there are no amounts: zeros "
    "would be taken for an answer.",
)
def test_what_cannot_be_solved_is_not_answered(student, rng):
    def at_right_angles():
        program = some_program(rng)
        # ‖δ‖ and ‖Dᵀδ‖ are one here: which of them is bounded is another test's.
        program.D = orthonormal(rng, 8, 8)
        return program

    program, _ = repeat_until(at_right_angles, lambda p: least_sum(p.D, p.W, p.gamma))
    short = student.solve_socp(program.D, program.W, program.gamma, 0.7 * program.reach)
    D = away_from(rng, program.W, 20, program.D.shape[1])
    goal = program.gamma.clone()
    goal[0] = 2.0
    wrong_way = student.solve_socp(D, program.W, goal, 50.0)
    for status, delta in map(two, (short, wrong_way)):
        assert status == "infeasible"
        assert delta is None


@task(
    "solve_socp",
    weight=1,
    misconception="Nothing is to be done exactly where no γ_j is above 0: then the amounts are zeros, "
    "and the status says that all is reached already.",
)
def test_where_nothing_is_missing_nothing_is_done(student, rng):
    program = some_program(rng)
    program.gamma = -torch.tensor([uniform(rng, 0.5, 4.0), 0.0, uniform(rng, 0.5, 4.0)])
    status, delta = two(student.solve_socp(program.D, program.W, program.gamma, 5.0))
    assert status == "already_satisfied"
    assert not bool(as_tensor(delta, (len(program.D),)).any())
    # One row is missing, though most have plenty.
    program.gamma = torch.tensor([-4.0, uniform(rng, 0.5, 1.0), -4.0])
    status, delta = two(student.solve_socp(program.D, program.W, program.gamma, 40.0))
    assert status != "already_satisfied"
    assert status != "infeasible"
    assert bool(as_tensor(delta, (len(program.D),)).any())


# --------------------------------------------------------------------------- smallest_epsilon


def few_features(rng, n=4, width=6, k=2):
    """A handful of independent features: they cannot make every vector."""
    return some_program(rng, k, n=n, width=width, low=-1.0)


def able_features(rng, gamma, width=8):
    """As many independent features as dimensions, that make Wᵀγ₊ with amounts above 0.

    Of more features the least square is not unique, and quadratic solvers fail now and then.
    """

    def turned():
        D, W = unit_rows(rng, width, width), orthonormal(rng, len(gamma), width)
        amounts = torch.linalg.solve(D.double().T, W.double().T @ gamma.double().relu())
        return Program(D * torch.where(amounts > 0, 1.0, -1.0)[:, None], W, gamma)

    def fits(program):
        well_apart = np.linalg.cond(program.D.double().numpy()) < 30
        return True if well_apart and quadratic_ends(program) else None

    return repeat_until(turned, fits)[0]


@task(
    "smallest_epsilon",
    weight=1,
    misconception="Where the features can make every vector that is asked for, the rows with γ_j > 0 "
    "alone decide how long the shortest one is.",
)
def test_rows_in_plenty_make_no_vector_longer(student, rng):
    for _ in range(2):
        gamma = some_program(rng).gamma
        gamma[gamma.argmin()] = -uniform(rng, 2.0, 4.0)
        program = able_features(rng, gamma)
        # Wᵀγ₊ itself keeps what is there in plenty, and nothing shorter reaches the rest.
        got = number(student.smallest_epsilon(program.D, program.W, program.gamma))
        assert relative(got, program.reach) < SOLVED


@task(
    "smallest_epsilon",
    weight=2,
    misconception="It is the length of the shortest vector that these very features can make, not of "
    "the cheapest one, and not of the shortest in all of space.",
)
def test_few_features_need_a_longer_vector(student, rng):
    def telling(program, plenty):
        loose = least_sum(program.D, program.W, program.gamma)
        shortest = by_guessing(program)
        if loose is None or shortest is None:
            return None
        length = math.sqrt(shortest[2])
        cheap = program.length(torch.from_numpy(loose[1]))
        total = float(program.gamma.double().norm())
        others = (cheap, total, program.reach, length**2, loose[0], shortest[1])
        if min(relative(length, other) for other in others) < APART:
            return None
        if plenty:  # then some row is reached with more than it asks for, and has to be let
            both = Program(
                program.D,
                torch.cat([program.W, -program.W]),
                torch.cat([program.gamma, -program.gamma]),
            )
            exact = by_guessing(both)
            if exact is not None and math.sqrt(exact[2]) < (1 + APART) * length:
                return None
        return length if quadratic_ends(program) else None

    for plenty in (True, False):
        program, length = repeat_until(
            lambda: few_features(rng), lambda p, plenty=plenty: telling(p, plenty)
        )
        got = number(student.smallest_epsilon(program.D, program.W, program.gamma))
        assert relative(got, length) < SOLVED


@task(
    "smallest_epsilon",
    weight=1,
    misconception="Where no amounts reach the thresholds no bound would do, however large: infinite.",
)
def test_no_bound_would_do(student, rng):
    program = some_program(rng)
    D = away_from(rng, program.W, 15, program.D.shape[1])
    goal = program.gamma.clone()
    goal[0] = uniform(rng, 1.0, 3.0)
    got = number(student.smallest_epsilon(D, program.W, goal))
    assert math.isinf(got)
    assert got > 0


@task(
    "smallest_epsilon",
    weight=1,
    misconception="Where nothing is missing the shortest vector has length 0.",
)
def test_nothing_missing_needs_no_length(student, rng):
    gamma = -some_program(rng).gamma.abs() - 0.1
    gamma[0] = 0.5
    program = able_features(rng, gamma)
    assert number(student.smallest_epsilon(program.D, program.W, gamma)) > 0.4
    gamma[0] = -0.5
    assert abs(number(student.smallest_epsilon(program.D, program.W, gamma))) < 1e-3


# ----------------------------------------------------------------------------------- solve_qp


def telling_qp(program, lam):
    """(δ, sum, length²) of the QP where other penalties, and none, give other answers."""
    loose = least_sum(program.D, program.W, program.gamma)
    if loose is None:
        return None
    here, half, double = (by_guessing(program, factor * lam) for factor in (1, 0.5, 2))
    separate = by_guessing(program, lam, separately=True)
    # Guesses have to be right to the last digits: now and then none is.
    if None in (here, half, double, separate):
        return None
    answers = [loose[1], half[0], double[0], separate[0]]
    least = min(np.linalg.norm(here[0] - other) for other in answers)
    if least < APART * np.linalg.norm(here[0]) or not quadratic_ends(program, lam):
        return None
    return here


@task(
    "solve_qp",
    weight=3,
    misconception="The cost is 1ᵀδ + λ/2 ‖Dᵀδ‖²: half of λ, the length of the sum, and that squared.",
)
def test_the_penalty_is_weighed_as_it_should_be(student, rng):
    for _ in range(2):
        lam = uniform(rng, 0.3, 1.2)
        program, (delta, _, _) = repeat_until(
            lambda: few_features(rng, n=5, width=6), lambda p, lam=lam: telling_qp(p, lam)
        )
        got = amounts_of(student.solve_qp(program.D, program.W, program.gamma, lam), program)
        assert np.linalg.norm(got.numpy() - delta) < SOLVED * np.linalg.norm(delta)


@task(
    "solve_qp",
    weight=1,
    misconception="With next to no penalty the answer is the least sum of amounts that reaches "
    "every threshold.",
)
def test_a_tiny_penalty_leaves_the_cheapest_amounts(student, rng):
    program, (least, _) = repeat_until(
        lambda: some_program(rng, 2, low=1.0), lambda p: least_sum(p.D, p.W, p.gamma)
    )
    got = amounts_of(student.solve_qp(program.D, program.W, program.gamma, 1e-3), program)
    program.check_thresholds(got)
    assert relative(float(got.abs().sum()), least) < SOLVED


@task(
    "solve_qp",
    weight=1,
    misconception="The penalty does not replace the constraints: thresholds are reached, amounts are not "
    "negative.",
)
def test_constraints_hold_whatever_the_penalty(student, rng):
    for lam in (0.05, 5.0):
        program, _ = repeat_until(
            lambda: some_program(rng), lambda p: bounded(p.D, p.W, p.gamma, 1.05 * p.reach)
        )
        got = amounts_of(student.solve_qp(program.D, program.W, program.gamma, lam), program)
        program.check(got)
        assert float(got.max()) > 0.1


@task(
    "solve_qp",
    weight=1,
    misconception="Nothing to do and nothing to be done are two statuses here, too.",
)
def test_the_qp_tells_its_statuses_apart(student, rng):
    program = some_program(rng)
    D = away_from(rng, program.W, 20, program.D.shape[1])
    goal = program.gamma.clone()
    goal[0] = 2.0
    status, delta = two(student.solve_qp(D, program.W, goal, 1.0))
    assert status == "infeasible"
    assert delta is None
    plenty = -goal.abs()
    plenty[1] = 0.0
    status, delta = two(student.solve_qp(D, program.W, plenty, 1.0))
    assert status == "already_satisfied"
    assert not bool(as_tensor(delta, (len(D),)).any())
    plenty[1] = 0.5
    assert two(student.solve_qp(program.D, program.W, plenty, 1.0))[0] != "already_satisfied"


# ---------------------------------------------------------------------------- steering_vector


@dataclass
class Amounts:
    D: torch.Tensor
    norms: torch.Tensor
    delta: torch.Tensor
    order: list[int]  # active features, largest amount first


def some_amounts(rng):
    """A few clear amounts among rounding noise, and norms that put activations in another order."""
    n, width, active = draw(rng, 20, 30), draw(rng, 6, 9), draw(rng, 3, 5)
    places = torch.randperm(n, generator=rng)[:active].tolist()
    if places == sorted(places):  # by amount shall not be by index
        places.reverse()
    sizes = sorted((uniform(rng, 0.1, 6.0) for _ in places), reverse=True)
    scale = (0.01, 40.0)[draw(rng, 0, 1)]
    sizes = [scale * (size + 0.3 * (active - i)) for i, size in enumerate(sizes)]
    norms = torch.tensor([uniform(rng, 0.5, 3.0) for _ in range(n)])
    norms[places] = torch.linspace(4.0, 0.25, active)
    norms[places[1]] = 2.0 * sizes[1] / sizes[0]  # so that its activation is twice the first one's
    delta = torch.zeros(n)
    noisy = torch.rand(n, generator=rng) < 0.6
    delta[noisy] = 1e-5 * sizes[0] * torch.rand(int(noisy.sum()), generator=rng)
    delta[places] = torch.tensor(sizes)
    # The weakest active one is small, and no rounding.
    last = places[-1]
    delta[last] = 0.01 * sizes[0]
    return Amounts(unit_rows(rng, n, width), norms, delta, places)


def recovered(student, case):
    vector, features = two(student.steering_vector(case.D, case.norms, case.delta))
    assert isinstance(features, dict)
    return vector, {int(i): number(value) for i, value in features.items()}


@task(
    "steering_vector",
    weight=2,
    misconception="The vector is the sum over the features of δ_i times the row of norm 1. Amounts are "
    "lengths: the norms have no part in it.",
)
def test_the_vector_is_the_weighted_sum_of_unit_rows(student, rng):
    for _ in range(2):
        case = some_amounts(rng)
        vector, _ = two(student.steering_vector(case.D, case.norms, case.delta))
        expected = sum(float(case.delta[i]) * case.D[i].double() for i, _ in enumerate(case.D))
        assert close(vector, expected)


@task(
    "steering_vector",
    weight=1,
    misconception="Active is what stands above a thousandth of the largest amount, no more and no less.",
)
def test_rounding_is_no_active_feature(student, rng):
    for _ in range(6):
        case = some_amounts(rng)
        _, features = recovered(student, case)
        assert set(features) == set(case.order)


@task(
    "steering_vector",
    weight=1,
    misconception="Features are listed by their amount, the largest first.",
)
def test_the_largest_amount_comes_first(student, rng):
    for _ in range(2):
        case = some_amounts(rng)
        _, features = recovered(student, case)
        strongest = [i for i in features if i in case.order]
        assert strongest == case.order


@task(
    "steering_vector",
    weight=1,
    misconception="An activation is counted in the autoencoder's own unit, in which the row of feature i "
    "has the length norms[i]: divide the amount by it.",
)
def test_activations_are_in_the_unit_of_the_autoencoder(student, rng):
    case = some_amounts(rng)
    _, features = recovered(student, case)
    for i in case.order:
        assert relative(features[i] * float(case.norms[i]), float(case.delta[i])) < 1e-3


@task(
    "steering_vector",
    weight=1,
    misconception="Where all amounts are 0, the vector is 0 and no feature is active.",
)
def test_zero_amounts_give_no_feature(student, rng):
    case = some_amounts(rng)
    full, _ = recovered(student, case)
    assert bool(as_tensor(full, (case.D.shape[1],)).any())
    case.delta = torch.zeros_like(case.delta)
    vector, features = recovered(student, case)
    assert not bool(as_tensor(vector, (case.D.shape[1],)).any())
    assert features == {}


# ------------------------------------------------------------------------------------ at_dose


def dose_case(rng):
    """Vectors of very different length, one of them 0, and tokens of very different length."""
    width, n = draw(rng, 6, 9), draw(rng, 4, 6)
    vectors = gauss(rng, n, width) * torch.logspace(-2, 2, n, dtype=torch.float64)[:, None]
    nothing = draw(rng, 0, n - 1)
    vectors[nothing] = 0.0
    tokens = gauss(rng, 30, width) * (
        0.3 + 9 * torch.rand(30, 1, generator=rng, dtype=torch.float64)
    )
    return vectors.float(), (tokens + 1.0).float(), uniform(rng, 0.15, 0.9), nothing


def mean_length(stream):
    return sum(math.sqrt(sum(float(v) ** 2 for v in token)) for token in stream) / len(stream)


@task(
    "at_dose",
    weight=2,
    misconception="Each vector gets the length dose times the mean length of the tokens: the lengths are "
    "averaged, not the tokens and not the squares.",
)
def test_each_vector_gets_the_length_that_the_dose_asks(student, rng):
    for _ in range(2):
        vectors, stream, dose, nothing = dose_case(rng)
        got = student.at_dose(vectors, stream, dose)
        assert isinstance(got, torch.Tensor)
        assert got.shape == vectors.shape
        rest = sorted(set(range(len(vectors))) - {nothing})
        lengths = got[rest].double().norm(dim=1)
        assert close(lengths, torch.full_like(lengths, dose * mean_length(stream)))


@task(
    "at_dose",
    weight=1,
    misconception="Only lengths change: every vector keeps its own direction.",
)
def test_every_vector_keeps_its_direction(student, rng):
    vectors, stream, dose, nothing = dose_case(rng)
    got = student.at_dose(vectors, stream, dose)
    assert isinstance(got, torch.Tensor)
    assert got.shape == vectors.shape
    for i, _ in enumerate(vectors):
        if i != nothing:
            cosine = torch.cosine_similarity(got[i].double(), vectors[i].double(), dim=0)
            assert float(cosine) > 0.999
    assert not torch.equal(got, vectors)


@task(
    "at_dose",
    weight=1,
    misconception="A vector of zeros has no direction. It stays zero, and is not NaN.",
)
def test_nothing_stays_nothing(student, rng):
    vectors, stream, dose, nothing = dose_case(rng)
    got = as_tensor(student.at_dose(vectors, stream, dose), vectors.shape)
    assert not bool(got[nothing].any())
    assert sum(bool(row.any()) for row in got) == len(vectors) - 1


@task(
    "at_dose",
    weight=1,
    misconception="Your function changes the vectors that it was given. Build new ones.",
)
def test_the_vectors_that_come_in_are_left_as_they_are(student, rng):
    vectors, stream, dose, _ = dose_case(rng)
    got, (after, tokens, *_) = student.call_keeping("at_dose", vectors, stream, dose)
    assert torch.equal(after, vectors)
    assert torch.equal(tokens, stream)
    assert isinstance(got, torch.Tensor)
    assert bool(got.any())
    assert not torch.equal(got, vectors)
