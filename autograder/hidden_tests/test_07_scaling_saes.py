"""Hidden tests of assignment 07_scaling_saes. They run in the trusted process and call the student's.

Files and trainings stay in the student's process: there the library writes and reads parquet, or runs
the training that is to be saved, and what comes back are numbers. Several tests of one task look at one
mistake each and are lenient about the others; no test of one task calls another's function.
"""

# canary-89d6a33e89670fdbcf4ac52b94e2ecdc

from __future__ import annotations

import math
import struct

import numpy as np
import torch
from autograder.probe import task
from scipy.stats import mannwhitneyu
from steerlab.sae.loop import TrainingRun

NAMES = ("W_enc", "b_enc", "W_dec", "b_dec")
INSIDE = "steerlab.checks.inside"


def draw(rng, low, high):
    """A whole number from low to high, both included."""
    return int(torch.randint(low, high + 1, (), generator=rng))


def gauss(rng, *shape):
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def uniform(rng, low, high):
    return low + (high - low) * float(torch.rand((), generator=rng, dtype=torch.float64))


def near(value, expected, tolerance=1e-6):
    """Whether a number is near another, relative to its size."""
    value = float(value)
    return math.isfinite(value) and abs(value - expected) <= tolerance * abs(expected)


def alike(value, expected, tolerance=1e-6):
    """Whether value is a tensor of expected's shape and numbers."""
    if not isinstance(value, torch.Tensor) or value.shape != expected.shape:
        return False
    value, expected = value.detach().double(), expected.detach().double()
    gap = (value - expected).norm()
    return bool(gap <= tolerance * max(1e-9, float(expected.norm())))


# -------------------------------------------------------------------------------- write_shard


def half_of(number):
    """The upper 16 bits of a float32, rounded to nearest, ties to the even one, as IEEE 754 has it."""
    (bits,) = struct.unpack("<I", struct.pack("<f", number))
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16) & 0xFFFF


def value_of(half):
    """The number whose upper 16 bits these are."""
    return struct.unpack("<f", struct.pack("<I", half << 16))[0]


def residuals(rng, n=None, d_model=None):
    """Rows of quite different lengths, in float32, with their tokens."""
    n, d_model = n or draw(rng, 5, 9), d_model or draw(rng, 3, 6)
    lengths = torch.tensor([[10.0 ** uniform(rng, -2, 2)] for _ in range(n)], dtype=torch.float64)
    token = torch.randint(0, 50_000, (n,), generator=rng)
    return (lengths * gauss(rng, n, d_model)).float(), token


def as_halves(x):
    return torch.tensor([[half_of(number) for number in row] for row in x.tolist()])


def norms_of(halves):
    return [math.sqrt(sum(value_of(h) ** 2 for h in row)) for row in halves.tolist()]


def written(student, x, token):
    found = student.library(f"{INSIDE}:shard_written")(student.write_shard, x, token)
    assert isinstance(found, dict)
    assert found["rows"] == len(x)
    return found


def column(found, name):
    numbers = found["numbers"][name]
    assert isinstance(numbers, np.ndarray)
    return torch.from_numpy(np.array(numbers).astype(np.int64))


@task(
    "write_shard",
    weight=3,
    misconception="The numbers of `residual` should be the 16 bits of each value after rounding it to "
    "bfloat16: .view, not a conversion, and no cutting off.",
)
def test_the_numbers_are_the_bits(student, rng):
    for _ in range(2):
        x, token = residuals(rng)
        found = column(written(student, x, token), "residual")
        # As int16 the upper half of them would be negative; which integer type is another test.
        assert torch.equal(found.remainder(65_536).reshape(x.shape), as_halves(x))


@task(
    "write_shard",
    weight=1,
    misconception="`residual` is a column of lists, d_model numbers a row, of the type uint16.",
)
def test_a_row_is_a_list_of_uint16(student, rng):
    x, token = residuals(rng)
    found = written(student, x, token)
    assert found["lengths"].get("residual") == [x.shape[1]]
    assert "uint16" in found["columns"]["residual"]
    assert bool(column(found, "residual").any())


@task(
    "write_shard",
    weight=1,
    misconception="The column `token` should hold the ids that were given, in the order of the rows.",
)
def test_every_row_keeps_its_token(student, rng):
    x, token = residuals(rng)
    assert column(written(student, x, token), "token").tolist() == token.tolist()


