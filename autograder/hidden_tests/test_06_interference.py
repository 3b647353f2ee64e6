"""Hidden tests of assignment 06_interference. They run in the trusted process and call the student's.

Several tests of one task look at one mistake each and are lenient about the others, so that a
student who makes one mistake loses the points of that one and reads what it was. None of them
is passed by zeros, by the input, or by what a visible check expects.
"""

# canary-b9dce8c98d9cfb8bf4c9b8986a4e2ec1

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from autograder.probe import StudentError, task

TOLERANCE = 1e-4


def draw(rng, low, high):
    """A whole number from low to high, both included."""
    return int(torch.randint(low, high + 1, (), generator=rng))


def gauss(rng, *shape):
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def close(value, expected, tolerance=TOLERANCE):
    """Whether value is a tensor of expected's shape, equal up to a share of expected's norm."""
    if not isinstance(value, torch.Tensor) or value.shape != expected.shape:
        return False
    value, expected = value.detach().double().cpu(), expected.double()
    return bool((value - expected).norm() <= tolerance * expected.norm())


def two(value):
    """The two parts of a result."""
    assert isinstance(value, tuple | list)
    assert len(value) == 2
    return value


# -------------------------------------------------------------------------------- math_margin


def a_vocabulary(rng, n_prompts=5, size=30):
    """Logits [prompt, vocab], math tokens and real tokens; the last rows are no tokens."""
    logits = 3 * gauss(rng, n_prompts, size)
    is_math = torch.zeros(size, dtype=torch.bool)
    is_math[torch.randperm(size - 6, generator=rng)[: draw(rng, 4, 8)]] = True
    is_token = torch.arange(size) < size - 6
    logits[:, ~is_token] = -60.0
    return logits.float(), is_math, is_token


def sides(logits, is_math, is_token):
    """Each side's logits, row by row, as lists."""
    for row in logits.double().tolist():
        yield (
            [z for z, m, t in zip(row, is_math, is_token, strict=True) if m and t],
            [z for z, m, t in zip(row, is_math, is_token, strict=True) if t and not m],
        )


def log_sum(values):
    top = max(values)
    return top + math.log(sum(math.exp(z - top) for z in values))


def margins(*given):
    return torch.tensor([max(m) - max(r) for m, r in sides(*given)], dtype=torch.float64)


def odds(*given):
    return torch.tensor([log_sum(m) - log_sum(r) for m, r in sides(*given)], dtype=torch.float64)


@task(
    "math_margin",
    weight=2,
    misconception="The margin is the largest logit of a math token minus the largest of the tokens that "
    "are not mathematics; with math tokens among the rest it never rises above 0.",
)
def test_the_margin_compares_disjoint_sets(student, rng):
    logits, is_math, is_token = a_vocabulary(rng)
    logits[0, int(is_math.nonzero()[0])] = 20.0
    margin, _ = two(student.math_margin(logits, is_math, is_token))
    assert close(margin, margins(logits, is_math, is_token))


@task(
    "math_margin",
    weight=2,
    misconception="The log-odds add up the probability of all tokens of each side, by logsumexp; they are "
    "not the margin, and not a sum of logits.",
)
def test_the_log_odds_count_every_token(student, rng):
    logits, is_math, is_token = a_vocabulary(rng)
    _, found = two(student.math_margin(logits, is_math, is_token))
    assert close(found, odds(logits, is_math, is_token))


@task(
    "math_margin",
    weight=1,
    misconception="A row of the vocabulary that is no token (is_token False) belongs to neither set.",
)
def test_rows_without_a_token_have_no_say(student, rng):
    logits, is_math, is_token = a_vocabulary(rng)
    logits[:, is_math] -= 20.0  # far from the best: whether they count twice makes no difference
    logits[:, ~is_token] = 40 + gauss(rng, len(logits), 6).float()
    margin, found = two(student.math_margin(logits, is_math, is_token))
    assert isinstance(margin, torch.Tensor)
    assert isinstance(found, torch.Tensor)
    assert close(margin.abs(), margins(logits, is_math, is_token).abs())
    off = found.double().abs() - odds(logits, is_math, is_token).abs()
    assert bool((off.abs() < 12).all())


