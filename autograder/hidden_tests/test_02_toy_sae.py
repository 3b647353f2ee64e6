"""Hidden tests of assignment 02_toy_sae. They run in the trusted process and call the student's.

Several tests of one task look at one mistake each and are lenient about the others. The graded
functions do not call one another, and no test of one calls another. What shows only where a function
runs, gradients and shared memory, is looked at there by functions of the library.
"""

# canary-6c8c387ae13f6a16017f7a29bc201cd5

from __future__ import annotations

import math
from itertools import pairwise

import torch
from autograder.probe import task

# Inputs are float64, in which honest arithmetic in any order agrees far better than this.
TOLERANCE = 1e-6
NAMES = ("W_enc", "b_enc", "W_dec", "b_dec")


def draw(rng, low, high):
    """A whole number from low to high, both included."""
    return int(torch.randint(low, high + 1, (), generator=rng))


def gauss(rng, *shape, dtype=torch.float64):
    return torch.randn(*shape, generator=rng, dtype=torch.float64).to(dtype)


def uniform(rng, low, high):
    return low + (high - low) * float(torch.rand((), generator=rng, dtype=torch.float64))


def close(value, expected, tolerance=TOLERANCE):
    """Whether value is a tensor of expected's shape that agrees with it, relative to its size."""
    if not isinstance(value, torch.Tensor) or value.shape != expected.shape:
        return False
    error = (value.detach().double().cpu() - expected.double()).norm()
    return bool(error <= tolerance * max(1.0, float(expected.double().norm())))


def is_number(value, expected, tolerance=TOLERANCE):
    """Whether value is a plain number near expected."""
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return plain and abs(value - expected) <= tolerance * max(1.0, abs(expected))


def four_tensors(value, d_model, d_sae):
    """value as an autoencoder's parameters of the right shapes."""
    assert isinstance(value, dict)
    assert set(value) == set(NAMES)
    shapes = {
        "W_enc": (d_model, d_sae),
        "b_enc": (d_sae,),
        "W_dec": (d_sae, d_model),
        "b_dec": (d_model,),
    }
    for name, shape in shapes.items():
        assert isinstance(value[name], torch.Tensor)
        assert value[name].shape == shape
        assert value[name].is_floating_point()
    return value


# ----------------------------------------------------------------------------------- init_sae


def start(rng, dtype=torch.float64):
    """Directions of quite different lengths, and a norm that is none of theirs."""
    d_model, d_sae = draw(rng, 4, 7), draw(rng, 9, 14)
    lengths = torch.tensor([[2.0 ** draw(rng, -2, 3)] for _ in range(d_sae)], dtype=torch.float64)
    return (lengths * gauss(rng, d_sae, d_model)).to(dtype), uniform(rng, 0.2, 0.8)


def initial(student, directions, norm):
    d_sae, d_model = directions.shape
    sae = four_tensors(student.init_sae(directions, norm), d_model, d_sae)
    assert bool(sae["W_dec"].any(dim=1).all())
    assert bool(sae["W_enc"].any(dim=0).all())
    return sae


@task(
    "init_sae",
    weight=2,
    misconception="Row i of W_dec should be directions[i], divided by its own norm over d_model and "
    "multiplied by `norm`.",
)
def test_every_row_has_its_direction_and_the_norm(student, rng):
    for _ in range(2):
        directions, norm = start(rng)
        expected = torch.stack([norm / math.sqrt(sum(r * r)) * r for r in directions])
        assert close(initial(student, directions, norm)["W_dec"], expected)


@task(
    "init_sae",
    weight=2,
    misconception="W_enc should start as the transpose of W_dec as it is then, the norm included.",
)
def test_the_encoder_begins_as_the_decoders_transpose(student, rng):
    directions, norm = start(rng)
    sae = initial(student, directions, norm)
    assert float(sae["W_dec"].std(dim=0).min()) > 1e-3
    for i in range(len(directions)):
        assert close(sae["W_enc"][:, i], sae["W_dec"][i])


@task("init_sae", weight=1, misconception="Both biases start at zero.")
def test_both_biases_begin_at_zero(student, rng):
    sae = initial(student, *start(rng))
    assert not sae["b_enc"].any()
    assert not sae["b_dec"].any()