@task(
    "write_shard",
    weight=3,
    misconception="`norm_sum` should be the sum over the rows of each row's norm: no squares, no mean, "
    "and not one norm of everything.",
)
def test_the_norms_of_the_rows_are_added_up(student, rng):
    for _ in range(2):
        x, token = residuals(rng, n=draw(rng, 4, 12))
        said = written(student, x, token)["said"]
        # Within what rounding can do to a norm: whose norms they are is looked at by the next test.
        assert near(said["norm_sum"], sum(norms_of(as_halves(x))), 5e-3)


@task(
    "write_shard",
    weight=1,
    misconception="The norms should be those of the rows as they are stored, after rounding to bfloat16, "
    "and be added up in float64.",
)
def test_the_norms_are_of_what_is_stored(student, rng):
    # All of these are rounded down, by 0.2 to 0.38 percent.
    n = 1500
    spread = torch.rand(n, 3, generator=rng, dtype=torch.float64)
    x = (2.0 ** draw(rng, -1, 3) * (1.0 + 1 / 512 + spread / 600)).float()
    x = x * torch.where(torch.rand(n, 3, generator=rng) < 0.5, -1.0, 1.0)
    said = written(student, x, torch.arange(n))["said"]
    assert near(said["norm_sum"], sum(norms_of(as_halves(x))), 1e-5)


# -------------------------------------------------------------------------------- read_shards


def shard(rng, n, d_model, size=1.0):
    x = size * gauss(rng, n, d_model)
    halves = as_halves(x.float())
    token = torch.randint(0, 50_000, (n,), generator=rng)
    return halves, token, sum(norms_of(halves))


def read_back(student, shards):
    found = student.library(f"{INSIDE}:shards_read")(student.read_shards, shards)
    assert isinstance(found, tuple | list)
    assert len(found) == 3
    return found


@task(
    "read_shards",
    weight=3,
    misconception="The rows should be the stored bits read as bfloat16, unscaled, shard after shard in "
    "the order of the files.",
)
def test_the_rows_come_back_bit_by_bit(student, rng):
    d_model = draw(rng, 3, 6)
    shards = [shard(rng, n, d_model, size) for n, size in ((4, 1.0), (2, 30.0), (7, 0.01))]
    rows = read_back(student, shards)[0]
    assert isinstance(rows, torch.Tensor)
    assert rows.shape == (13, d_model)
    expected = [[value_of(h) for h in row] for halves, *_ in shards for row in halves.tolist()]
    assert rows.double().tolist() == expected


@task(
    "read_shards",
    weight=1,
    misconception="The tokens of all shards should come in the order of the rows.",
)
def test_the_tokens_go_with_the_rows(student, rng):
    shards = [shard(rng, n, 3) for n in (3, 5)]
    token = read_back(student, shards)[1]
    assert isinstance(token, torch.Tensor)
    assert token.tolist() == [i for _, ids, _ in shards for i in ids.tolist()]


@task(
    "read_shards",
    weight=2,
    misconception="With one shard the factor is √d_model over the mean norm: rows times factor have the "
    "mean norm √d_model, and norms are not squared.",
)
def test_one_shard_is_brought_to_the_root_of_the_width(student, rng):
    halves, token, total = shard(rng, draw(rng, 6, 9), d_model := draw(rng, 3, 6))
    # One row that is far longer than the rest, where mean and root mean square part.
    halves[0] = as_halves(torch.full((1, d_model), 50.0))[0]
    total = sum(norms_of(halves))
    factor = read_back(student, [(halves, token, total)])[2]
    assert near(factor, math.sqrt(d_model) * len(halves) / total, 1e-5)


@task(
    "read_shards",
    weight=3,
    misconception="The factor belongs to all shards together: add up the sums of norms, add up the rows, "
    "and divide once. Shards with more rows count more.",
)
def test_shards_count_by_their_rows(student, rng):
    d_model = draw(rng, 3, 6)
    shards = [shard(rng, n, d_model, size) for n, size in ((9, 1.0), (2, 20.0), (1, 0.1))]
    factor = read_back(student, shards)[2]
    rows, total = sum(len(s[0]) for s in shards), sum(s[2] for s in shards)
    assert near(factor, math.sqrt(d_model) * rows / total, 1e-5)


# ----------------------------------------------------------------------- save_state, load_state