@task(
    "math_margin",
    weight=1,
    misconception="With logits far apart the log-odds are infinite, NaN or rounded off: compute in "
    "float32 at least, and use logsumexp, which never forms the tiny probabilities themselves.",
)
def test_logits_far_apart_and_half_precision(student, rng):
    logits, is_math, is_token = a_vocabulary(rng)
    logits[:, is_math] -= 150.0
    for given, error in ((logits, 0.01), (logits.half(), 0.01)):
        _, found = two(student.math_margin(given, is_math, is_token))
        assert isinstance(found, torch.Tensor)
        off = found.double().abs() - odds(given, is_math, is_token).abs()
        assert bool((off.abs() < error).all())


# ------------------------------------------------------------------------- candidate_features


def some_activity(level, lengths, is_code, chooses, rng):
    """Arguments of `candidate_features`, from each prompt's level [prompt, feature] and length.

    Tokens and prompts come in a random order.
    """
    order = torch.randperm(len(level), generator=rng)
    level, is_code, chooses = level[order], is_code[order], chooses[order]
    lengths = [lengths[i] for i in order.tolist()]
    prompt = torch.cat([torch.full((n,), i) for i, n in enumerate(lengths)])
    activity = level[prompt] * (0.5 + torch.rand(len(prompt), level.shape[1], generator=rng))
    shuffle = torch.randperm(len(prompt), generator=rng)
    return activity[shuffle].float(), prompt[shuffle], is_code, chooses


def both_halves_alike(rng, n_features=12):
    """Eight prompts of equal length, four of each kind, of which it makes no difference who chooses."""
    level = (gauss(rng, 2, n_features).abs() * 3).repeat_interleave(4, dim=0)
    is_code = torch.arange(8) < 4
    chooses = torch.arange(8) % 2 == 0
    activity, prompt, is_code, chooses = some_activity(level, [5] * 8, is_code, chooses, rng)
    # What judges is a copy of what chooses, token by token.
    for kind in (True, False):
        of_kind = is_code == kind
        own, other = ((of_kind & side).nonzero().flatten() for side in (chooses, ~chooses))
        for i, j in zip(own.tolist(), other.tolist(), strict=True):
            activity[prompt == j] = activity[prompt == i]
    everywhere, elsewhere = torch.randperm(n_features, generator=rng)[:2].tolist()
    activity[:, everywhere] = 50.0  # and so of no kind
    activity[:, elsewhere] = torch.where(is_code[prompt], 0.0, 30.0)  # the largest, the other way
    return activity, prompt, is_code, chooses


def mathematics_is_silent(rng, *, uneven, n_features=12):
    """Prompts of which those that choose are silent on mathematics; one of code may be very long."""
    is_code = torch.arange(12) < 8
    chooses = torch.ones(12, dtype=torch.bool)
    level = gauss(rng, 12, n_features).abs() * 3
    level[~is_code] = 0.0
    if not uneven:
        chooses[[0, 1, 8]] = False
        level[~chooses] = 90 * gauss(rng, 3, n_features).abs()
    lengths = [3] * 12
    if uneven:
        lengths[2] = 60
    return some_activity(level, lengths, is_code, chooses, rng)


def gaps(activity, prompt, is_code, chooses):
    """Difference of each feature, prompt by prompt."""
    activity, prompt = activity.double().numpy(), prompt.numpy()
    sums = {True: [], False: []}
    for i in range(len(is_code)):
        if chooses[i]:
            sums[bool(is_code[i])].append(activity[prompt == i].mean(0))
    return np.mean(sums[True], axis=0) - np.mean(sums[False], axis=0)


def is_ranked(found, values, k):
    """Whether found holds the k largest of values, best first, up to rounding."""
    if not isinstance(found, torch.Tensor) or found.shape != (k,):
        return False
    if len(set(found.tolist())) != k:
        return False
    best = np.sort(values)[::-1][:k]
    return bool(np.allclose(values[found.long().cpu().numpy()], best, atol=1e-4))


