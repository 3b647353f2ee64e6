"""Hidden tests of assignment 03_sae_clamping. They run in the trusted process and call the student's.

Each test of a task looks at one mistake and is lenient about the others. Expected values are
computed in float64, latent by latent, and every draw keeps clear of the places where rounding
could decide: no pre-activation lies near its threshold, no two best features are close.
"""

# canary-2a401911fbd690c2a961111e5ad6406c

from __future__ import annotations

import itertools

import torch
from autograder.probe import task

# Honest float32 in any order of operations stays below 3e-6 of the size of what is added up; half
# precision lies above 1e-4.
TOLERANCE = 2e-5


def draw(rng, low, high):
    """A whole number from low to high, both included."""
    return int(torch.randint(low, high + 1, (), generator=rng))


def choose(rng, options, n):
    """n different elements."""
    return [options[i] for i in torch.randperm(len(options), generator=rng)[:n].tolist()]


def gauss(rng, *shape):
    return torch.randn(*shape, generator=rng, dtype=torch.float64)


def is_tensor(value, shape):
    return isinstance(value, torch.Tensor) and tuple(value.shape) == tuple(shape)


def close(value, expected, size=1.0, tolerance=TOLERANCE):
    """Whether value is a tensor like expected, entry by entry, within rounding of numbers of `size`."""
    if not is_tensor(value, expected.shape):
        return False
    error = (value.detach().double().cpu() - expected.double()).abs()
    return bool((error <= tolerance * (expected.double().abs() + size)).all())


def some_sae(rng, *, bias=True, thresholds=True):
    """Weights in float32. A good part of the pre-activations lies between 0 and the threshold."""
    width, latents = draw(rng, 9, 14), draw(rng, 22, 34)
    threshold = 0.4 + 0.8 * torch.rand(latents, generator=rng, dtype=torch.float64)
    sae = {
        "W_enc": gauss(rng, width, latents) / width**0.5,
        "b_enc": 0.7 * gauss(rng, latents) if bias else torch.zeros(latents),
        "threshold": threshold if thresholds else torch.zeros(latents),
        "W_dec": gauss(rng, latents, width),
        "b_dec": 1.5 * gauss(rng, width) if bias else torch.zeros(width),
    }
    return {name: weight.float() for name, weight in sae.items()}


def pre_activations(x, sae):
    """z in float64, one latent at a time."""
    columns = [
        (x.double() * sae["W_enc"][:, i].double()).sum(-1) + sae["b_enc"][i].double()
        for i in range(sae["W_enc"].shape[1])
    ]
    return torch.stack(columns, dim=-1)


def code_of(x, sae):
    z = pre_activations(x, sae)
    return torch.where(z > sae["threshold"].double(), z.clamp(min=0), torch.zeros_like(z))


def some_x(rng, sae, *shape):
    """Residuals of which no pre-activation lies within rounding of its threshold."""
    width = len(sae["W_enc"])
    for _ in range(1000):
        x = (1.5 * gauss(rng, *shape, width)).float()
        z = pre_activations(x, sae)
        if (z - sae["threshold"].double()).abs().min() > 1e-4:
            return x
    raise AssertionError("no residual keeps clear of the thresholds")


def decoded(features, sae, *, bias=True):
    """Decoder rows added up one after the other, in float64."""
    width = sae["W_dec"].shape[1]
    out = torch.zeros(*features.shape[:-1], width, dtype=torch.float64)
    for i in range(features.shape[-1]):
        out = out + features[..., i, None].double() * sae["W_dec"][i].double()
    return out + sae["b_dec"].double() if bias else out


# ---------------------------------------------------------------------------- jumprelu_encode


@task(
    "jumprelu_encode",
    weight=2,
    misconception="Above its threshold a feature keeps the full z. Do not subtract the threshold.",
)
def test_what_passes_the_threshold_keeps_its_full_value(student, rng):
    sae = some_sae(rng, bias=False)
    x = some_x(rng, sae, 3, 4)
    z = pre_activations(x, sae)
    value = student.jumprelu_encode(x, sae)
    assert is_tensor(value, z.shape)
    above = z > sae["threshold"].double()
    assert close(value[above], z[above])