@task(
    "init_sae",
    weight=3,
    misconception="Two of the four tensors lie on the same memory: `.T` makes a view. An optimizer "
    "that changes one would change the other. Copy it.",
)
def test_each_tensor_has_memory_of_its_own(student, rng):
    directions, norm = start(rng)
    initial(student, directions, norm)
    shared_memory = student.library("steerlab.checks.inside:shared_memory")
    assert shared_memory(student.init_sae, directions, norm) == []


@task(
    "init_sae",
    weight=1,
    misconception="The tensors should have the dtype of `directions`, and `directions` should stay "
    "as it is.",
)
def test_the_directions_are_kept_and_decide_the_dtype(student, rng):
    for dtype in (torch.float64, torch.float32):
        directions, norm = start(rng, dtype)
        sae, kept = student.call_keeping("init_sae", directions, norm)
        four_tensors(sae, directions.shape[1], len(directions))
        assert bool(sae["W_dec"].any())
        assert all(sae[name].dtype == dtype for name in NAMES)
        assert torch.equal(kept[0], directions)


# ------------------------------------------------------------------------------------ forward


def some_sae(rng, d_model, d_sae, centre=True, dtype=torch.float64):
    """Parameters without any symmetry: neither matrix is the other's transpose."""
    return {
        "W_enc": gauss(rng, d_model, d_sae, dtype=dtype),
        "b_enc": gauss(rng, d_sae, dtype=dtype),
        "W_dec": gauss(rng, d_sae, d_model, dtype=dtype),
        "b_dec": (2 * gauss(rng, d_model) * centre).to(dtype),
    }


def code_of(sae, x):
    """The code of one vector, latent by latent."""
    centred = x.double() - sae["b_dec"].double()
    pre = [
        float((centred * column.double()).sum() + bias)
        for column, bias in zip(sae["W_enc"].T, sae["b_enc"].double(), strict=True)
    ]
    return torch.tensor([max(0.0, z) for z in pre], dtype=torch.float64)


def written(sae, code):
    """What a code writes: a sum of rows."""
    total = sae["b_dec"].double().clone()
    for strength, row in zip(code.double(), sae["W_dec"].double(), strict=True):
        total = total + strength * row
    return total


def both(student, sae, x):
    result = student.forward(sae, x)
    assert isinstance(result, tuple | list)
    assert len(result) == 2
    assert all(isinstance(part, torch.Tensor) for part in result)
    return result


@task(
    "forward",
    weight=2,
    misconception="Where b_dec is zero the code should be ReLU(x W_enc + b_enc), and come first.",
)
def test_the_code_is_what_the_encoder_lets_through(student, rng):
    sae, x = some_sae(rng, 5, 9, centre=False), gauss(rng, 6, 5)
    code, _ = both(student, sae, x)
    assert close(code, torch.stack([code_of(sae, row) for row in x]))


@task(
    "forward",
    weight=1,
    misconception="The encoder should read x − b_dec.",
)
def test_the_encoder_reads_what_lies_beyond_b_dec(student, rng):
    sae, x = some_sae(rng, 4, 11), gauss(rng, 6, 4)
    code, _ = both(student, sae, x)
    assert close(code, torch.stack([code_of(sae, row) for row in x]))


@task(
    "forward",
    weight=2,
    misconception="The reconstruction should be your code times W_dec, plus b_dec.",
)
def test_the_decoder_adds_up_the_rows_of_the_code(student, rng):
    sae, x = some_sae(rng, 5, 8), gauss(rng, 7, 5)
    code, x_hat = both(student, sae, x)
    assert code.shape == (7, 8)
    assert float(code.double().std(dim=0).min()) >= 0
    assert int(code.any(1).sum()) >= 2
    assert close(x_hat, torch.stack([written(sae, row) for row in code]))


