"""Hidden tests of assignment 01_mean_diff. They run in the trusted process and call the student's.

Several tests of one task look at one mistake each and are lenient about the others, so that a
student who makes one mistake loses the points of that one and reads what it was. None of them
is passed by zeros, by the input, or by what a visible check expects.
"""

# canary-5e04d68c68e9eab8cde484408dc2ae67

from __future__ import annotations

from functools import cache, lru_cache

import pytest
import torch
from autograder.probe import StudentError, task
from steerlab import load_model
from steerlab.data import sentences

# Honest fp32 in any order of operations stays below 1e-5; half precision lies above 1e-4, the
# mistakes above 1e-2.
TOLERANCE = 1e-4
# Of logits, whose size is some tens: with and without a cache they differ by less.
LOGIT_TOLERANCE = 1e-3


@cache
def embedded():
    return load_model("tiny")


@pytest.fixture
def model():
    """The embedded model, loaded once for all students."""
    return embedded()


def draw(rng, low, high):
    """A whole number from low to high, both included."""
    return int(torch.randint(low, high + 1, (), generator=rng))


def choose(rng, options, n):
    """n different elements."""
    return [options[i] for i in torch.randperm(len(options), generator=rng)[:n].tolist()]


def gauss(rng, *shape, dtype=torch.float64):
    return torch.randn(*shape, generator=rng, dtype=torch.float64).to(dtype)


def close(value, expected, tolerance=TOLERANCE):
    """Whether value is a tensor of expected's shape whose last-dimension vectors all agree."""
    if not isinstance(value, torch.Tensor) or value.shape != expected.shape:
        return False
    value, expected = value.detach().double().cpu(), expected.double()
    error = (value - expected).norm(dim=-1)
    return bool((error <= tolerance * expected.norm(dim=-1)).all())


# ------------------------------------------------------------------------- sentence_residuals


def some_sentences(rng, n):
    """n sentences, at least one of them clearly longer than another."""
    pool = sentences("positive", 20, seed=draw(rng, 0, 10**6))
    pool += sentences("negative", 20, seed=draw(rng, 0, 10**6))
    pool = sorted(set(pool), key=len)
    longest = pool[-1] + " " + pool[-2]
    return choose(rng, [longest, pool[0], *choose(rng, pool[1:-2], max(n - 2, 0))][:n], n)


@cache
def hidden_states(text):
    """transformers' own hidden states of one text, [layer + 1, pos, d_model], kept for all students.

    One text at a time: no batch, no padding.
    """
    model = embedded()
    tokenizer = model.tokenizer
    ids = [tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False)["input_ids"]]
    with torch.no_grad():
        output = model.original_model(torch.tensor([ids]), output_hidden_states=True)
    return torch.stack(output.hidden_states)[:, 0].double()


def pooled(texts, *, first=False, post=False):
    """The means; first: position 0 too; post: what leaves each block, the last one left out."""
    means = []
    for text in texts:
        hidden = hidden_states(text)[1:-1] if post else hidden_states(text)[:-1]
        means.append(hidden[:, 0 if first else 1 :].mean(dim=1))
    return torch.stack(means)


def is_one_of(value, model, texts, variants):
    """Whether value is one of these ways to pool, all of its layers or all that the way has."""
    for variant in variants:
        expected = pooled(texts, **variant)
        n_layers = model.cfg.n_layers
        shape = (len(texts), n_layers, expected.shape[-1])
        if not isinstance(value, torch.Tensor) or value.shape != shape:
            return False
        if close(value[:, : expected.shape[1]], expected):
            return True
    return False


@task(
    "sentence_residuals",
    weight=2,
    misconception="For a single sentence, average hook_resid_pre of each layer over the tokens "
    "after position 0, and return shape [sentence, layer, d_model].",
)
def test_one_sentence_is_averaged_over_its_tokens(student, model, rng):
    for text in some_sentences(rng, 2):
        assert close(student.sentence_residuals(student.model, [text]), pooled([text]))