@task(
    "jumprelu_encode",
    weight=2,
    misconception="A z that is positive but not above the feature's own threshold gives 0, and so "
    "does every negative one.",
)
def test_what_does_not_pass_is_zero(student, rng):
    sae = some_sae(rng, bias=False)
    x = some_x(rng, sae, 3, 4)
    z = pre_activations(x, sae)
    value = student.jumprelu_encode(x, sae)
    assert is_tensor(value, z.shape)
    above = z > sae["threshold"].double()
    assert bool((value[~above] == 0).all())
    assert bool((value[above] > 0).all())


@task(
    "jumprelu_encode",
    weight=1,
    misconception="With all thresholds at 0 the result is not relu(x W_enc + b_enc). Is the bias "
    "in it?",
)
def test_with_thresholds_at_0_it_is_a_relu(student, rng):
    sae = some_sae(rng, thresholds=False)
    x = some_x(rng, sae, 2, 5)
    assert close(student.jumprelu_encode(x, sae), pre_activations(x, sae).clamp(min=0))


@task(
    "jumprelu_encode",
    weight=2,
    misconception="Some shape of x or some setting of bias and threshold goes wrong: x may be one "
    "token [d_model], several, or a batch.",
)
def test_every_shape_of_x_is_encoded(student, rng):
    for shape in ((), (6,), (2, 3), (1, 4)):
        sae = some_sae(rng)
        x = some_x(rng, sae, *shape)
        value, expected = student.jumprelu_encode(x, sae), code_of(x, sae)
        assert close(value, expected)
    # Exactly at the threshold a feature is off.
    width, latents = sae["W_enc"].shape
    exact = {name: torch.zeros_like(weight) for name, weight in sae.items()}
    exact["b_enc"] = torch.full((latents,), 2.0)
    exact["threshold"] = torch.tensor([2.0, 1.0] * latents)[:latents]
    value = student.jumprelu_encode(torch.ones(1, width), exact)
    assert close(value, torch.tensor([[0.0, 2.0] * latents])[:, :latents])


# --------------------------------------------------------------------------------- error_term


@task(
    "error_term",
    weight=1,
    misconception="The error is x minus the reconstruction: what has to be added to the "
    "reconstruction to get x.",
)
def test_reconstruction_plus_error_is_x_without_bias(student, rng):
    sae = some_sae(rng, bias=False)
    x = some_x(rng, sae, 2, 3)
    code = code_of(x, sae).float()
    value = student.error_term(x, code, sae)
    assert close(value, x.double() - decoded(code, sae), size=10)


@task(
    "error_term",
    weight=1,
    misconception="Something is missing from the reconstruction: it is features W_dec + b_dec, of "
    "the features that are passed in.",
)
def test_the_error_of_any_code_counts_the_bias(student, rng):
    for shape in ((4,), (2, 3)):
        sae = some_sae(rng)
        x = some_x(rng, sae, *shape)
        code = gauss(rng, *shape, sae["W_enc"].shape[1]).clamp(min=0).float()
        value = student.error_term(x, code, sae)
        assert close(value, x.double() - decoded(code, sae), size=10)


@task(
    "error_term",
    weight=1,
    misconception="Your function changes the x or the features that it was given. Build new tensors.",
)
def test_the_stream_and_the_code_are_left_as_they_are(student, rng):
    sae = some_sae(rng)
    x = some_x(rng, sae, 3)
    code = code_of(x, sae).float()
    value, (x_after, code_after, *_) = student.call_keeping("error_term", x, code, sae)
    assert torch.equal(x_after, x)
    assert torch.equal(code_after, code)
    assert is_tensor(value, x.shape)
    assert not torch.equal(value.double(), x.double())
    assert bool(value.any())