@task(
    "forward",
    weight=1,
    misconception="x may have any number of batch dimensions in front, or none, and either dtype.",
)
def test_batch_dimensions_and_dtypes_come_out_as_they_went_in(student, rng):
    for shape, dtype in (((2, 3), torch.float64), ((), torch.float64), ((4,), torch.float32)):
        sae = some_sae(rng, 4, 6, dtype=dtype)
        x = gauss(rng, *shape, 4, dtype=dtype)
        code, x_hat = both(student, sae, x)
        assert code.shape == (*shape, 6)
        assert x_hat.shape == x.shape
        assert code.dtype == x_hat.dtype == dtype
        expected = torch.stack([code_of(sae, row) for row in x.reshape(-1, 4)])
        tolerance = TOLERANCE if dtype == torch.float64 else 1e-4
        assert close(code.reshape(-1, 6), expected, tolerance)


@task(
    "forward",
    weight=1,
    misconception="Training needs gradients through both results to all four tensors: no detach(), "
    "no torch.no_grad().",
)
def test_gradients_reach_all_four_tensors(student, rng):
    sae, x = some_sae(rng, 4, 7), gauss(rng, 6, 4)
    found = student.library("steerlab.checks.inside:gradients")(student.forward, sae, x)
    assert isinstance(found, tuple)
    assert len(found) == 5
    by_name = dict(zip(NAMES, found, strict=False))
    # Of Σ code + Σ x_hat, by hand: each active latent feels 1 + the sum of its decoder row.
    codes = torch.stack([code_of(sae, row) for row in x])
    felt = (codes > 0).double() * (1 + sae["W_dec"].sum(dim=1))
    assert close(by_name["b_enc"], felt.sum(dim=0))
    assert close(by_name["W_enc"], (x - sae["b_dec"]).T @ felt)
    assert close(by_name["W_dec"], codes.sum(dim=0)[:, None].expand(7, 4))
    assert close(by_name["b_dec"], len(x) - (felt @ sae["W_enc"].T).sum(dim=0))


# ----------------------------------------------------------------------------------- sae_loss


def loss_case(rng, unit=False):
    """x, x_hat, code (a third of it not zero) and W_dec with rows of quite different norms."""
    batch, d_model, d_sae = draw(rng, 3, 5), draw(rng, 6, 8), draw(rng, 10, 13)
    x = gauss(rng, batch, d_model)
    x_hat = x + (0.5 + gauss(rng, batch, d_model).abs())
    on = torch.rand(batch, d_sae, generator=rng) < 0.3
    on[:, 0] = True
    code = on * (0.5 + gauss(rng, batch, d_sae).abs())
    norms = torch.tensor([1.0 if unit else 2.0 ** draw(rng, -2, 2) for _ in range(d_sae)])
    norms[0] = 1.0 if unit else 3.0
    rows = gauss(rng, d_sae, d_model)
    return x, x_hat, code, norms.double()[:, None] * rows / rows.norm(dim=1, keepdim=True)


def penalty_of(code, W_dec):
    """Σ f ‖W‖ of each token, averaged, one entry at a time."""
    total = 0.0
    for row in code:
        for strength, direction in zip(row.tolist(), W_dec.tolist(), strict=True):
            total += strength * math.sqrt(sum(entry**2 for entry in direction))
    return total / len(code)


def loss_of(student, case, sparsity):
    value = student.sae_loss(*case, sparsity)
    assert isinstance(value, torch.Tensor)
    assert value.shape == ()
    return float(value)


@task(
    "sae_loss",
    weight=2,
    misconception="With sparsity 0 the loss is the squared error, summed over d_model and averaged "
    "over the tokens.",
)
def test_the_error_is_summed_over_coordinates_and_averaged_over_tokens(student, rng):
    for _ in range(2):
        case = loss_case(rng)
        x, x_hat, _, _ = case
        expected = sum(
            float((a - b) ** 2) for a, b in zip(x.flatten(), x_hat.flatten(), strict=True)
        )
        assert is_number(loss_of(student, case, 0.0), expected / len(x))


@task(
    "sae_loss",
    weight=2,
    misconception="The activations should be summed over the latents and averaged over the tokens, "
    "and multiplied by `sparsity`.",
)
def test_the_penalty_is_a_sum_over_latents(student, rng):
    for _ in range(2):
        case, sparsity = loss_case(rng, unit=True), uniform(rng, 0.3, 3.0)
        penalty = loss_of(student, case, sparsity) - loss_of(student, case, 0.0)
        assert is_number(penalty, sparsity * penalty_of(case[2], case[3]))