@task(
    "sentence_residuals",
    weight=1,
    misconception="Position 0 (BOS) seems to be in your mean. Average from position 1 on.",
)
def test_position_0_is_left_out(student, model, rng):
    for text in some_sentences(rng, 2):
        value = student.sentence_residuals(student.model, [text])
        assert is_one_of(value, model, [text], [{}, {"post": True}])


@task(
    "sentence_residuals",
    weight=1,
    misconception="Layer l of your result is not what enters block l. Read "
    "blocks.{l}.hook_resid_pre, not hook_resid_post, for every layer from 0.",
)
def test_the_stream_is_read_before_the_block(student, model, rng):
    for text in some_sentences(rng, 2):
        value = student.sentence_residuals(student.model, [text])
        assert is_one_of(value, model, [text], [{}, {"first": True}])


@task(
    "sentence_residuals",
    weight=2,
    misconception="Given several sentences of different length, some rows are off although a "
    "single sentence may be right: padding counts as text or shifts the positions, or the rows "
    "are in another order.",
)
def test_neighbours_in_a_batch_do_not_matter(student, model, rng):
    texts = some_sentences(rng, 5)
    value = student.sentence_residuals(student.model, texts)
    variants = [{}, {"post": True}, {"first": True}, {"post": True, "first": True}]
    assert is_one_of(value, model, texts, variants)


@task(
    "sentence_residuals",
    weight=2,
    misconception="Check position 0, padding, the hook point and the order of the rows together, "
    "on a list of sentences of different lengths.",
)
def test_a_list_of_sentences_gives_one_row_each(student, model, rng):
    for n in (3, 6):
        texts = some_sentences(rng, n)
        assert close(student.sentence_residuals(student.model, texts), pooled(texts))


# ---------------------------------------------------------------------------- mean_difference


def two_sets(rng, n_positive, n_negative, dtype=torch.float32):
    """Two stacks [sentence, layer, d_model] far from zero and apart from each other."""
    layers, width = draw(rng, 2, 5), draw(rng, 6, 20)
    common = 3 * gauss(rng, 1, layers, width)
    positive = common + gauss(rng, 1, layers, width) + 0.3 * gauss(rng, n_positive, layers, width)
    negative = common + 0.3 * gauss(rng, n_negative, layers, width)
    return positive.to(dtype), negative.to(dtype)


def difference(positive, negative):
    """The same thing by another road: every pair of sentences, averaged."""
    pairs = positive.double()[:, None] - negative.double()[None]
    return pairs.flatten(0, 1).mean(0)


@task(
    "mean_difference",
    weight=1,
    misconception="Subtract the negative mean from the positive one, not the other way round, "
    "and keep one vector for each layer.",
)
def test_the_vector_points_from_negative_to_positive(student, rng):
    positive, negative = two_sets(rng, 6, 6)
    value, expected = student.mean_difference(positive, negative), difference(positive, negative)
    assert isinstance(value, torch.Tensor)
    assert value.shape == expected.shape
    assert (torch.cosine_similarity(value.double(), expected, dim=-1) > 0.999).all()


@task(
    "mean_difference",
    weight=1,
    misconception="The length of your vector is not the distance between the two means. Do not "
    "normalise it, and divide each sum by its own count.",
)
def test_the_vector_keeps_its_length(student, rng):
    positive, negative = two_sets(rng, 5, 5)
    value, expected = student.mean_difference(positive, negative), difference(positive, negative)
    assert isinstance(value, torch.Tensor)
    assert value.shape == expected.shape
    assert torch.allclose(value.double().norm(dim=-1), expected.norm(dim=-1), rtol=TOLERANCE)


@task(
    "mean_difference",
    weight=2,
    misconception="With sets of different size the result is off. Average each set by itself; "
    "there are no pairs.",
)
def test_the_sets_may_differ_in_size(student, rng):
    for n_positive, n_negative in ((1, 8), (7, 2)):
        for dtype in (torch.float32, torch.float64):
            positive, negative = two_sets(rng, n_positive, n_negative, dtype)
            value = student.mean_difference(positive, negative)
            assert close(value, difference(positive, negative))


# ------------------------------------------------------------------------------ steering_mask