# --------------------------------------------------------------------------- clamp_and_decode


RULES = {
    "set": lambda old, new: torch.full_like(old, new),
    "add": lambda old, new: old + new,
    "max": lambda old, new: old.clamp(min=new),
}


def clamped(features, values, rule="set"):
    out = features.double().clone()
    for feature, value in values.items():
        out[..., feature] = RULES[rule](out[..., feature], value)
    return out


def clamp_case(rng, n=1, *, shape=(2, 4)):
    """sae, a code, an error, and values for n features, each of which is on at some token."""
    sae = some_sae(rng)
    latents = sae["W_enc"].shape[1]
    features = gauss(rng, *shape, latents).clamp(min=0).float()
    error = 2 * gauss(rng, *shape, sae["W_dec"].shape[1])
    chosen = choose(rng, range(latents), n)
    for feature in chosen:
        column = features[..., feature].flatten()
        column[0], column[-1] = 1.0 + torch.rand((), generator=rng), 0.0
        features[..., feature] = column.reshape(shape)
    values = {feature: 2.5 + float(torch.rand((), generator=rng)) for feature in chosen}
    return sae, features, error.float(), values


def is_one_of(value, features, error, sae, values, rules, *, errors=(1, 0), biases=(True, False)):
    """Whether value is some combination of these rules, with or without error and bias."""
    for rule, kept, bias in itertools.product(rules, errors, biases):
        expected = decoded(clamped(features, values, rule), sae, bias=bias) + kept * error.double()
        if close(value, expected, size=10):
            return True
    return False


@task(
    "clamp_and_decode",
    weight=2,
    misconception="A clamp sets the feature to its value at every token, wherever it stood before: "
    "it does not add to it, and leaves the other features as they are.",
)
def test_the_feature_is_set_at_every_token(student, rng):
    for _ in range(2):
        sae, features, error, values = clamp_case(rng)
        value = student.clamp_and_decode(features, error, sae, values)
        assert is_one_of(value, features, error, sae, values, ["set", "max"])


@task(
    "clamp_and_decode",
    weight=1,
    misconception="A value below the present activation is a clamp, too: the feature goes down to "
    "it, and with the value 0 off.",
)
def test_a_clamp_may_go_down(student, rng):
    sae, features, error, values = clamp_case(rng)
    [feature] = values
    for down in (0.0, 0.3):
        value = student.clamp_and_decode(features, error, sae, {feature: down})
        assert is_one_of(value, features, error, sae, {feature: down}, ["set"])


@task(
    "clamp_and_decode",
    weight=2,
    misconception="The error term is not in the result, or not once. Without it the model goes on "
    "with the reconstruction.",
)
def test_the_error_is_added(student, rng):
    sae, features, error, values = clamp_case(rng)
    value = student.clamp_and_decode(features, error, sae, values)
    assert is_one_of(value, features, error, sae, values, list(RULES), errors=(1,))


@task(
    "clamp_and_decode",
    weight=1,
    misconception="Of several features only one is clamped, or they get each other's values.",
)
def test_several_features_each_get_their_own_value(student, rng):
    sae, features, error, values = clamp_case(rng, 3)
    value = student.clamp_and_decode(features, error, sae, values)
    assert is_one_of(value, features, error, sae, values, list(RULES))


@task(
    "clamp_and_decode",
    weight=1,
    misconception="Your function writes into the code that it was given. Work on a copy.",
)
def test_the_code_that_comes_in_is_left_as_it_is(student, rng):
    sae, features, error, values = clamp_case(rng)
    value, (after, *_) = student.call_keeping("clamp_and_decode", features, error, sae, values)
    assert torch.equal(after, features)
    assert is_one_of(value, features, error, sae, values, list(RULES))