class Small:
    """A small training, here and in the student's process."""

    def __init__(self, rng, n_steps=40, **settings):
        d_model, d_sae = draw(rng, 3, 4), draw(rng, 6, 8)
        rows = gauss(rng, d_sae, d_model)
        self.sae = {
            "W_enc": rows.T.contiguous(),
            "b_enc": gauss(rng, d_sae) - 0.5,
            "W_dec": rows + 0.1 * gauss(rng, d_sae, d_model),
            "b_dec": gauss(rng, d_model),
        }
        self.sae["b_enc"][1] = -60.0  # it will never fire
        self.x = gauss(rng, 60, d_model)
        self.seed, self.n_steps = draw(rng, 0, 10_000), n_steps
        self.settings = {"batch_size": 5, "learning_rate": 0.02, **settings}

    def arguments(self, seed=None):
        return [self.sae, self.x, self.seed if seed is None else seed, self.n_steps, self.settings]

    def run(self, steps):
        """The same training here, so many steps on."""
        run = TrainingRun(self.sae, self.x, n_steps=self.n_steps, seed=self.seed, **self.settings)
        run.advance(steps)
        return run

    def state(self, steps):
        """What a checkpoint of it holds, gathered from the outside by PyTorch's own state_dict."""
        run = self.run(steps)
        memory = run.optimizer.state_dict()["state"]
        state = {name: tensor.detach().clone() for name, tensor in run.sae.items()}
        for number, name in enumerate(NAMES):
            for moment, value in memory[number].items():
                state[f"{moment}.{name}"] = value.clone()
        state["generator"] = run.generator.get_state()
        state["steps_done"] = torch.tensor(run.steps_done)
        state["silent"] = run.silent.clone()
        return state


def saved(student, small, steps, further=0):
    found = student.library(f"{INSIDE}:state_saved")(
        student.save_state, small.arguments(), steps, further
    )
    assert isinstance(found, list)
    assert len(found) == 2
    assert all(isinstance(state, dict) for state in found)
    return found


@task(
    "save_state",
    weight=2,
    misconception="The state should hold the four parameters as training has left them.",
)
def test_the_parameters_are_saved_as_they_are_now(student, rng):
    small, steps = Small(rng), draw(rng, 3, 9)
    state, expected = saved(student, small, steps)[0], small.state(steps)
    assert all(alike(state[name], expected[name]) for name in NAMES)


@task(
    "save_state",
    weight=3,
    misconception="Adam's memory is missing or goes by other names: step, exp_avg and exp_avg_sq of each of "
    "the four parameters, as they stand in run.optimizer.state[parameter].",
)
def test_adams_memory_is_saved(student, rng):
    small, steps = Small(rng), draw(rng, 3, 9)
    state, expected = saved(student, small, steps)[0], small.state(steps)
    for name in NAMES:
        assert alike(state[f"exp_avg.{name}"], expected[f"exp_avg.{name}"])
        assert alike(state[f"exp_avg_sq.{name}"], expected[f"exp_avg_sq.{name}"])
        assert float(state[f"step.{name}"]) == steps


@task(
    "save_state",
    weight=2,
    misconception="`generator` should be the state of the run's own generator, at that moment.",
)
def test_the_generator_is_saved_where_it_stands(student, rng):
    small, steps = Small(rng), draw(rng, 3, 9)
    state, expected = saved(student, small, steps)[0], small.state(steps)
    place = state["generator"]
    assert isinstance(place, torch.Tensor)
    assert torch.equal(place, expected["generator"])


@task(
    "save_state",
    weight=2,
    misconception="λ and the learning rate follow `steps_done`, and resampling follows `silent`: both "
    "belong into the state.",
)
def test_steps_and_silence_are_saved(student, rng):
    small, steps = Small(rng), draw(rng, 3, 9)
    state, expected = saved(student, small, steps)[0], small.state(steps)
    assert int(state["steps_done"]) == steps
    assert state["silent"].tolist() == expected["silent"].tolist()


@task(
    "save_state",
    weight=2,
    misconception="The saved tensors change while the run goes on: the optimizer writes into them. Save "
    "copies of the parameters and of Adam's memory, its step counter included.",
)
def test_what_is_saved_stays_when_the_run_goes_on(student, rng):
    small, steps = Small(rng), draw(rng, 3, 6)
    at_once, later = saved(student, small, steps, further=4)
    assert all(bool(at_once[name].any()) for name in NAMES)
    assert at_once.keys() == later.keys()
    assert all(torch.equal(at_once[name], later[name]) for name in at_once)


@task(
    "save_state",
    weight=1,
    misconception="The saved parameters still require gradients: detach them.",
)
def test_what_is_saved_carries_no_gradients(student, rng):
    attached = student.library(f"{INSIDE}:state_attached")
    small = Small(rng)
    assert alike(saved(student, small, 3)[0]["W_dec"], small.state(3)["W_dec"])
    assert attached(student.save_state, small.arguments(), 3) == []