@task(
    "candidate_features",
    weight=2,
    misconception="A candidate for code has a large mean activity on code *minus* that on mathematics; "
    "the best come first.",
)
def test_candidates_have_the_largest_differences(student, rng):
    given = both_halves_alike(rng)
    k = draw(rng, 4, 6)
    code, _ = two(student.candidate_features(*given, k))
    assert is_ranked(code, gaps(*given), k)


@task(
    "candidate_features",
    weight=2,
    misconception="The candidates for mathematics are the features with the smallest (most negative) "
    "differences, the smallest first; not those with the smallest absolute ones.",
)
def test_candidates_for_mathematics_lie_at_the_other_end(student, rng):
    given = both_halves_alike(rng)
    k = draw(rng, 4, 6)
    _, math_side = two(student.candidate_features(*given, k))
    assert is_ranked(math_side, -gaps(*given), k)


@task(
    "candidate_features",
    weight=2,
    misconception="A prompt counts once: average over its tokens first, then over prompts, so that a long "
    "prompt does not outvote the others.",
)
def test_a_long_prompt_has_one_vote(student, rng):
    for _ in range(2):
        given = mathematics_is_silent(rng, uneven=True)
        code, _ = two(student.candidate_features(*given, 6))
        assert is_ranked(code, gaps(*given), 6)


@task(
    "candidate_features",
    weight=2,
    misconception="Prompts that judge (chooses False) had a say in the choice: what chooses must not judge.",
)
def test_only_the_prompts_that_choose_choose(student, rng):
    for _ in range(2):
        given = mathematics_is_silent(rng, uneven=False)
        code, _ = two(student.candidate_features(*given, 6))
        assert is_ranked(code, gaps(*given), 6)


# -------------------------------------------------------------------------------------- sweep


class Model:
    """A made-up model: a number for each vector that is added, and a record of them."""

    def __init__(self, rng, width=6, *, unit_controls=False):
        self.weights = gauss(rng, width) * 2
        self.base = 5.0 + draw(rng, 1, 9)
        self.rng, self.width, self.unit_controls = rng, width, unit_controls
        self.asked: list[torch.Tensor] = []
        self.drawn: list[torch.Tensor] = []

    def value(self, vector):
        vector = vector.double()
        return self.base + float(vector @ self.weights) + 0.3 * float(vector[0] ** 2)

    def measure(self, vector):
        assert isinstance(vector, torch.Tensor)
        assert vector.shape == (self.width,)
        self.asked.append(vector.detach().double().cpu())
        return self.value(vector)

    def draw(self, m):
        rows = gauss(self.rng, int(m), self.width)
        rows = rows / rows.norm(dim=1, keepdim=True)
        if not self.unit_controls:
            rows = rows * torch.linspace(0.3, 5.0, int(m), dtype=torch.float64)[:, None]
        self.drawn.append(rows)
        return rows.float()

    def effects(self, vectors, alphas, norm):
        units = vectors.double() / vectors.double().norm(dim=-1, keepdim=True)
        rows = [[self.value(a * norm * u) - self.base for a in alphas] for u in units]
        return torch.tensor(rows, dtype=torch.float64)


def swept(student, rng, *, length=1.0, n=4, norm=1.0, alphas=(0.5, 0.75, 2.0), unit_controls=True):
    """A sweep over a made-up model; what each test does not look at is made harmless by default."""
    model = Model(rng, unit_controls=unit_controls)
    direction = gauss(rng, 6)
    direction = (length * direction / direction.norm()).float()
    found = two(student.sweep(model.measure, direction, model.draw, n, list(alphas), norm))
    return model, direction, found


def same_but_for_a_constant(found, expected):
    """Whether rows agree when each is taken relative to its own mean."""
    if not isinstance(found, torch.Tensor) or found.shape != expected.shape:
        return False
    centred = (x.double() - x.double().mean(dim=-1, keepdim=True) for x in (found, expected))
    return close(*centred, 1e-3)


@task(
    "sweep",
    weight=2,
    misconception="An effect is the measured number minus the one where nothing (a vector of zeros) is "
    "added, at every strength; a negative strength pushes backwards.",
)
def test_effects_are_changes(student, rng):
    alphas = (-1.5, -0.5, 0.0, 0.75, 2.0)
    model, direction, (observed, _) = swept(student, rng, alphas=alphas)
    assert close(observed, model.effects(direction[None], alphas, 1.0)[0], 1e-3)