@task(
    "clamp_and_decode",
    weight=1,
    misconception="Decode the changed code (W_dec and b_dec), add the error, for any shape.",
)
def test_the_whole_clamp_is_right_for_every_shape(student, rng):
    for shape, n in (((5,), 1), ((2, 3), 2), ((1, 1, 4), 2)):
        sae, features, error, values = clamp_case(rng, n, shape=shape)
        value = student.clamp_and_decode(features, error, sae, values)
        expected = decoded(clamped(features, values), sae) + error.double()
        assert close(value, expected, size=10)


# --------------------------------------------------------------------------------- clamp_step


def step_case(rng, n=1, *, thresholds=True, shape=(3, 4)):
    """sae, x, values: each clamped feature is on at some token and off at another.

    With thresholds, each also has a token where z lies between 0 and its threshold.
    """
    for _ in range(1000):
        sae = some_sae(rng, thresholds=thresholds)
        x = some_x(rng, sae, *shape)
        z, code = pre_activations(x, sae), code_of(x, sae)
        z, code = z.flatten(0, -2), code.flatten(0, -2)
        between = ((z > 0.1) & (code == 0)).any(0) if thresholds else torch.ones(len(z[0])).bool()
        fit = (code.amax(0) > 0.5) & (code.amin(0) == 0) & between
        if int(fit.sum()) >= n:
            chosen = choose(rng, fit.nonzero().flatten().tolist(), n)
            values = {i: 1.5 + 2 * float(torch.rand((), generator=rng)) for i in chosen}
            return sae, x, values
    raise AssertionError("no case where the features are on and off")


def stepped(x, sae, values):
    """Textbook: encode, clamp, decode, minus decode, in float64."""
    code = code_of(x, sae)
    return decoded(clamped(code, values), sae) - decoded(code, sae)


@task(
    "clamp_step",
    weight=2,
    misconception="At each token the step is (α − f) W_dec,i, with f the feature's activation at "
    "that very token.",
)
def test_one_feature_of_a_relu_is_moved_by_the_difference(student, rng):
    for _ in range(2):
        sae, x, values = step_case(rng, thresholds=False)
        assert close(student.clamp_step(x, sae, values), stepped(x, sae, values), size=5)


@task(
    "clamp_step",
    weight=1,
    misconception="The step does not go along the feature's decoder row.",
)
def test_the_step_lies_along_the_decoder_row(student, rng):
    sae, x, values = step_case(rng)
    [feature] = values
    # So high that f makes no difference to the sign of the step.
    value = student.clamp_step(x, sae, {feature: 30.0})
    assert is_tensor(value, x.shape)
    row = sae["W_dec"].double()[feature]
    cosine = torch.cosine_similarity(value.double(), row, dim=-1)
    assert bool((cosine > 0.999).all())


@task(
    "clamp_step",
    weight=1,
    misconception="The threshold is missing from your f, or is taken off it: where z does not pass "
    "the threshold f is 0, and elsewhere the full z.",
)
def test_the_threshold_decides_where_the_feature_stands(student, rng):
    sae, x, values = step_case(rng)
    assert close(student.clamp_step(x, sae, values), stepped(x, sae, values), size=5)
    [feature] = values
    off = student.clamp_step(x, sae, {feature: 0.0})
    assert close(off, stepped(x, sae, {feature: 0.0}), size=5)
    # Exactly at its threshold a feature is off.
    exact = sae | {"b_enc": torch.full_like(sae["b_enc"], 2.0)}
    exact["threshold"] = torch.full_like(sae["threshold"], 2.0)
    value = student.clamp_step(torch.zeros(1, x.shape[-1]), exact, {feature: 3.0})
    assert close(value, 3.0 * sae["W_dec"][[feature]].double(), size=5)


@task(
    "clamp_step",
    weight=2,
    misconception="With several features the step is the sum of theirs; keep each value with its "
    "own feature, in whatever order they come.",
)
def test_several_features_add_up(student, rng):
    for n in (2, 4):
        sae, x, values = step_case(rng, n)
        assert close(student.clamp_step(x, sae, values), stepped(x, sae, values), size=10)