def loaded(student, small, state, before=0, further=0, seed=None):
    """What a run with another seed is like after the student's load_state, and later."""
    seed = small.seed + 1 if seed is None else seed
    found = student.library(f"{INSIDE}:state_loaded")(
        student.load_state, small.arguments(seed), state, before, further
    )
    assert isinstance(found, dict)
    return found


@task(
    "load_state",
    weight=2,
    misconception="After loading, run.sae should hold the parameters of the state.",
)
def test_the_parameters_are_those_of_the_state(student, rng):
    small = Small(rng)
    state = small.state(draw(rng, 5, 9))
    for before in (0, 3):
        found = loaded(student, small, state, before)
        assert all(alike(found["sae"][name], state[name]) for name in NAMES)


@task(
    "load_state",
    weight=3,
    misconception="The steps after loading are not those that Adam would have made with its memory: step, "
    "exp_avg and exp_avg_sq of each parameter go back into run.optimizer, which goes on training run.sae.",
)
def test_adam_goes_on_with_its_memory(student, rng):
    # Equal rows make every batch the same, and no λ and no decay yet make the schedule flat: whether
    # generator and step number were restored makes no difference here.
    small = Small(rng, n_steps=400, sparsity=0.0)
    small.x = small.x[:1].expand(60, -1).contiguous()
    state = small.state(12)
    expected = {name: tensor.detach() for name, tensor in small.run(17).sae.items()}
    for before in (0, 4):
        found = loaded(student, small, state, before, further=5)
        for name in NAMES:
            way = float((expected[name] - state[name]).norm())
            assert float((found["later"][name] - expected[name]).norm()) <= 1e-6 * way


@task(
    "load_state",
    weight=2,
    misconception="run.generator should go on where the state's was: set_state.",
)
def test_the_next_draws_are_those_that_would_have_come(student, rng):
    small = Small(rng)
    state = small.state(draw(rng, 5, 9))
    there = torch.Generator()
    there.set_state(state["generator"])
    expected = torch.randint(1000, (8,), generator=there)
    for before in (0, 2):
        assert torch.equal(loaded(student, small, state, before)["next"], expected)


@task(
    "load_state",
    weight=2,
    misconception="run.steps_done should be the state's: λ and the learning rate follow it.",
)
def test_the_schedule_goes_on(student, rng):
    small, steps = Small(rng), draw(rng, 5, 9)
    assert loaded(student, small, small.state(steps), draw(rng, 0, 3))["steps_done"] == steps


@task(
    "load_state",
    weight=1,
    misconception="run.silent should be the state's: how long each latent has been silent.",
)
def test_the_silent_latents_are_still_silent(student, rng):
    small = Small(rng)
    state = small.state(draw(rng, 5, 9))
    state["silent"] = torch.randint(0, 30, state["silent"].shape, generator=rng)
    assert loaded(student, small, state)["silent"].tolist() == state["silent"].tolist()


@task(
    "load_state",
    weight=2,
    misconception="A run that is stopped and loaded should end exactly where an undisturbed one ends.",
)
def test_it_ends_where_the_undisturbed_one_ends(student, rng):
    small = Small(rng)
    found = loaded(student, small, small.state(draw(rng, 11, 29)), draw(rng, 0, 5), further=40)
    expected = small.run(40).sae
    assert all(alike(found["later"][name], expected[name]) for name in NAMES)


@task(
    "load_state",
    weight=2,
    misconception="The state changes when the run goes on: the optimizer writes into the tensors that it "
    "was given. Hand it copies.",
)
def test_the_state_can_be_loaded_again(student, rng):
    small = Small(rng)
    state = small.state(draw(rng, 5, 9))
    found = loaded(student, small, state, further=4)
    assert alike(found["sae"]["W_dec"], state["W_dec"])
    assert found["state"].keys() == state.keys()
    assert all(torch.equal(found["state"][name], state[name]) for name in state)


# ----------------------------------------------------------------------------------- resample