@task(
    "sweep",
    weight=2,
    misconception="The direction was added at its own length: a feature's decoder row may be any length, so "
    "bring it to |alpha| * stream_norm.",
)
def test_the_direction_has_the_length_of_the_dose(student, rng):
    alphas = (0.5, 0.75, 2.0)
    for length in (0.2, 7.0):
        norm = 4.0 + draw(rng, 1, 9)
        model, direction, (observed, _) = swept(student, rng, length=length, norm=norm)
        expected = model.effects(direction[None], alphas, norm)[0]
        assert same_but_for_a_constant(observed, expected)


@task(
    "sweep",
    weight=2,
    misconception="The controls are not as long as the direction: bring each to |alpha| * stream_norm, "
    "whatever length it was drawn at.",
)
def test_controls_are_as_long_as_the_direction(student, rng):
    norm, alphas = 4.0 + draw(rng, 1, 9), (0.5, 0.75, 2.0)
    model, _, _ = swept(student, rng, norm=norm, unit_controls=False)
    lengths = torch.stack(model.asked).norm(dim=1)
    allowed = torch.tensor([0.0, *(a * norm for a in alphas)], dtype=torch.float64)
    assert bool(((lengths[:, None] - allowed).abs().min(dim=1).values < 1e-3 * norm).all())
    assert len(lengths) > 2 * len(alphas)


@task(
    "sweep",
    weight=3,
    misconception="Controls are drawn once and kept: with fresh ones at every strength, no curve over "
    "strengths belongs to any direction.",
)
def test_controls_are_drawn_once(student, rng):
    n = draw(rng, 3, 6)
    model, _, (_, controls) = swept(student, rng, n=n)
    assert len(model.drawn) == 1
    assert isinstance(controls, torch.Tensor)
    assert controls.shape == (n, 3)
    assert same_but_for_a_constant(controls, model.effects(model.drawn[0], (0.5, 0.75, 2.0), 1.0))


# ------------------------------------------------------------------- rank_p, bootstrap_interval


def reached(observed, controls):
    """How many controls reach the effect, and how many there are."""
    size = abs(observed)
    return sum(size <= abs(c) for c in controls), len(controls)


def counts(p, observed, controls):
    """Whether p stands for the right count, be the effect itself counted in or not."""
    k, n = reached(observed, controls.tolist())
    return any(abs(float(p) - share) < 1e-6 for share in ((1 + k) / (1 + n), k / n))


@task(
    "rank_p",
    weight=2,
    misconception="p is (1 + controls that reach the effect) / (1 + controls): the effect itself is one of "
    "them, and p is never 0.",
)
def test_p_is_a_rank_and_never_0(student, rng):
    controls = gauss(rng, draw(rng, 9, 40)).abs().float()
    for observed in (50.0, float(controls.median()) + 1e-3, 0.0):
        k, n = reached(observed, controls.tolist())
        assert float(student.rank_p(observed, controls)) == pytest.approx((1 + k) / (1 + n))


@task(
    "rank_p",
    weight=2,
    misconception="The test is two-sided: a control as strong the other way counts, whichever sign the "
    "effect has.",
)
def test_p_counts_both_sides(student, rng):
    controls = gauss(rng, draw(rng, 20, 40)).float()
    controls[:2] = torch.tensor([-9.0, 9.0])
    for observed in (0.7, -0.7, 1.3, -1.3):
        assert counts(student.rank_p(observed, controls), observed, controls)


@task(
    "rank_p",
    weight=1,
    misconception="A control exactly as large as the effect counts as reaching it.",
)
def test_ties_count(student, rng):
    controls = torch.tensor([float(draw(rng, 0, 3)) for _ in range(30)] + [2.0, 2.0])
    assert counts(student.rank_p(2.0, controls), 2.0, controls)


@task(
    "rank_p", weight=1, misconception="Without a control there is no p-value: raise a ValueError."
)
def test_no_controls_are_refused(student, rng):
    some = gauss(rng, 5).float()
    assert 0 <= float(student.rank_p(1.0 + draw(rng, 0, 5), some)) <= 1
    with pytest.raises(StudentError) as raised:
        student.rank_p(1.0, torch.zeros(0))
    assert raised.value.type_name == "ValueError"