@task(
    "sae_loss",
    weight=2,
    misconception="Each activation should count as much as it adds to the reconstruction: times the "
    "norm of its row of W_dec.",
)
def test_an_activation_is_weighed_by_the_norm_of_its_row(student, rng):
    x, x_hat, code, W_dec = loss_case(rng)
    penalty = loss_of(student, (x, x_hat, code, W_dec), 1.5) - loss_of(
        student, (x, x_hat, code, W_dec), 0.0
    )
    assert penalty > 1e-3
    # In units of the same code on rows of norm 1: averages over latents or tokens drop out.
    unit = W_dec / W_dec.norm(dim=1, keepdim=True)
    plain = loss_of(student, (x, x_hat, code, unit), 1.5) - loss_of(
        student, (x, x_hat, code, unit), 0.0
    )
    assert plain > 1e-6
    assert is_number(penalty / plain, penalty_of(code, W_dec) / penalty_of(code, unit))


@task(
    "sae_loss",
    weight=1,
    misconception="The loss should not depend on the size of the batch: a batch that holds every "
    "token twice has the same loss.",
)
def test_a_batch_twice_as_large_costs_the_same(student, rng):
    x, x_hat, code, W_dec = loss_case(rng)
    once = loss_of(student, (x, x_hat, code, W_dec), 0.7)
    twice = loss_of(student, (x.repeat(2, 1), x_hat.repeat(2, 1), code.repeat(2, 1), W_dec), 0.7)
    assert once > 1e-3
    assert once != loss_of(student, (x, x, code, W_dec), 0.7)
    assert once != loss_of(student, (x, x_hat, 2 * code, W_dec), 0.7)
    assert is_number(twice, once)


@task(
    "sae_loss",
    weight=2,
    misconception="Gradients should flow to x_hat, to the code and to W_dec: no detach(), item() or "
    "no_grad() on the way.",
)
def test_gradients_flow_to_reconstruction_code_and_decoder(student, rng):
    x, x_hat, code, W_dec = loss_case(rng)
    found = student.library("steerlab.checks.inside:gradients")(
        student.sae_loss, x, x_hat, code, W_dec, 0.7
    )
    assert isinstance(found, tuple)
    assert len(found) == 4
    norms, on = W_dec.norm(dim=1), code > 0
    expected = (x_hat - x, norms * on, code.sum(dim=0)[:, None] * W_dec / norms[:, None])
    # What a latent that is off feels is the ReLU's business: abs() says 0 there, a sum says 1.
    found = (found[1], found[2] * on, found[3])
    # Directions alone: factors are other tests' business.
    for gradient, direction in zip(found, expected, strict=True):
        assert gradient.shape == direction.shape
        cosine = torch.cosine_similarity(gradient.double().flatten(), direction.flatten(), dim=0)
        assert float(cosine) > 0.9999


# ----------------------------------------------------------------------------------- schedule


def shares(student, n_steps):
    """Both shares at every step."""
    pairs = [student.schedule(t, n_steps) for t in range(n_steps)]
    for pair in pairs:
        assert isinstance(pair, tuple | list)
        assert len(pair) == 2
    return zip(*[(float(first), float(second)) for first, second in pairs], strict=True)


def warm_up(step, n_steps):
    return 5 * step / n_steps if 5 * step < n_steps else 1.0


def decay(step, n_steps):
    left = n_steps - step
    return 5 * left / n_steps if 5 * left < n_steps else 1.0


def follows(values, rule, n_steps):
    return all(abs(v - rule(step, n_steps)) < 1e-9 for step, v in enumerate(values))


@task(
    "schedule",
    weight=2,
    misconception="λ's share is 0 at step 0, grows in a straight line, reaches 1 after a fifth of the "
    "steps, and stays there.",
)
def test_lambda_warms_up_over_the_first_fifth(student, rng):
    for n_steps in (5 * draw(rng, 3, 9), 5 * draw(rng, 10, 20)):
        values, _ = shares(student, n_steps)
        assert follows(values, warm_up, n_steps)