@task(
    "clamp_step",
    weight=2,
    misconception="Your step touches features that are not clamped, or b_dec. Take the columns of "
    "W_enc and the rows of W_dec that you need, and nothing else.",
)
def test_what_the_other_features_hold_makes_no_difference(student, rng):
    sae, x, values = step_case(rng, 2, shape=(5,))
    expected, chosen = stepped(x, sae, values), list(values)
    holes = {name: torch.full_like(weight, torch.nan) for name, weight in sae.items()}
    for name in ("b_enc", "threshold", "W_dec"):
        holes[name][chosen] = sae[name][chosen]
    holes["W_enc"][:, chosen] = sae["W_enc"][:, chosen]
    assert close(student.clamp_step(x, holes, values), expected, size=10)


# ------------------------------------------------------------------------------- find_feature


def areas(scores, labels):
    """AUROC of every feature: all pairs of documents, in float64."""
    gaps = scores[labels].double()[:, None] - scores[~labels].double()[None]
    return ((gaps > 0).double().mean((0, 1)) + 0.5 * (gaps == 0).double().mean((0, 1))).tolist()


def area(scores, labels):
    """AUROC of one feature."""
    return areas(scores[:, None], labels)[0]


def some_labels(rng, n):
    labels = torch.zeros(n, dtype=torch.bool)
    labels[choose(rng, range(n), n // 3)] = True
    return labels


def halves(rng, *, sparse):
    """Scores and labels of two halves, and the places of the features that tempt.

    best: separates the first half well and the second fairly. tempting: perfect on the second half.
    low: better than `best`, but the wrong way round. freak: the largest difference of means, by one
    document. On the first half `best` leads by at least 0.05, on both together `tempting` does.
    """
    for _ in range(1000):
        latents = draw(rng, 8, 14)
        places = choose(rng, range(latents), 4)
        best, tempting, low, freak = places
        sides = []
        for side, n in enumerate((draw(rng, 24, 32), draw(rng, 48, 60))):
            labels = some_labels(rng, n)
            scores = gauss(rng, n, latents).abs()
            scores[:, best] += labels * (2.6 - 1.9 * side)
            if side == 1:
                scores[:, tempting] += 6.0 * labels
            scores[:, low] += 5.0 * ~labels
            scores[labels.nonzero()[0], freak] += 200.0
            if sparse:
                scores = (scores - 0.9).clamp(min=0)
            sides.append((scores.float(), labels))
        first, second = (areas(*side) for side in sides)
        together = areas(*(torch.cat(parts) for parts in zip(*sides, strict=True)))
        others = [a for i, a in enumerate(first) if i != best]
        if (
            first[best] > max(others) + 0.05
            and 0.55 < second[best] < first[best] - 0.05
            and together[tempting] > together[best] + 0.02
            and 1 - first[low] > first[best]
        ):
            return sides, best
    raise AssertionError("no halves with one feature in the lead")


def found(student, sides):
    (a, la), (b, lb) = sides
    value = student.find_feature(a, la, b, lb)
    assert isinstance(value, list | tuple)
    assert len(value) == 2
    feature, quality = (v.item() if isinstance(v, torch.Tensor) else v for v in value)
    assert float(feature) == int(feature)
    assert 0 <= int(feature) < a.shape[1]
    return int(feature), float(quality)


@task(
    "find_feature",
    weight=2,
    misconception="The feature with the highest AUROC on the first half is asked for: the second "
    "half has no say, a feature that is low for the concept does not count, and means are not ranks.",
)
def test_the_feature_is_chosen_by_auroc_on_the_first_half(student, rng):
    for sparse in (False, True):
        sides, best = halves(rng, sparse=sparse)
        assert found(student, sides)[0] == best


@task(
    "find_feature",
    weight=2,
    misconception="The second number is the AUROC of the chosen feature on the *second* half.",
)
def test_the_feature_is_judged_on_the_second_half(student, rng):
    for _ in range(2):
        sides, _ = halves(rng, sparse=False)
        feature, quality = found(student, sides)
        scores, labels = sides[1]
        assert abs(quality - area(scores[:, feature], labels)) < TOLERANCE


@task(
    "find_feature",
    weight=2,
    misconception="Ties count half a win. A sparse feature is exactly 0 on most documents, so most "
    "pairs tie.",
)
def test_ties_count_half(student, rng):
    # Feature 1 fires on half of the concept's documents and on nothing else, which makes 0.75. Who
    # counts ties as wins takes feature 2, which never fires; who counts them as losses, feature 0,
    # which has none.
    n = 2 * draw(rng, 10, 15)
    labels = torch.zeros(n, dtype=torch.bool)
    labels[choose(rng, range(n), n // 2)] = True
    some = choose(rng, labels.nonzero().flatten().tolist(), n // 4)
    scores = torch.zeros(n, 3)
    scores[some, 1] = 1 + torch.rand(len(some), generator=rng)
    for _ in range(1000):
        scores[:, 0] = torch.randperm(n, generator=rng) / n + 0.15 * labels
        if 0.57 < area(scores[:, 0], labels) < 0.67:
            break
    sides = [(scores, labels), (scores.flip(0), labels.flip(0))]
    feature, quality = found(student, sides)
    assert feature == 1
    assert abs(quality - area(scores[:, 1], labels)) < TOLERANCE


# ---------------------------------------------------------------------------- clamp_reference


def fired(rng, n, rate):
    """Activations of one feature on n tokens, of which it fires on a share."""
    activations = torch.zeros(n)
    on = choose(rng, range(n), max(1, int(rate * n)))
    activations[on] = 0.5 + gauss(rng, len(on)).abs().float() ** 2
    return activations


def as_number(value):
    value = value.item() if isinstance(value, torch.Tensor) and value.numel() == 1 else value
    assert isinstance(value, int | float)
    assert not isinstance(value, bool)
    return float(value)


def between_neighbours(value, activations):
    """Whether value is that percentile of the firing tokens, however one interpolates."""
    ordered = activations[activations != 0].double().sort().values
    place = 0.999 * (len(ordered) - 1)
    low, high = ordered[int(place)], ordered[min(int(place) + 1, len(ordered) - 1)]
    return bool(low * (1 - 1e-5) <= value <= high * (1 + 1e-5))


@task(
    "clamp_reference",
    weight=2,
    misconception="The percentile is that of the activations which are not zero: not of all "
    "tokens, and not the maximum.",
)
def test_it_is_the_percentile_of_the_non_zero_activations(student, rng):
    for rate in (0.02, 0.3):
        activations = fired(rng, 120_000, rate)
        assert between_neighbours(as_number(student.clamp_reference(activations)), activations)


@task(
    "clamp_reference",
    weight=1,
    misconception="A feature that never fires has the reference 0.0, and one that fires once that "
    "activation.",
)
def test_a_feature_that_hardly_fires_has_a_reference_too(student, rng):
    once = torch.zeros(40)
    once[draw(rng, 0, 39)] = 1.5
    assert abs(as_number(student.clamp_reference(once)) - 1.5) < 1e-4
    assert as_number(student.clamp_reference(torch.zeros(draw(rng, 5, 50)))) == 0.0


# -------------------------------------------------------------------------- make_intervention


class Parts:
    """A `read` and a `step` that write down what they are given."""

    def __init__(self, rng, width, *, plain=False):
        self.plain = plain
        self.shift = float(gauss(rng, 1))
        self.matrix = gauss(rng, width, width).float() / width**0.5
        self.read_inputs, self.step_inputs = [], []

    def read(self, x):
        self.read_inputs.append(x)
        if self.plain:
            return x, 1.0
        scale = x.double().square().mean(-1, keepdim=True).sqrt() + 0.5
        return ((x.double() - self.shift) / scale).to(x.dtype), scale.to(x.dtype)

    def step(self, x_in):
        self.step_inputs.append(x_in)
        return x_in @ self.matrix.to(x_in.dtype) + 1.0

    def expected(self, resid):
        x = resid.double()
        if self.plain:
            x_in, scale = x, 1.0
        else:
            scale = x.square().mean(-1, keepdim=True).sqrt() + 0.5
            x_in = (x - self.shift) / scale
        return x + scale * (x_in @ self.matrix.double() + 1.0)


def stream(rng, width=6):
    """Tokens of clearly different length."""
    lengths = 1 + 5 * torch.rand(2, 3, 1, generator=rng, dtype=torch.float64)
    return (lengths * gauss(rng, 2, 3, width)).float()


def intervention_of(student, parts):
    made = student.make_intervention(parts.step, parts.read)
    assert callable(made)
    return made


@task(
    "make_intervention",
    weight=2,
    misconception="Where the SAE reads its input scaled token by token, the step has to be "
    "multiplied by that token's scale before it is added to the stream.",
)
def test_the_step_carries_the_scale_of_its_token(student, rng):
    resid = stream(rng)
    parts = Parts(rng, resid.shape[-1])
    assert close(intervention_of(student, parts)(resid), parts.expected(resid), size=10)


@task(
    "make_intervention",
    weight=1,
    misconception="Where nothing is scaled (the scale is 1.0) the result is not the "
    "stream plus the step.",
)
def test_without_scaling_the_step_is_added_as_it_is(student, rng):
    resid = stream(rng)
    parts = Parts(rng, resid.shape[-1], plain=True)
    assert close(intervention_of(student, parts)(resid), parts.expected(resid), size=10)


@task(
    "make_intervention",
    weight=1,
    misconception="`step` has to be given what the SAE reads, the x_in of `read`, at every call "
    "anew.",
)
def test_the_step_is_asked_for_what_the_sae_reads(student, rng):
    parts = Parts(rng, 6)
    made = intervention_of(student, parts)
    for resid in (stream(rng), stream(rng)):
        parts.step_inputs.clear()
        out = made(resid)
        assert parts.step_inputs
        x_in, _ = parts.read(resid)
        assert close(parts.step_inputs[-1], x_in, size=1)
        assert is_tensor(out, resid.shape)
        assert not torch.equal(out.float(), resid)
        assert bool(out.any())


@task(
    "make_intervention",
    weight=1,
    misconception="Your intervention changes the tensor that it was given. Build a new one.",
)
def test_the_stream_that_comes_in_is_left_as_it_is(student, rng):
    resid = stream(rng)
    # Nothing is read or scaled here, so that only what happens to the stream itself counts.
    parts = Parts(rng, resid.shape[-1], plain=True)
    out, (after, *_) = intervention_of(student, parts).call_keeping(resid)
    assert torch.equal(after, resid)
    assert is_tensor(out, resid.shape)
    assert not torch.equal(out.float(), resid)
    assert bool(out.any())


@task(
    "make_intervention",
    weight=2,
    misconception="In half precision the result must have the stream's dtype, and `read` and "
    "`step` must work in float32: convert going in and coming out.",
)
def test_half_precision_is_kept_outside_and_not_used_inside(student, rng):
    for dtype in (torch.float16, torch.bfloat16):
        resid = stream(rng).to(dtype)
        parts = Parts(rng, resid.shape[-1], plain=True)
        out = intervention_of(student, parts)(resid)
        assert isinstance(out, torch.Tensor)
        assert out.dtype == dtype
        for given in parts.read_inputs + parts.step_inputs:
            assert given.dtype in (torch.float32, torch.float64)
        # The step may be rounded, and the sum, to the stream's precision.
        expected = parts.expected(resid)
        size = expected.abs() + resid.double().abs() + (expected - resid.double()).abs()
        assert out.shape == expected.shape
        error = (out.double() - expected).abs()
        assert bool((error <= 2 * torch.finfo(dtype).eps * size + 1e-4).all())