def prompts_with_rows(rng, counts):
    """Values of prompts with so many rows each, in a mixed order, and the prompts' means.

    The prompts with the smallest and the largest number have the largest values: none of them can be
    left out unnoticed. So have those with the most rows.
    """
    n = len(counts)
    names = sorted(torch.randperm(500, generator=rng)[:n].tolist())
    centre = (3 * gauss(rng, n)).sort().values.tolist()
    centre = [centre[-1], *centre[:-2], centre[-2]]
    most = sorted(range(n), key=lambda i: centre[i])
    of = dict(zip(most, sorted(counts), strict=True))
    rows, owner = [], []
    for i, (name, mean) in enumerate(zip(names, centre, strict=True)):
        rows += [mean + 0.05 * float(x) for x in gauss(rng, of[i])]
        owner += [name] * of[i]
    order = torch.randperm(len(rows), generator=rng)
    values, prompt = torch.tensor(rows)[order], torch.tensor(owner)[order]
    means = np.array([values[prompt == name].double().mean().item() for name in names])
    return values.float(), prompt, means


def is_interval(found, means, level, tolerance):
    """Whether both ends are those of a fine bootstrap interval, in standard errors of the mean."""
    low, high = (float(end) for end in two(found))
    draws = np.random.default_rng(0).integers(0, len(means), (20_000, len(means)))
    ends = np.quantile(means[draws].mean(1), [(1 - level) / 2, (1 + level) / 2])
    allowed = tolerance * means.std() / len(means) ** 0.5
    return abs(low - ends[0]) < allowed and abs(high - ends[1]) < allowed


@task(
    "bootstrap_interval",
    weight=2,
    misconception="Each resample draws as many prompts as there are, with replacement, and takes their mean; "
    "the interval lies between the (1 - level) / 2 and (1 + level) / 2 quantiles of those means.",
)
def test_the_interval_is_that_of_resampled_means(student, rng):
    values, prompt, means = prompts_with_rows(rng, [1] * 12)
    for level in (0.5, 0.9):
        found = student.bootstrap_interval(values, prompt, level, 4000, draw(rng, 0, 999))
        assert is_interval(found, means, level, 0.2)


@task(
    "bootstrap_interval",
    weight=3,
    misconception="Rows of one prompt (its tokens, its samples) were drawn as if they were prompts of their "
    "own: the interval comes out too narrow, and a prompt with many rows counts many times.",
)
def test_prompts_are_resampled_and_not_their_rows(student, rng):
    values, prompt, means = prompts_with_rows(rng, list(range(2, 26)))
    found = student.bootstrap_interval(values, prompt, 0.98, 2000, draw(rng, 0, 999))
    assert is_interval(found, means, 0.98, 0.7)


@task(
    "bootstrap_interval",
    weight=1,
    misconception="The same seed should give the same interval, and another seed another one.",
)
def test_the_seed_decides(student, rng):
    values, prompt, _ = prompts_with_rows(rng, [1] * 40)
    seed = draw(rng, 0, 10**6)
    first, again, *others = (
        [float(end) for end in two(student.bootstrap_interval(values, prompt, 0.9, 200, s))]
        for s in (seed, seed, seed + 1, seed + 2, seed + 3)
    )
    assert first == again
    assert any(other != first for other in others)
    assert first[0] < first[1]


# --------------------------------------------------------------- valid_code, validity_shares

PROGRAMS = (
    "x = {n}",
    "import os\nprint(os.sep * {n})",
    "def f(a):\n    return a + {n}",
    "for i in range({n}):\n    pass",
    "word\nprint({n})",
    "values[{n}]",
    "a.b",
    "x + {n}",
)
NOT_PYTHON = (
    "print({n}",
    "def f(:\n    pass",
    "x = = {n}",
    "  x = {n}\n y = 2",
    "while True {n}",
    "x\x00= {n}",
)
BARE = ("{n}", "banana", "'text {n}'", "None", "banana\n{n}\n'text'", "...", "{n}.5")