@task(
    "schedule",
    weight=2,
    misconception="The learning rate's share is 1, falls in a straight line over the last fifth, and is "
    "not yet 0 at the last step: n − t steps are left at step t.",
)
def test_the_learning_rate_decays_over_the_last_fifth(student, rng):
    for n_steps in (5 * draw(rng, 3, 9), 5 * draw(rng, 10, 20)):
        _, values = shares(student, n_steps)
        assert follows(values, decay, n_steps)


@task(
    "schedule",
    weight=1,
    misconception="The number of steps need not be a multiple of 5: a fifth of 13 steps is 2.6.",
)
def test_a_fifth_need_not_be_whole(student, rng):
    for n_steps in (5, 5 * draw(rng, 1, 5) + 3, 5 * draw(rng, 6, 12) + draw(rng, 1, 4)):
        first, second = shares(student, n_steps)
        assert follows(first, warm_up, n_steps)
        assert follows(second, decay, n_steps)


# ---------------------------------------------------------------------------------- train_sae


class Training:
    """A call of train_sae on the library's practice objective, and what Adam's formula gives."""

    def __init__(self, rng, n_steps, same_batch=True, sparsities=None, rates=None, dtype=None):
        dtype = dtype or torch.float64
        d_model, d_sae, n_tokens, batch = draw(rng, 3, 5), draw(rng, 6, 8), 12, 3
        self.sae = some_sae(rng, d_model, d_sae, dtype=dtype)
        self.x = gauss(rng, n_tokens, d_model, dtype=dtype)
        # Batches whose means lie apart, in an order that is nobody's first idea.
        self.x = self.x + 3 * torch.arange(n_tokens, dtype=dtype)[:, None] / n_tokens
        rows = torch.stack(
            [torch.randperm(n_tokens, generator=rng)[:batch] for _ in range(n_steps)]
        )
        self.rows = rows[:1].expand(n_steps, -1).contiguous() if same_batch else rows
        self.sparsities = sparsities or [uniform(rng, 0.2, 0.8)] * n_steps
        self.rates = rates or [uniform(rng, 0.01, 0.03)] * n_steps
        self.seen = []

    def watch(self, step, sae):
        """Keeps what the student's process sends; numbers and tensors, if it is honest."""
        self.seen.append((step, dict(sae) if isinstance(sae, dict) else {}))

    def arguments(self, student):
        objective = student.library("steerlab.checks.inside:practice_objective")
        return self.sae, self.x, self.rows, self.sparsities, self.rates, objective, self.watch

    def run(self, student):
        result, self.kept = student.call_keeping("train_sae", *self.arguments(student))
        d_model, d_sae = self.sae["W_enc"].shape
        return four_tensors(result, d_model, d_sae)

    def expected(self):
        """The parameters after every step: Adam (Kingma and Ba 2015), with the slopes by hand."""
        now = {name: tensor.double().clone() for name, tensor in self.sae.items()}
        first = {name: torch.zeros_like(tensor) for name, tensor in now.items()}
        second = {name: torch.zeros_like(tensor) for name, tensor in now.items()}
        path = []
        for step, chosen in enumerate(self.rows.tolist()):
            batch = torch.stack([self.x[i].double() for i in chosen])
            aim = float(batch.mean()) - self.sparsities[step]
            for factor, name in enumerate(NAMES, start=1):
                slope = 2 * factor * (now[name] - factor * aim)
                first[name] = 0.9 * first[name] + 0.1 * slope
                second[name] = 0.999 * second[name] + 0.001 * slope**2
                mean = first[name] / (1 - 0.9 ** (step + 1))
                size = (second[name] / (1 - 0.999 ** (step + 1))).sqrt() + 1e-8
                now[name] = now[name] - self.rates[step] * mean / size
            path.append(dict(now))
        return path

    def agrees(self, found, expected, tolerance=1e-4):
        """Whether every tensor has moved by what it should, up to a share of that."""
        for name in NAMES:
            wanted = expected[name] - self.sae[name].double()
            moved = found[name].detach().double() - self.sae[name].double()
            if float((moved - wanted).norm()) > tolerance * float(wanted.norm()):
                return False
        return True