def steered(start, n_tokens, n_prompt, positions):
    """The same mask, one position at a time."""
    rule = {
        "all": lambda i: i > 0,
        "prompt": lambda i: 0 < i < n_prompt,
        "generated": lambda i: i >= max(n_prompt, 1),
    }[positions]
    return [bool(rule(i)) for i in range(start, start + n_tokens)]


def masks_agree(student, cases):
    for start, n_tokens, n_prompt, positions in cases:
        value = student.steering_mask(start, n_tokens, n_prompt, positions)
        assert isinstance(value, torch.Tensor)
        assert value.dtype == torch.bool
        assert value.tolist() == steered(start, n_tokens, n_prompt, positions)


@task(
    "steering_mask",
    weight=1,
    misconception="positions='all' steers every position except position 0 of the text, which is "
    "never steered.",
)
def test_all_spares_position_0_alone(student, rng):
    n = draw(rng, 3, 12)
    masks_agree(student, [(0, n + 4, n, "all"), (0, n, n, "all"), (n, 1, n, "all")])


@task(
    "steering_mask",
    weight=1,
    misconception="In a pass over the whole text, 'prompt' means positions 1 to n_prompt - 1 and "
    "'generated' means positions from n_prompt on.",
)
def test_prompt_and_generated_part_at_the_end_of_the_prompt(student, rng):
    for _draw in range(3):
        n, more = draw(rng, 2, 12), draw(rng, 1, 9)
        masks_agree(student, [(0, n + more, n, "prompt"), (0, n + more, n, "generated")])
    masks_agree(student, [(0, 4, 1, "generated"), (0, 3, 2, "prompt")])


@task(
    "steering_mask",
    weight=2,
    misconception="With a cache a pass begins at `start`, not at 0: count positions from the "
    "beginning of the text.",
)
def test_a_pass_that_begins_later_counts_from_the_beginning_of_the_text(student, rng):
    n = draw(rng, 6, 12)
    masks_agree(student, [(n + draw(rng, 0, 5), 1, n, word) for word in ("all", "generated")])
    masks_agree(student, [(n + 2, 1, n, "prompt"), (n - 2, 1, n, "prompt")])
    for word in ("generated", "all", "prompt"):
        masks_agree(student, [(n - 3, 6, n, word), (1, n + 2, n, word)])


@task(
    "steering_mask",
    weight=1,
    misconception="An unknown word for positions should raise a ValueError; the three known ones "
    "should not.",
)
def test_an_unknown_word_is_refused(student, rng):
    n = draw(rng, 3, 9)
    masks_agree(student, [(0, n + 2, n, "generated"), (0, n + 2, n, "prompt")])
    for word in ("last", "Prompt"):
        with pytest.raises(StudentError) as refusal:
            student.steering_mask(0, n + 2, n, word)
        assert refusal.value.type_name == "ValueError"


# ----------------------------------------------------------------------------- steering_hooks