def verdicts(student, rng, sources):
    found = [student.valid_code(source.format(n=draw(rng, 1, 99))) for source in sources]
    assert all(type(one) is bool for one in found)
    return found


@task(
    "valid_code",
    weight=2,
    misconception="Source that Python's parser refuses is not valid, and raises nothing.",
)
def test_what_does_not_parse_is_not_valid(student, rng):
    assert verdicts(student, rng, NOT_PYTHON) == [False] * len(NOT_PYTHON)
    assert verdicts(student, rng, PROGRAMS[:3]) == [True] * 3


@task(
    "valid_code",
    weight=1,
    misconception="An empty block, or one with comments alone, is not valid code.",
)
def test_an_empty_block_is_not_valid(student, rng):
    assert verdicts(student, rng, ("", " \n\n", "# only a comment {n}")) == [False] * 3
    assert verdicts(student, rng, PROGRAMS[:2]) == [True] * 2


@task(
    "valid_code",
    weight=2,
    misconception="Bare names and bare constants are not valid code, also several of them; but one beside a "
    "real statement does no harm.",
)
def test_bare_names_and_constants_are_not_valid(student, rng):
    assert verdicts(student, rng, BARE) == [False] * len(BARE)
    assert verdicts(student, rng, PROGRAMS) == [True] * len(PROGRAMS)


@task(
    "valid_code",
    weight=1,
    misconception="The source is parsed and never run: a program that would fail is valid.",
)
def test_nothing_is_executed(student, rng):
    sources = (
        "1 / 0 + {n}",
        "raise SystemExit({n})",
        "import no_such_module_{n}",
        "undefined_{n}()",
    )
    assert verdicts(student, rng, sources) == [True] * len(sources)


def some_texts(rng):
    present = torch.rand(40, generator=rng) < 0.4
    valid = torch.rand(40, generator=rng) < 0.6
    present[:4], valid[:4] = torch.tensor([1, 1, 0, 0]).bool(), torch.tensor([1, 0, 1, 0]).bool()
    return present, valid


def three(value):
    assert isinstance(value, tuple | list)
    assert len(value) == 3
    return value


def shares(present, valid):
    pairs = list(zip(present.tolist(), valid.tolist(), strict=True))
    there, both = sum(p for p, _ in pairs), sum(p and v for p, v in pairs)
    return [there / len(pairs), both / there, both / len(pairs)]


@task(
    "validity_shares",
    weight=2,
    misconception="P(valid | present) is a share of the texts that have a block; P(present and valid) one of "
    "all texts.",
)
def test_the_three_shares(student, rng):
    present, valid = some_texts(rng)
    valid &= present
    found = three(student.validity_shares(present, valid))
    assert [float(x) for x in found] == pytest.approx(shares(present, valid))


@task(
    "validity_shares",
    weight=1,
    misconception="Where no block is present, `valid` means nothing, whatever it says.",
)
def test_what_is_absent_is_not_valid(student, rng):
    present, valid = some_texts(rng)
    found = three(student.validity_shares(present, valid))
    assert [float(x) for x in found] == pytest.approx(shares(present, valid))


@task(
    "validity_shares",
    weight=2,
    misconception="Where nothing is present, P(valid | present) is missing: None, not 0, not 1, not NaN.",
)
def test_a_share_of_nothing_is_missing(student, rng):
    n = draw(rng, 2, 9)
    nothing = torch.zeros(n, dtype=torch.bool)
    first, middle, last = three(student.validity_shares(nothing, nothing))
    assert middle is None
    assert float(first) == float(last) == 0
    present, valid = some_texts(rng)
    assert three(student.validity_shares(present, valid))[1] is not None


@task("validity_shares", weight=1, misconception="No texts at all: raise a ValueError.")
def test_no_texts_are_refused(student, rng):
    some_present, some_valid = some_texts(rng)
    assert three(student.validity_shares(some_present, some_valid))
    with pytest.raises(StudentError) as raised:
        student.validity_shares(torch.zeros(0, dtype=torch.bool), torch.zeros(0, dtype=torch.bool))
    assert raised.value.type_name == "ValueError"