@task(
    "train_sae",
    weight=3,
    misconception="On one batch, with one λ and one learning rate, your steps are not Adam's: all four "
    "tensors take part, gradients are set to zero before each step, and there is one optimizer.",
)
def test_steps_on_one_batch_are_adams(student, rng):
    for n_steps in (1, draw(rng, 6, 9)):
        training = Training(rng, n_steps)
        assert training.agrees(training.run(student), training.expected()[-1])


@task(
    "train_sae",
    weight=2,
    misconception="Step t should take place with learning_rates[t]: set the optimizer's learning rate "
    "before every step.",
)
def test_every_step_has_its_own_learning_rate(student, rng):
    rates = [0.03, 0.004, 0.02, 0.001, uniform(rng, 0.005, 0.03)]
    training = Training(rng, 5, rates=rates)
    assert training.agrees(training.run(student), training.expected()[-1])


@task(
    "train_sae",
    weight=1,
    misconception="Step t should minimise the loss with sparsities[t].",
)
def test_every_step_has_its_own_sparsity(student, rng):
    sparsities = [0.0, 3.0, -2.0, 5.0, uniform(rng, 1.0, 4.0), -4.0]
    training = Training(rng, 6, sparsities=sparsities)
    assert training.agrees(training.run(student), training.expected()[-1])


@task(
    "train_sae",
    weight=1,
    misconception="The batch of step t is x[rows[t]]: the vectors whose numbers stand in that row.",
)
def test_every_step_has_its_own_batch(student, rng):
    training = Training(rng, draw(rng, 6, 9), same_batch=False)
    assert training.agrees(training.run(student), training.expected()[-1])


@task(
    "train_sae",
    weight=2,
    misconception="The SAE that was given has changed. Train a copy of it.",
)
def test_the_given_sae_stays_as_it_is(student, rng):
    training = Training(rng, 3)
    result = training.run(student)
    given = training.kept[0]
    assert isinstance(given, dict)
    assert set(given) == set(NAMES)
    for name in NAMES:
        assert torch.equal(given[name].detach(), training.sae[name])
    assert not torch.equal(result["W_dec"].detach(), training.sae["W_dec"])


@task(
    "train_sae",
    weight=1,
    misconception="What is returned should be detached: it still carries gradients, and every use of it "
    "would keep a record of its computation.",
)
def test_the_trained_parameters_are_detached(student, rng):
    training = Training(rng, 2)
    result = training.run(student)
    assert not torch.equal(result["W_dec"], training.sae["W_dec"])
    still_attached = student.library("steerlab.checks.inside:still_attached")
    assert still_attached(student.train_sae, *training.arguments(student)) == []


@task(
    "train_sae",
    weight=1,
    misconception="Call watch(t, sae) once after each step, t counted from 0, with the parameters as "
    "that step has left them.",
)
def test_the_watcher_sees_every_step(student, rng):
    training = Training(rng, draw(rng, 3, 5))
    result, expected = training.run(student), training.expected()
    assert [step for step, _ in training.seen] == list(range(len(expected)))
    for number, (_, sae) in enumerate(training.seen):
        four_tensors(sae, *training.sae["W_enc"].shape)
        # Against the last as it was returned, so that the steps themselves need not be right.
        assert torch.equal(sae["W_dec"], result["W_dec"]) == (number == len(expected) - 1)
    moves = [training.sae["W_dec"], *(sae["W_dec"].detach() for _, sae in training.seen)]
    assert all(not torch.equal(a, b) for a, b in pairwise(moves))


# --------------------------------------------------------------------------------- sae_scores