class Dying:
    """A state with some dead latents, and inputs of which exactly one has an error."""

    def __init__(self, rng, n_dead=None, d_sae=None, d_model=None):
        self.d_model, self.d_sae = d_model or draw(rng, 3, 5), d_sae or draw(rng, 9, 12)
        n_dead = n_dead or draw(rng, 2, 4)
        self.dead = torch.zeros(self.d_sae, dtype=torch.bool)
        self.dead[torch.randperm(self.d_sae, generator=rng)[:n_dead]] = True
        shapes = {
            "W_enc": (self.d_model, self.d_sae),
            "b_enc": (self.d_sae,),
            "W_dec": (self.d_sae, self.d_model),
            "b_dec": (self.d_model,),
        }
        self.state = {name: gauss(rng, *shape) for name, shape in shapes.items()}
        self.state["b_dec"] = 2 + self.state["b_dec"]
        # The dead are much longer than the living, and latents have quite different norms.
        lengths = torch.where(self.dead, 40.0, 1.0).double()
        lengths = lengths * (0.3 + torch.rand(self.d_sae, generator=rng, dtype=torch.float64))
        self.state["W_dec"] *= lengths[:, None]
        self.state["W_enc"] *= lengths[torch.arange(self.d_sae).flip(0)][None] * 3
        for name, shape in shapes.items():
            self.state[f"step.{name}"] = torch.tensor(float(draw(rng, 20, 90)))
            self.state[f"exp_avg.{name}"] = gauss(rng, *shape)
            self.state[f"exp_avg_sq.{name}"] = gauss(rng, *shape).square()
        self.state["generator"] = torch.Generator().manual_seed(draw(rng, 0, 999)).get_state()
        self.state["steps_done"] = torch.tensor(draw(rng, 20, 90))
        self.state["silent"] = torch.randint(1, 30, (self.d_sae,), generator=rng)
        self.x = 3 * gauss(rng, 8, self.d_model) + self.state["b_dec"]
        self.error = torch.zeros_like(self.x)
        self.bad = draw(rng, 0, 7)
        self.error[self.bad] = gauss(rng, self.d_model)

    def after(self, student):
        found = student.resample(self.state, self.dead, self.x, self.error)
        assert isinstance(found, dict)
        assert set(found) == set(self.state)
        for name, tensor in self.state.items():
            assert isinstance(found[name], torch.Tensor)
            assert found[name].shape == tensor.shape
        return found

    def rows(self, found):
        return found["W_dec"][self.dead].double()

    def columns(self, found):
        return found["W_enc"].T[self.dead].double()


def angles(rows, direction):
    """Cosines of some rows with a direction."""
    lengths = (rows * rows).sum(1).sqrt() * (direction @ direction).sqrt()
    return ((rows @ direction) / lengths).tolist()


@task(
    "resample",
    weight=2,
    misconception="The new rows of W_dec and columns of W_enc should point along x − b_dec, for an input "
    "that is badly reconstructed.",
)
def test_the_dead_point_at_what_is_badly_rebuilt(student, rng):
    dying = Dying(rng)
    found = dying.after(student)
    wanted = dying.x[dying.bad] - dying.state["b_dec"]
    for cosine in [*angles(dying.rows(found), wanted), *angles(dying.columns(found), wanted)]:
        assert cosine > 1 - 1e-6


@task(
    "resample",
    weight=2,
    misconception="An input should be drawn with a probability proportional to the fourth power of the "
    "norm of its error.",
)
def test_inputs_are_drawn_by_the_fourth_power(student, rng):
    dying = Dying(rng, n_dead=3000, d_sae=3001, d_model=3)
    dying.error.zero_()
    # Two inputs, one with an error twice as long: 16 of 17 draws are its. By the square it were 4 of 5.
    long, short = torch.randperm(8, generator=rng)[:2].tolist()
    ways = gauss(rng, 2, 3)
    ways = ways / ways.norm(dim=1)[:, None]
    dying.error[long], dying.error[short] = 2 * ways[0], ways[1]
    rows = dying.rows(dying.after(student))
    # Lenient about the centre: whichever of the two an angle is nearer to.
    b_dec = dying.state["b_dec"]
    shares = []
    for centre in (b_dec, torch.zeros_like(b_dec)):
        near_to = [torch.tensor(angles(rows, dying.x[i] - centre)) for i in (long, short)]
        if float(torch.maximum(*near_to).min()) > 1 - 1e-6:
            shares.append(float((near_to[0] > near_to[1]).double().mean()))
    assert any(abs(share - 16 / 17) < 0.03 for share in shares)


@task(
    "resample",
    weight=2,
    misconception="The new rows of W_dec should have the mean norm of the living rows, neither 1 nor that "
    "of all rows: the loss charges for norms.",
)
def test_the_new_rows_have_the_price_of_the_living(student, rng):
    dying = Dying(rng)
    found = dying.rows(dying.after(student))
    living = [math.sqrt(float(r @ r)) for r in dying.state["W_dec"][~dying.dead]]
    assert all(near(row.norm(), sum(living) / len(living), 1e-5) for row in found)