def hook_case(rng, layers=4, width=8, tokens=6):
    """vectors, coefficient, mask (some True, some not) and a residual stream, all float32."""
    mask = torch.zeros(tokens, dtype=torch.bool)
    mask[choose(rng, range(tokens), tokens // 2)] = True
    sign = 1 if draw(rng, 0, 1) else -1
    coefficient = sign * (1.5 + float(torch.rand((), generator=rng)))
    vectors = gauss(rng, layers, width, dtype=torch.float32)
    resid = gauss(rng, 3, tokens, width, dtype=torch.float32)
    return vectors, coefficient, mask, resid


def pushed(resid, vectors, coefficient, layer, mask):
    """The expected stream in float64, token by token."""
    out = resid.double().clone()
    for token in mask.nonzero().flatten().tolist():
        for row in range(len(out)):
            out[row, token] = out[row, token] + float(coefficient) * vectors[layer].double()
    return out


def pairs_of(student, vectors, coefficient, layers, mask):
    """The (name, hook) pairs as a list."""
    pairs = student.steering_hooks(vectors, coefficient, layers, mask)
    assert isinstance(pairs, list | tuple)
    assert len(pairs) == len(layers)
    for pair in pairs:
        assert isinstance(pair, list | tuple)
        assert len(pair) == 2
    return [(name, hook) for name, hook in pairs]


@task(
    "steering_hooks",
    weight=1,
    misconception="Each pair needs the full name blocks.{layer}.hook_resid_pre and a function that "
    "changes the stream, in the order of `layers`.",
)
def test_every_layer_gets_a_hook_at_its_hook_point(student, rng):
    vectors, coefficient, mask, resid = hook_case(rng)
    layers = choose(rng, range(4), 3)
    pairs = pairs_of(student, vectors, coefficient, layers, mask)
    assert [name for name, _ in pairs] == [f"blocks.{layer}.hook_resid_pre" for layer in layers]
    for _, hook in pairs:
        out = hook(resid, hook=None)
        assert isinstance(out, torch.Tensor)
        assert out.shape == resid.shape
        assert not torch.equal(out.float(), resid)
        assert bool(out.any())


@task(
    "steering_hooks",
    weight=2,
    misconception="The hooks do not each add the vector of their own layer. Bind the vector when "
    "the hook is made, and take vectors[layer] even where `layers` skips some or is not in order.",
)
def test_every_hook_adds_the_vector_of_its_own_layer(student, rng):
    vectors, coefficient, mask, resid = hook_case(rng, layers=5)
    # Only which vector is added is looked at: at masked tokens, up to a positive factor.
    for layers in ([3, 1, 4], [0, 2]):
        pairs = pairs_of(student, vectors, abs(coefficient), layers, mask)
        for (_, hook), layer in zip(pairs, layers, strict=True):
            out = hook(resid, hook=None)
            assert isinstance(out, torch.Tensor)
            assert out.shape == resid.shape
            moved = (out.double() - resid.double())[:, mask]
            cosine = torch.cosine_similarity(moved, vectors[layer].double(), dim=-1)
            assert (cosine > 0.999).all()


@task(
    "steering_hooks",
    weight=2,
    misconception="Where the mask is True the stream should move by coefficient * vector, in every "
    "row of the batch and for negative coefficients too; elsewhere it should not move at all.",
)
def test_masked_tokens_move_and_the_others_stay(student, rng):
    for sign in (1, -1):
        vectors, coefficient, mask, resid = hook_case(rng)
        coefficient = sign * abs(coefficient)
        layer = draw(rng, 0, 3)
        [(_, hook)] = pairs_of(student, vectors, coefficient, [layer], mask)
        out = hook(resid, hook=None)
        assert close(out, pushed(resid, vectors, coefficient, layer, mask))
        assert torch.equal(out[:, ~mask], resid[:, ~mask])


@task(
    "steering_hooks",
    weight=1,
    misconception="Your hook changes the tensor that it was given. Build a new one: resid + push, "
    "not resid += push and no assignment to a slice of resid.",
)
def test_the_stream_that_comes_in_is_left_as_it_is(student, rng):
    vectors, coefficient, mask, resid = hook_case(rng)
    [(_, hook)] = pairs_of(student, vectors, coefficient, [1], mask)
    out, (after, *_) = hook.call_keeping(resid, hook=None)
    assert torch.equal(after, resid)
    assert isinstance(out, torch.Tensor)
    assert out.shape == resid.shape
    assert not torch.equal(out.float(), resid)
    assert bool(out.any())


@task(
    "steering_hooks",
    weight=1,
    misconception="The result has another dtype than the stream. Convert what you add to the "
    "stream's dtype.",
)
def test_the_dtype_of_the_stream_is_kept(student, rng):
    vectors, coefficient, mask, resid = hook_case(rng)
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        [(_, hook)] = pairs_of(student, vectors, coefficient, [2], mask)
        given = resid.to(dtype)
        out = hook(given, hook=None)
        assert isinstance(out, torch.Tensor)
        assert out.dtype == dtype
        expected = pushed(given, vectors, coefficient, 2, mask)
        # Vector, product and sum may each be rounded to the stream's precision, or the vector's.
        precision = max(torch.finfo(dtype).eps, torch.finfo(torch.float32).eps)
        size = given.double().abs() + (expected - given.double()).abs()
        assert out.shape == expected.shape
        assert bool(((out.double() - expected).abs() <= 4 * precision * size).all())


# ------------------------------------------------------------------------------ concept_score


GOOD = ["good", "great", "fine", "lovely", "superb", "glad"]
BAD = ["bad", "awful", "poor", "nasty", "grim", "sad"]
PLAIN = ["film", "lamp", "chair", "walked", "river", "seven", "under", "maybe"]


def completion(rng, n_for, n_against, n_plain=5):
    """Words in random order, each followed by a space: n_for good ones, n_against bad ones."""
    words = [choose(rng, GOOD, 1)[0] for _ in range(n_for)]
    words += [choose(rng, BAD, 1)[0] for _ in range(n_against)]
    words += [choose(rng, PLAIN, 1)[0] for _ in range(n_plain)]
    return choose(rng, words, len(words))


def is_share(value, n_for, n_against):
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value - n_for / (n_for + n_against)) < 1e-9


def shares(rng):
    """A few (for, against) counts with shares that nothing else gives by accident."""
    return choose(rng, [(2, 1), (1, 3), (3, 2), (2, 5), (4, 3), (1, 4)], 2)


@task(
    "concept_score",
    weight=2,
    misconception="Words of the prompt seem to count, or words of the completion to be lost with "
    "it. The completion is everything after the prompt's characters.",
)
def test_the_prompt_does_not_count(student, rng):
    prompt = "the good film and the good lamp were"
    for n_for, n_against in shares(rng):
        text = f"{prompt} " + " ".join(completion(rng, n_for, n_against))
        assert is_share(student.concept_score(prompt, text, GOOD, BAD), n_for, n_against)
        # A completion may say the prompt again, and there it counts.
        text += f" {prompt}"
        assert is_share(student.concept_score(prompt, text, GOOD, BAD), n_for + 2, n_against)
        # It begins with the very next character: "sad" is not in it when the prompt took the s.
        words = " ".join(["good", *completion(rng, n_for, n_against)])
        assert is_share(
            student.concept_score("So ", f"So {words}", GOOD, BAD), n_for + 1, n_against
        )
        score = student.concept_score("It is s", f"It is sad {words}", GOOD, BAD)
        assert is_share(score, n_for + 1, n_against)


@task(
    "concept_score",
    weight=1,
    misconception="Capital letters or punctuation hide a word. Compare in lower case, and cut the "
    "text into runs of letters.",
)
def test_case_and_punctuation_hide_no_word(student, rng):
    marks = [".", ",", "!", "?", ";", ":", ")", '"', "\n"]
    for n_for, n_against in shares(rng):
        words = [
            choose(rng, [str.upper, str.title, str.lower], 1)[0](word) + choose(rng, marks, 1)[0]
            for word in completion(rng, n_for, n_against)
        ]
        text = "It was " + " (".join(words)
        assert is_share(student.concept_score("It was", text, GOOD, BAD), n_for, n_against)


@task(
    "concept_score",
    weight=1,
    misconception="Compare whole words and count every occurrence: a word inside a longer word is "
    "another word, and repetitions count.",
)
def test_whole_words_count_each_time(student, rng):
    for n_for, n_against in shares(rng):
        words = ["superb"] * n_for + ["grim"] * n_against
        words += ["badly", "goodness", "sadness", "fineness", "poorest", "unlovely", "greatest"]
        words = choose(rng, words, len(words))
        # The words at either end count like any other.
        for first, last in (("grim", "superb"), ("superb", "grim")):
            text = " ".join(["So", first, *words, last])
            score = student.concept_score("So", text, GOOD, BAD)
            assert is_share(score, n_for + 1, n_against + 1)


@task(
    "concept_score",
    weight=1,
    misconception="A completion without any of the words has no score: return None for it, and a "
    "number between 0 and 1 for every other.",
)
def test_nothing_to_count_gives_none(student, rng):
    empty = "It was " + " ".join(completion(rng, 0, 0))
    assert student.concept_score("It was", empty, GOOD, BAD) is None
    assert student.concept_score("It was", "It was", GOOD, BAD) is None
    for n_for, n_against in ((0, 2), (2, 0), (2, 2), (2, 3)):
        text = "It was " + " ".join(completion(rng, n_for, n_against))
        assert is_share(student.concept_score("It was", text, GOOD, BAD), n_for, n_against)


# ------------------------------------------------------------------------ generate_with_hooks
# Last in the file: a generator that leaves hooks behind spoils nobody else's test.


def a_prompt(rng):
    words = choose(rng, sentences("neutral", 9, seed=draw(rng, 0, 10**6)), 1)[0].split()
    return " ".join(words[: draw(rng, 3, min(6, len(words)))])


def reference_logits(tokens, name=None, vector=None, mask=None):
    """Logits of one pass over the whole text, with vector added at hook point `name` by mask."""
    steering = (name, tuple(vector.tolist()), tuple(mask.tolist())) if name else ()
    return _reference_logits(tuple(tokens.tolist()), *steering)


@lru_cache(maxsize=1000)  # the inputs are the same for all students, and so are most answers
def _reference_logits(tokens, name=None, vector=(), mask=()):
    def push(resid, hook):
        return resid + torch.tensor(mask)[None, :, None] * torch.tensor(vector)

    model = embedded()
    with torch.no_grad(), model.hooks(fwd_hooks=[(name, push)] if name else []):
        return model(torch.tensor([tokens]))[0].double()


def is_greedy(tokens, n_prompt, **steering):
    """Whether every new token has the largest logit where it was predicted, within rounding."""
    logits = reference_logits(tokens, **steering)[n_prompt - 1 : -1]
    chosen = logits.gather(1, tokens[n_prompt:, None])[:, 0]
    return bool((chosen >= logits.max(dim=1).values - LOGIT_TOLERANCE).all())


class Passes:
    """A `hooks_at` that writes down what it is asked, and what its hooks then see."""

    def __init__(self, name=None, hook=None):
        self.name, self.hook = name, hook
        self.asked, self.seen = [], []

    def __call__(self, start, n_tokens):
        start, n_tokens = int(start), int(n_tokens)
        self.asked.append((start, n_tokens))
        if self.name is None:
            return []

        def hook_fn(resid, hook):
            self.seen.append(tuple(resid.shape))
            return self.hook(resid, start, n_tokens)

        return [(self.name, hook_fn)]


def generated(student, prompt, passes, n_new, use_cache):
    value = student.generate_with_hooks(student.model, prompt, passes, n_new, use_cache)
    assert isinstance(value, torch.Tensor)
    assert value.dim() == 1
    assert not value.is_floating_point()
    return value.long()


def as_asked(n_prompt, n_new, use_cache):
    """The (start, n_tokens) of every pass."""
    whole = [(0, n_prompt + i) for i in range(n_new)]
    return [whole[0]] + [(n_prompt + i, 1) for i in range(n_new - 1)] if use_cache else whole


@task(
    "generate_with_hooks",
    weight=2,
    misconception="Without the cache, feed the whole text at every pass (start is 0), take the "
    "best token after the last one, and return the prompt's tokens followed by the new ones.",
)
def test_without_a_cache_the_whole_text_is_fed_and_the_best_token_taken(student, model, rng):
    newest = []

    def look(logits, start, n_tokens):
        newest.append(logits[0, -1].double())
        return logits

    for n_new in (1, draw(rng, 4, 7)):
        prompt, passes = a_prompt(rng), Passes("unembed.hook_out", look)
        newest.clear()
        tokens = generated(student, prompt, passes, n_new, False)
        given = model.to_tokens(prompt)[0]
        assert tokens[: len(given)].tolist() == given.tolist()
        stopped = int(tokens[-1]) == model.tokenizer.eos_token_id
        made = len(tokens) - len(given)
        assert 1 <= made <= n_new
        assert made == n_new or stopped
        assert passes.asked == as_asked(len(given), made, False)
        assert is_greedy(tokens, len(given))
        # An old cache that is handed on, too, seldom changes the best token, but it does the logits.
        expected = reference_logits(tokens)[len(given) - 1 : -1]
        assert bool(((torch.stack(newest) - expected).abs() <= LOGIT_TOLERANCE).all())


@task(
    "generate_with_hooks",
    weight=2,
    misconception="With the cache, the first pass feeds the prompt and every later one the newest "
    "token only, at its absolute position; the tokens must stay those that the whole text gives.",
)
def test_with_a_cache_only_the_newest_token_is_fed(student, model, rng):
    n_new, prompt = draw(rng, 4, 7), a_prompt(rng)
    passes = Passes("blocks.0.hook_resid_pre", lambda resid, start, n_tokens: resid)
    tokens = generated(student, prompt, passes, n_new, True)
    given = model.to_tokens(prompt)[0]
    made = len(tokens) - len(given)
    assert tokens[: len(given)].tolist() == given.tolist()
    assert made == n_new or int(tokens[-1]) == model.tokenizer.eos_token_id
    assert passes.asked == as_asked(len(given), made, True)
    assert [shape[1] for shape in passes.seen] == [n for _, n in passes.asked]
    assert is_greedy(tokens, len(given))


@task(
    "generate_with_hooks",
    weight=3,
    misconception="The hooks that hooks_at returns do not act as they should: each pass runs with "
    "its own, and none may stay on the model afterwards.",
)
def test_the_hooks_of_each_pass_act_on_that_pass(student, model, rng):
    layer, n_new, prompt = model.cfg.n_layers // 2, 5, a_prompt(rng)
    name, given = f"blocks.{layer}.hook_resid_pre", model.to_tokens(prompt)[0]
    plain = reference_logits(given)[-1].argmax()
    size = model.run_with_cache(given[None])[1][name][0, 1:].norm(dim=-1).mean()
    vector = torch.zeros(model.cfg.d_model)
    for _ in range(200):  # a push that changes what comes next, so that it cannot be left out
        vector = gauss(rng, model.cfg.d_model, dtype=torch.float32)
        vector = 1.5 * size * vector / vector.norm()
        on = torch.arange(len(given)) > 0
        logits = reference_logits(given, name, vector, on)[-1]
        end = model.tokenizer.eos_token_id
        if logits.argmax() not in (plain, end) and logits.max() - logits[plain] > 0.1:
            break

    def push(resid, start, n_tokens):
        on = torch.arange(start, start + n_tokens) > 0
        return resid + on[None, :, None] * vector

    for use_cache in (False, True):
        passes = Passes(name, push)
        tokens = generated(student, prompt, passes, n_new, use_cache)
        on = torch.arange(len(tokens)) > 0
        assert len(tokens) > len(given)
        assert is_greedy(tokens, len(given), name=name, vector=vector, mask=on)
        assert len(passes.seen) == len(tokens) - len(given)
        generated(student, prompt, Passes(), 1, use_cache)
        assert len(passes.seen) == len(tokens) - len(given)


@task(
    "generate_with_hooks",
    weight=1,
    misconception="Stop as soon as the end-of-text token has come (it is "
    "kept), and go on to max_new_tokens where it does not.",
)
def test_the_end_of_text_token_ends_the_text(student, model, rng):
    end, prompt = model.tokenizer.eos_token_id, a_prompt(rng)
    n_prompt, last = len(model.to_tokens(prompt)[0]), draw(rng, 2, 4)
    word = draw(rng, 5, model.cfg.d_vocab - 1)

    def dictate(logits, start, n_tokens):
        """Make `word` the best token everywhere, and the end of the text after `last` of them."""
        logits = logits.clone()
        logits[..., word] = 1e4
        if start + n_tokens == n_prompt + last:
            logits[..., end] = 2e4
        return logits

    for use_cache in (False, True):
        passes = Passes("unembed.hook_out", dictate)
        tokens = generated(student, prompt, passes, last + 4, use_cache)
        assert tokens[n_prompt:].tolist() == [word] * last + [end]