def scores_case(rng, centred=False):
    """x far from zero, x_hat, and a code with silent, rare and weak latents; losses in nats."""
    n, d_model, d_sae = draw(rng, 9, 14), draw(rng, 4, 6), 2 * draw(rng, 8, 11) + 1
    x = gauss(rng, n, d_model) * (0.5 + torch.rand(n, 1, generator=rng, dtype=torch.float64))
    x = x - x.mean(dim=0)
    if not centred:
        x = x + 5 + gauss(rng, d_model)
    x_hat = x + 0.4 * gauss(rng, n, d_model)
    code = gauss(rng, n, d_sae).abs() * (torch.rand(n, d_sae, generator=rng) < 0.3)
    silent = draw(rng, 2, 4)
    code[:, :silent] = 0
    code[:, silent:] *= 1 + torch.rand(d_sae - silent, generator=rng)
    code[:, silent] = 0
    code[draw(rng, 0, n - 1), silent] = 2.0  # rare
    code[:, silent + 1] = 0
    code[draw(rng, 0, n - 1), silent + 1] = 1e-7  # rare and weak
    for column in range(silent + 2, d_sae):
        if not code[:, column].any():
            code[column % n, column] = 0.5
    clean = uniform(rng, 1.0, 2.0)
    ablated = clean + uniform(rng, 2.0, 3.0)
    return x, x_hat, code, (clean, clean + uniform(rng, 0.2, 0.8), ablated), silent


def scored(student, case, losses="given"):
    scores = student.sae_scores(*case[:3], case[3] if losses == "given" else losses)
    assert isinstance(scores, dict)
    return scores


def fvu_of(x, x_hat):
    """By the decomposition of the second moment: Σ‖x‖² − n‖x̄‖²."""
    squares = sum(float(v) ** 2 for v in x.flatten())
    mean = [sum(column.tolist()) / len(x) for column in x.T]
    spread = squares - len(x) * sum(m * m for m in mean)
    return sum(float(e) ** 2 for e in (x - x_hat).flatten()) / spread


@task(
    "sae_scores",
    weight=2,
    misconception="Where the mean token is zero, fvu should be all squared errors together over all "
    "squared lengths together.",
)
def test_fvu_is_the_share_of_the_squares_that_is_missing(student, rng):
    case = scores_case(rng, centred=True)
    assert is_number(scored(student, case).get("fvu"), fvu_of(*case[:2]))


@task(
    "sae_scores",
    weight=2,
    misconception="fvu should be taken around the mean token: otherwise an answer that is always the "
    "mean looks good.",
)
def test_fvu_is_centred(student, rng):
    case = scores_case(rng)
    assert is_number(scored(student, case).get("fvu"), fvu_of(*case[:2]))


@task(
    "sae_scores",
    weight=2,
    misconception="l0 should count the latents above zero, token by token, and be averaged over tokens.",
)
def test_l0_counts_what_is_not_zero(student, rng):
    case = scores_case(rng)
    counts = [sum(1 for value in row if value > 0) for row in case[2].tolist()]
    assert is_number(scored(student, case).get("l0"), sum(counts) / len(counts))


@task(
    "sae_scores",
    weight=2,
    misconception="dead should be the share of the latents that are zero on every token. A rare or a "
    "weak latent is alive.",
)
def test_dead_latents_are_those_that_never_fire(student, rng):
    case = scores_case(rng)
    assert is_number(scored(student, case).get("dead"), case[4] / case[2].shape[1])


@task(
    "sae_scores",
    weight=2,
    misconception="loss_recovered should be (ablated − spliced) / (ablated − clean), with losses in the "
    "order clean, spliced, ablated.",
)
def test_loss_recovered_is_the_way_back_from_ablated(student, rng):
    case = scores_case(rng)
    clean, spliced, ablated = case[3]
    lost = (spliced - clean) / (ablated - clean)
    assert is_number(scored(student, case).get("loss_recovered"), 1 - lost)


@task(
    "sae_scores",
    weight=1,
    misconception="Without losses, loss_recovered should be None, and the other three as always.",
)
def test_without_losses_none_is_recovered(student, rng):
    case = scores_case(rng)
    without, given = scored(student, case, None), scored(student, case)
    assert without["loss_recovered"] is None
    assert given["loss_recovered"] is not None
    for name in ("dead", "fvu", "l0"):
        assert isinstance(without[name], float | int)
        assert without[name] == given[name]
        assert without[name] > 0