@task(
    "resample",
    weight=1,
    misconception="A new column of W_enc should be a fifth as long as those of living latents on average, "
    "and have no bias.",
)
def test_the_new_latents_speak_up_softly(student, rng):
    dying = Dying(rng)
    found = dying.after(student)
    living = [math.sqrt(float(c @ c)) for c in dying.state["W_enc"].T[~dying.dead]]
    assert all(near(c.norm(), sum(living) / len(living) / 5, 1e-5) for c in dying.columns(found))
    assert not found["b_enc"][dying.dead].any()


@task(
    "resample",
    weight=3,
    misconception="Adam should forget the dead latents: exp_avg and exp_avg_sq are 0 in their rows of "
    "W_dec, their columns of W_enc and their entries of b_enc.",
)
def test_adam_forgets_the_dead(student, rng):
    dying = Dying(rng)
    found = dying.after(student)
    assert bool(dying.rows(found).any())
    for moment in ("exp_avg", "exp_avg_sq"):
        assert not found[f"{moment}.W_dec"][dying.dead].any()
        assert not found[f"{moment}.W_enc"].T[dying.dead].any()
        assert not found[f"{moment}.b_enc"][dying.dead].any()


@task("resample", weight=1, misconception="A latent that has been resampled is silent for 0 steps.")
def test_the_new_latents_have_not_been_silent(student, rng):
    dying = Dying(rng)
    found = dying.after(student)
    assert bool(found["silent"].any())
    assert not found["silent"][dying.dead].any()


@task(
    "resample",
    weight=2,
    misconception="The living latents, b_dec, the generator and the step numbers should stay as they are, "
    "and so should what Adam remembers of them.",
)
def test_the_living_are_left_alone(student, rng):
    dying = Dying(rng)
    found, living = dying.after(student), ~dying.dead
    assert not torch.equal(found["W_dec"], dying.state["W_dec"])
    for name, tensor in dying.state.items():
        before, now = tensor, found[name]
        if name.endswith("W_enc") and tensor.ndim == 2:
            before, now = before.T[living], now.T[living]
        elif name.endswith(("b_enc", "W_dec", "silent")) and tensor.ndim:
            before, now = before[living], now[living]
        assert torch.equal(now, before)


@task(
    "resample",
    weight=1,
    misconception="The state that was given has changed. Make a new one: it may be the last good "
    "checkpoint.",
)
def test_the_given_state_is_kept(student, rng):
    dying = Dying(rng)
    found, kept = student.call_keeping("resample", dying.state, dying.dead, dying.x, dying.error)
    assert isinstance(found, dict)
    assert not torch.equal(found["W_dec"], dying.state["W_dec"])
    assert all(torch.equal(kept[0][name], tensor) for name, tensor in dying.state.items())


# ------------------------------------------------------------------------------------ fit_law


def line(u, v):
    """(slope, intercept) by the normal equations."""
    mean_u, mean_v = sum(u) / len(u), sum(v) / len(v)
    slope = sum((a - mean_u) * (b - mean_v) for a, b in zip(u, v, strict=True))
    slope /= sum((a - mean_u) ** 2 for a in u)
    return slope, mean_v - slope * mean_u


def law_at(points, c):
    """(miss in log FVU, miss in log(FVU − c), miss in FVU, a, alpha) at one offset."""
    logs = [math.log(p["d_sae"]) for p in points]
    slope, start = line(logs, [math.log(p["fvu"] - c) for p in points])
    explained = [math.log(c + math.exp(start + slope * u)) for u in logs]
    miss = sum((math.log(p["fvu"]) - e) ** 2 for p, e in zip(points, explained, strict=True))
    above = [math.log(p["fvu"] - c) - start - slope * u for u, p in zip(logs, points, strict=True)]
    plain = [p["fvu"] - math.exp(e) for p, e in zip(points, explained, strict=True)]
    return miss, sum(e * e for e in above), sum(e * e for e in plain), math.exp(start), -slope


def on_a_law(rng, l0, c=0.0, noise=0.0, n=None):
    """Points near a law of their own, of different sizes, in no order."""
    a, alpha = uniform(rng, 0.5, 4.0), uniform(rng, 0.3, 0.9)
    sizes = [int(64 * 2 ** (i + uniform(rng, 0, 0.5))) for i in range(n or draw(rng, 4, 7))]
    points = []
    for i in torch.randperm(len(sizes), generator=rng).tolist():
        shaken = math.exp(noise * float(gauss(rng, 1)))
        fvu = (c + a * sizes[i] ** -alpha) * shaken
        points.append({"d_sae": sizes[i], "l0": l0 * uniform(rng, 0.97, 1.03), "fvu": fvu})
    return points, (a, alpha, c)