@task(
    "sae_scores",
    weight=1,
    misconception="Your function changes what it is given. Measure without writing into x, x_hat or "
    "code.",
)
def test_measuring_changes_nothing(student, rng):
    case = scores_case(rng)
    scores, kept = student.call_keeping("sae_scores", *case[:4])
    assert isinstance(scores, dict)
    assert any(isinstance(value, float) and value > 0 for value in scores.values())
    for before, after in zip(case[:3], kept[:3], strict=True):
        assert torch.equal(before, after)


# ------------------------------------------------------------------------------- top_contexts


def places_case(rng, n_texts=7, length=5, silent=0.3):
    """strengths (all different, some zero), texts of several tokens each, token ids."""
    n = n_texts * length
    strengths = torch.randperm(n, generator=rng).double() + 1
    strengths = strengths / 4 * (torch.rand(n, generator=rng) >= silent)
    return strengths, torch.arange(n_texts).repeat_interleave(length), torch.arange(n) % 11


def best_places(strengths, documents, tokens, skip, n):
    """The strongest place of each text, by text; then the texts in order."""
    peaks = {}
    rows = zip(strengths.tolist(), documents.tolist(), tokens.tolist(), strict=True)
    for place, (strength, text, token) in enumerate(rows):
        if strength > 0 and token not in skip:
            peaks[text] = max(peaks.get(text, (0.0, -1)), (strength, place))
    return [place for _, place in sorted(peaks.values(), reverse=True)][:n]


def places(student, case, skip, n):
    value = student.top_contexts(*case, skip, n)
    if isinstance(value, torch.Tensor):
        assert value.dim() == 1
        value = value.tolist()
    assert isinstance(value, list | tuple)
    assert all(isinstance(place, int) and not isinstance(place, bool) for place in value)
    return list(value)


@task(
    "top_contexts",
    weight=1,
    misconception="Where every text has one token, the places should be those of the n largest "
    "strengths, largest first.",
)
def test_the_strongest_places_come_first(student, rng):
    for n in (3, draw(rng, 4, 8), 20):
        strengths, documents, tokens = places_case(rng, n_texts=20, length=1, silent=0.0)
        order = sorted(range(20), key=lambda place: -float(strengths[place]))
        assert places(student, (strengths, documents, tokens), [], n) == order[:n]


@task(
    "top_contexts",
    weight=2,
    misconception="Each text should be there once, with its strongest place.",
)
def test_each_text_comes_once(student, rng):
    for _draw in range(3):
        case = places_case(rng, silent=0.0)
        assert places(student, case, [], 5) == best_places(*case, [], 5)


@task(
    "top_contexts",
    weight=2,
    misconception="A place whose token is skipped is passed over; its text stays in the list with its "
    "next best place.",
)
def test_a_skipped_token_does_not_take_its_text_along(student, rng):
    for _draw in range(3):
        case = places_case(rng, silent=0.0)
        tokens = case[2]
        # Skip the peaks of the two strongest texts.
        peaks = best_places(*case, [], 2)
        skip = sorted({int(tokens[place]) for place in peaks})
        assert places(student, case, skip, 4) == best_places(*case, skip, 4)
        assert places(student, case, skip, 7) == best_places(*case, skip, 7)


@task(
    "top_contexts",
    weight=1,
    misconception="Places with a skipped token should not be in the list.",
)
def test_skipped_tokens_are_passed_over(student, rng):
    strengths, documents, tokens = places_case(rng, n_texts=22, length=1, silent=0.0)
    order = sorted(range(22), key=lambda place: -float(strengths[place]))
    skip = [int(tokens[order[0]]), int(tokens[order[2]])]
    expected = [place for place in order if int(tokens[place]) not in skip]
    assert places(student, (strengths, documents, tokens), skip, 6) == expected[:6]


@task(
    "top_contexts",
    weight=1,
    misconception="Places where the feature is not active should not be in the list; it is then shorter "
    "than n.",
)
def test_silence_is_no_context(student, rng):
    strengths, documents, tokens = places_case(rng, n_texts=12, length=1, silent=0.0)
    strengths[torch.randperm(12, generator=rng)[:7]] = 0
    found = places(student, (strengths, documents, tokens), [], 9)
    assert found == best_places(strengths, documents, tokens, [], 9)
    assert places(student, (torch.zeros(12).double(), documents, tokens), [], 3) == []