def fitted(student, points, l0, offsets):
    found = student.fit_law(points, l0, offsets)
    assert isinstance(found, tuple | list)
    assert len(found) == 3
    assert all(isinstance(value, int | float | np.floating) for value in found)
    return [float(value) for value in found]


@task(
    "fit_law",
    weight=2,
    misconception="Without an offset, a and alpha are those of the least-squares line of log(fvu) against "
    "log(d_sae): alpha is minus its slope, a the exponential of its intercept.",
)
def test_without_an_offset_it_is_a_line_in_logarithms(student, rng):
    l0 = uniform(rng, 5, 50)
    points, _ = on_a_law(rng, l0, noise=0.2)
    a, alpha, c = fitted(student, points, l0, [0.0])
    *_, wanted_a, wanted_alpha = law_at(points, 0.0)
    assert near(a, wanted_a, 1e-6)
    assert near(alpha, wanted_alpha, 1e-6)
    assert c == 0.0


@task(
    "fit_law",
    weight=3,
    misconception="Points whose L0 is more than 5% away from the one asked for should be left out, on "
    "either side: more active latents explain more at any size.",
)
def test_only_points_of_one_l0_take_part(student, rng):
    l0 = uniform(rng, 5, 50)
    points, (wanted_a, wanted_alpha, _) = on_a_law(rng, l0)
    for share in (0.5, 0.92, 1.08, 2.0):
        for other in on_a_law(rng, l0 * share, n=2)[0]:
            points.insert(draw(rng, 0, len(points)), other | {"l0": l0 * share})
    a, alpha, _ = fitted(student, points, l0, [0.0])
    assert near(a, wanted_a, 1e-5)
    assert near(alpha, wanted_alpha, 1e-5)


@task(
    "fit_law",
    weight=2,
    misconception="On points that lie on a law with an offset, that offset should be found: try each, fit "
    "log(fvu − c), and keep the one that misses least.",
)
def test_an_offset_that_is_there_is_found(student, rng):
    l0, c = uniform(rng, 5, 50), uniform(rng, 0.01, 0.03)
    points, wanted = on_a_law(rng, l0, c)
    offsets = [0.0, c / 3, 0.8 * c, c, 1.01 * c]
    offsets = [offsets[i] for i in torch.randperm(5, generator=rng).tolist()]
    found = fitted(student, points, l0, offsets)
    assert all(near(value, expected, 1e-5) for value, expected in zip(found, wanted, strict=True))


@task(
    "fit_law",
    weight=1,
    misconception="An offset that is not below every FVU has no logarithm: pass it over.",
)
def test_impossible_offsets_are_passed_over(student, rng):
    l0, c = uniform(rng, 5, 50), uniform(rng, 0.01, 0.03)
    points, wanted = on_a_law(rng, l0, c)
    lowest = min(p["fvu"] for p in points)
    found = fitted(student, points, l0, [2.0, lowest, c, 1.2 * lowest])
    assert all(near(value, expected, 1e-5) for value, expected in zip(found, wanted, strict=True))


@task(
    "fit_law",
    weight=1,
    misconception="Offsets should be compared by how well their laws explain log(fvu): the sum of squares "
    "of log(fvu) − log(c + a·n^(−alpha)). log(fvu − c) is another quantity for each c.",
)
def test_offsets_are_compared_by_the_same_quantity(student, rng):
    for _ in range(2):
        # Noisy points, drawn until other ways of comparing choose quite different offsets.
        while True:
            l0, c = uniform(rng, 5, 50), uniform(rng, 0.01, 0.03)
            points, _ = on_a_law(rng, l0, c, noise=0.04, n=6)
            lowest = min(p["fvu"] for p in points)
            offsets = [share * lowest for share in (0.0, 0.2, 0.4, 0.6, 0.8, 0.95)]
            laws = {offset: law_at(points, offset) for offset in offsets}
            by_each = [sorted(offsets, key=lambda offset: laws[offset][way]) for way in range(3)]
            best, second = by_each[0][:2]
            clear = laws[best][0] < 0.97 * laws[second][0]
            if clear and best not in (by_each[1][0], by_each[2][0]):
                break
        a, alpha, offset = fitted(student, points, l0, offsets)
        assert near(offset + 1.0, best + 1.0, 1e-9)
        assert near(a, laws[best][3], 1e-5)
        assert near(alpha, laws[best][4], 1e-5)


# ------------------------------------------------------------------------------ name_features


CONCEPTS = ("tundra", "alloy", "quartet", "ledger")


def documents(rng, n, d_sae, unlabelled=0):
    """Sparse scores of some documents, and a label for each; every concept has several."""
    labels = [CONCEPTS[i % 4] for i in range(n)] + [None] * unlabelled
    order = torch.randperm(len(labels), generator=rng).tolist()
    labels = list(map(labels.__getitem__, order))
    scores = gauss(rng, len(labels), d_sae).abs()
    scores = scores * (torch.rand(len(labels), d_sae, generator=rng) < 0.6)
    return scores.float(), labels


def area(scores, labels, concept):
    """The AUROC of one feature for one concept, from the rank sum (Mann and Whitney)."""
    inside = [float(s) for s, label in zip(scores, labels, strict=True) if label == concept]
    outside = [
        float(s) for s, label in zip(scores, labels, strict=True) if label not in (concept, None)
    ]
    return float(mannwhitneyu(inside, outside).statistic) / (len(inside) * len(outside))


def clear_winner(choose, labels, i):
    """The concept that a feature tells best there; None where two come close."""
    areas = sorted(((area(choose[:, i], labels, c), c) for c in CONCEPTS), reverse=True)
    return areas[0][1] if areas[0][0] > areas[1][0] + 1e-6 else None


def named(student, *halves):
    found = student.name_features(*halves)
    assert isinstance(found, list | tuple)
    assert len(found) == halves[0].shape[1]
    return found


def pair(entry):
    assert isinstance(entry, tuple | list)
    assert len(entry) == 2
    return entry[0], float(entry[1])


@task(
    "name_features",
    weight=2,
    misconception="A feature's name is the concept with the highest AUROC against all other documents, on "
    "the half that chooses.",
)
def test_the_choosing_half_gives_the_name(student, rng):
    (choose, labels), (judge, others) = documents(rng, 24, 8), documents(rng, 20, 8)
    found = named(student, choose, labels, judge, others)
    wanted = {i: clear_winner(choose, labels, i) for i in range(8)}
    assert any(wanted.values())
    assert all(pair(found[i])[0] == name for i, name in wanted.items() if name)


@task(
    "name_features",
    weight=3,
    misconception="A name is worth what its own concept's AUROC is among documents that had no say in "
    "choosing it: neither that of the choosing half, nor the best of the judging half.",
)
def test_the_judging_half_gives_the_score(student, rng):
    (choose, labels), (judge, others) = documents(rng, 24, 8), documents(rng, 20, 8)
    found = named(student, choose, labels, judge, others)
    assert len({pair(entry)[0] for entry in found}) > 1
    for i, entry in enumerate(found):
        name, score = pair(entry)
        assert name in CONCEPTS
        assert abs(score - area(judge[:, i], others, name)) < 1e-5


@task(
    "name_features",
    weight=1,
    misconception="Documents whose label is None should take no part: they are neither of a concept nor "
    "against it.",
)
def test_unlabelled_documents_take_no_part(student, rng):
    choose, labels = documents(rng, 24, 6, unlabelled=12)
    judge, others = documents(rng, 20, 6, unlabelled=12)
    loud = torch.tensor([label is None for label in others])
    judge[loud] += 5.0
    found = named(student, choose, labels, judge, others)
    for i, entry in enumerate(found):
        name, score = pair(entry)
        wanted = clear_winner(choose, labels, i)
        assert wanted in (None, name)
        assert abs(score - area(judge[:, i], others, name)) < 1e-5


@task(
    "name_features",
    weight=1,
    misconception="Only features that are silent throughout the choosing half should get None; however "
    "rarely one fires, it has a name.",
)
def test_a_silent_feature_has_no_name(student, rng):
    (choose, labels), (judge, others) = documents(rng, 24, 7), documents(rng, 20, 7)
    silent = torch.randperm(7, generator=rng)[:2].tolist()
    choose[:, silent] = 0.0
    faint = next(i for i in range(7) if i not in silent)
    choose[:, faint] = 0.0
    choose[draw(rng, 0, 23), faint] = 1e-4  # it fires, on one document alone
    found = named(student, choose, labels, judge, others)
    assert [i for i, entry in enumerate(found) if entry is None] == sorted(silent)
