"""The checks that stand under each exercise: they take the student's function and diagnose it.

A check says one of three things. The function is right: one line that begins with `✓`. It is not
written yet: one friendly line, and the notebook goes on. It is wrong: `CheckFailed`, whose message
says what the function seems to do and what to look at next; IPython shows that one line and no
traceback. An exception of the student's own comes through untouched, since its traceback points
at the student's line.

The inputs are small and fixed, and nothing here computes an answer the way an exercise asks for
it. Marks are given by other tests, on other inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import torch

RESID_PRE = "blocks.{layer}.hook_resid_pre"


class CheckFailed(AssertionError):
    """A check found the function wrong; the message is the diagnosis."""

    def _render_traceback_(self) -> list[str]:
        """What IPython prints in place of a traceback."""
        return [f"✗ {self}"]


def _check_of(task: str) -> Callable[[Callable[..., str]], Callable[..., None]]:
    """Make a check of `task` out of a function that diagnoses and returns what it looked at."""

    def decorate(diagnose: Callable[..., str]) -> Callable[..., None]:
        @wraps(diagnose)
        def check(function: Callable[..., Any], *args: Any) -> None:
            try:
                looked_at = diagnose(function, *args)
            except NotImplementedError:
                print(f"… {task} is not written yet. Fill in the cell above, then run this one.")
            except CheckFailed as failure:
                raise CheckFailed(f"{task}: {failure}") from None
            else:
                print(f"✓ {task}: {looked_at}")

        return check

    return decorate


def _expect(condition: object, diagnosis: str) -> None:
    if not condition:
        raise CheckFailed(diagnosis)


def _expect_tensor(value: object, shape: Sequence[int], dims: str) -> torch.Tensor:
    """`value` as a finite tensor of `shape`, or a diagnosis; `dims` names the dimensions."""
    _expect(value is not None, "it returns None. Is the `return` missing?")
    if not isinstance(value, torch.Tensor):
        raise CheckFailed(f"it returns a {type(value).__name__}; return a tensor [{dims}].")
    _expect(
        tuple(value.shape) == tuple(shape),
        f"the result has shape {list(value.shape)}; [{dims}] is {list(shape)} here.",
    )
    if value.is_floating_point():
        _expect(
            bool(value.isfinite().all()),
            "the result holds NaN or infinity. Do you divide by a count that can be 0?",
        )
    return value


def _same(a: torch.Tensor, b: torch.Tensor, tolerance: float = 1e-3) -> bool:
    """Equal up to rounding, relative to the larger of the two."""
    a, b = a.detach().double().cpu(), b.detach().double().cpu()
    return bool((a - b).norm() <= tolerance * max(a.norm(), b.norm(), 1e-12))


# ------------------------------------------------------------------------------------------------
# 01_mean_diff


def _two_token_text(model: Any) -> str:
    """A text of exactly two tokens, so that position 1 is all that may count."""
    for text in ("The", "I", "A", "It", "The movie", "I was"):
        if model.to_tokens(text).shape[1] == 2:
            return text
    raise ValueError(
        "steerlab.checks found no text of two tokens for this model's tokenizer; "
        "check this function on the embedded model (MODEL = 'tiny') instead"
    )


def _expect_mean_of_tokens(got: torch.Tensor, pre: torch.Tensor, layer: int) -> None:
    """`got` is to be the mean of the residuals `pre` [pos, d_model] of a longer text."""
    _expect(
        got.norm() <= 1.01 * pre[1:].norm(dim=-1).max(),
        "the result of a long sentence is longer than any of its tokens: a mean cannot be. "
        "Do you sum without dividing, or divide by the wrong count?",
    )
    _expect(
        not _same(got, pre[-1]),
        "you return the last token, not the mean over the tokens from position 1 on.",
    )
    _expect(
        not _same(got, pre[1]),
        "you return the token at position 1, not the mean over the tokens from position 1 on.",
    )
    # Means taken in half precision differ by more than rounding in float32 does.
    total = pre.double().sum(0) - pre[0].double()
    _expect(
        _same(got.double() * (len(pre) - 1), total, tolerance=2e-2),
        f"for a sentence of several words, layer {layer} of your result is not the mean over the "
        "tokens from position 1 on. Is every token in it, each once?",
    )


@_check_of("sentence_residuals")
def check_sentence_residuals(function: Callable[..., Any], model: Any) -> str:
    """Diagnose `sentence_residuals(model, sentences)` on three sentences and one two-token text."""
    short, long = "It was good.", "The movie that I saw last week was ordinary and so was the book."
    layers, width = model.cfg.n_layers, model.cfg.d_model
    dims = "sentence, layer, d_model"

    with torch.no_grad():
        text = _two_token_text(model)
        one = _expect_tensor(function(model, [text]), (1, layers, width), dims)[0]
        _, cache = model.run_with_cache(model.to_tokens(text))
        for layer in range(layers):
            pre = cache[RESID_PRE.format(layer=layer)][0]
            post = cache[f"blocks.{layer}.hook_resid_post"][0]
            _expect(
                not _same(one[layer], (pre[0] + pre[1]) / 2),
                "position 0 is in your mean. It holds the BOS token, which is the same for every "
                "sentence and carries no sentiment: average from position 1 on.",
            )
            _expect(
                not _same(one[layer], pre[0]),
                "you return the residual at position 0, which is BOS. Leave that one out.",
            )
            _expect(
                not _same(one[layer], post[1]),
                f"layer {layer} of your result is hook_resid_post, what leaves the block. "
                "Read hook_resid_pre, what enters it.",
            )
            _expect(
                _same(one[layer], pre[1]),
                f"for the text {text!r}, which has one token after position 0, layer {layer} of "
                "your result is not the residual of that token. Print your tokens and the hook "
                "names that you read.",
            )

        alone = [
            _expect_tensor(function(model, [s]), (1, layers, width), dims)[0] for s in (short, long)
        ]
        _, cache = model.run_with_cache(model.to_tokens(long))
        for layer in range(layers):
            _expect_mean_of_tokens(alone[1][layer], cache[RESID_PRE.format(layer=layer)][0], layer)
        for order in ([0, 1], [1, 0]):
            together = function(model, [(short, long)[i] for i in order])
            together = _expect_tensor(together, (2, layers, width), dims)
            for row, i in enumerate(order):
                _expect(
                    not _same(together[row], alone[1 - i]),
                    "the rows come back in another order than the sentences.",
                )
                _expect(
                    _same(together[row], alone[i]),
                    "a sentence gets another mean when it stands beside a longer one: padding is "
                    "let into the mean, or shifts the positions of the real tokens. The simplest "
                    "cure is to run one sentence at a time.",
                )
    return "position 0 left out, padding left out, the right hook point, one row a sentence."


@_check_of("mean_difference")
def check_mean_difference(function: Callable[..., Any]) -> str:
    """Diagnose `mean_difference(positive, negative)` on five sentences, two layers, width 2."""
    positive = torch.tensor([[[1.0, 0.0], [2.0, 2.0]], [[3.0, 0.0], [4.0, 2.0]]])
    negative = torch.tensor([[[0.0, 1.0], [1.0, 1.0]]] * 3)
    expected = torch.tensor([[2.0, -1.0], [2.0, 1.0]])

    result = function(positive, negative)
    if isinstance(result, torch.Tensor) and tuple(result.shape) == (2,):
        raise CheckFailed("you averaged over layers too: keep one vector for each layer.")
    result = _expect_tensor(result, (2, 2), "layer, d_model")
    _expect(
        not _same(result, -expected),
        "your vector points from positive to negative. It should lead to the positive side.",
    )
    _expect(
        not _same(result, expected / expected.norm(dim=-1, keepdim=True)),
        "your vector has length 1. Keep the length of the difference: the dose needs it.",
    )
    _expect(
        not _same(result, positive.sum(0) - negative.sum(0)),
        "you subtract sums. With 2 positive and 3 negative sentences that is not the difference "
        "of the means.",
    )
    _expect(_same(result, expected), "the result is not mean(positive) - mean(negative), by layer.")
    return "from negative to positive, one vector a layer, sets of unequal size."


@_check_of("steering_mask")
def check_steering_mask(function: Callable[..., Any]) -> str:
    """Diagnose `steering_mask(start, n_tokens, n_prompt, positions)` on a prompt of 4 tokens."""

    def mask(start: int, n_tokens: int, n_prompt: int, positions: str) -> list[bool]:
        value = _expect_tensor(function(start, n_tokens, n_prompt, positions), (n_tokens,), "token")
        _expect(
            value.dtype == torch.bool,
            f"the mask has dtype {value.dtype}; compare positions to get a torch.bool.",
        )
        return value.tolist()

    whole = {
        "all": [False, True, True, True, True, True],
        "prompt": [False, True, True, True, False, False],
        "generated": [False, False, False, False, True, True],
    }
    for positions, expected in whole.items():
        got = mask(0, 6, 4, positions)
        _expect(
            not got[0],
            f"positions={positions!r} steers position 0. Never steer it: every other token leans "
            "on it.",
        )
        _expect(
            got == expected,
            f"a prompt of 4 tokens and 2 generated ones, positions={positions!r}: you steer "
            f"positions {[i for i, on in enumerate(got) if on]}, expected "
            f"{[i for i, on in enumerate(expected) if on]}.",
        )
    for positions, steered in {"all": True, "prompt": False, "generated": True}.items():
        _expect(
            mask(5, 1, 4, positions) == [steered],
            f"with a cache a pass holds one token, here the one at position 5, and "
            f"positions={positions!r} should {'steer' if steered else 'leave'} it. Your mask seems "
            "to count from the beginning of the pass: add `start`.",
        )
    try:
        function(0, 3, 2, "promt")
    except ValueError:
        pass
    else:
        raise CheckFailed(
            "positions='promt' passes silently. Raise a ValueError for a name that you do not "
            "know, or a typing mistake becomes an experiment without steering."
        )
    return "position 0 spared, positions counted from the beginning of the text, cache or not."


@_check_of("steering_hooks")
def check_steering_hooks(function: Callable[..., Any]) -> str:
    """Diagnose `steering_hooks(vectors, coefficient, layers, mask)` on three layers of width 2."""
    vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0], [3.0, 3.0]])
    mask = torch.tensor([False, True, True])
    hooks = function(vectors, 2.0, [0, 2], mask)
    _expect(hooks is not None, "it returns None. Is the `return` missing?")
    hooks = list(hooks)
    _expect(len(hooks) == 2, f"two layers asked for, {len(hooks)} hooks given.")
    names = [name for name, _ in hooks]
    wanted = [RESID_PRE.format(layer=layer) for layer in (0, 2)]
    _expect(
        names == wanted,
        f"the hook points are {names}, expected {wanted}. A name that the model does not have is "
        "ignored without a word, and nothing is steered.",
    )
    for (_, hook_fn), layer, other in zip(hooks, (0, 2), (2, 1), strict=True):
        resid = torch.ones(2, 3, 2)
        untouched = resid.clone()
        result = _expect_tensor(hook_fn(resid, hook=None), (2, 3, 2), "batch, token, d_model")
        _expect(
            torch.equal(resid, untouched),
            "your hook changes its input in place (`+=`, or assignment to a slice). Others hold "
            "that tensor too: build a new one.",
        )
        moved = result - untouched
        _expect(
            bool((moved[:, 0] == 0).all()),
            "the first token moved although its mask is False.",
        )
        _expect(
            not _same(moved[0, 1], 2.0 * vectors[other]),
            f"the hook for layer {layer} adds the vector of layer {other}. "
            + (
                "Python looks a loop variable up when the hook runs, after the loop has ended: "
                "bind the vector when you make the hook."
                if layer == 0
                else "Take vectors[layer], not the next one in line."
            ),
        )
        _expect(
            not _same(moved[0, 1], vectors[layer]),
            "the coefficient has no effect: add coefficient * vectors[layer].",
        )
        _expect(
            _same(moved[:, 1:], (2.0 * vectors[layer]).expand(2, 2, 2)),
            f"layer {layer}, tokens with mask True: expected every row of the batch to move by "
            "coefficient * vectors[layer].",
        )
    half = hooks[0][1](torch.ones(1, 3, 2, dtype=torch.float16), hook=None)
    _expect(
        half.dtype == torch.float16,
        f"a float16 residual comes back as {half.dtype}. The next block expects its own dtype: "
        "convert what you add, not the stream.",
    )
    return "each layer its own vector, masked, out of place, dtype kept."


@_check_of("generate_with_hooks")
def check_generate_with_hooks(function: Callable[..., Any], model: Any) -> str:
    """Diagnose `generate_with_hooks(model, prompt, hooks_at, max_new_tokens, use_cache)`."""
    prompt, n_new = "The movie that I saw was", 4
    with torch.no_grad():
        prompt_tokens = model.to_tokens(prompt)[0]
        greedy_first = int(model(prompt_tokens[None])[0, -1].argmax())
    n_prompt = len(prompt_tokens)
    runs: dict[bool, list[int]] = {}
    for use_cache in (False, True):
        announced: list[tuple[int, int]] = []
        seen: list[int] = []

        def hooks_at(
            start: int, n_tokens: int, announced: Any = announced, seen: Any = seen
        ) -> list[tuple[str, Callable[..., Any]]]:
            announced.append((int(start), int(n_tokens)))

            def spy(resid: torch.Tensor, hook: Any) -> None:
                seen.append(resid.shape[1])

            return [(RESID_PRE.format(layer=0), spy)]

        how = f"use_cache={use_cache}"
        result = function(model, prompt, hooks_at, n_new, use_cache)
        _expect(isinstance(result, torch.Tensor), f"{how}: return a tensor of token ids.")
        _expect(result.dim() == 1, f"{how}: the result has shape {list(result.shape)}, not [total]")
        tokens = [int(token) for token in result]
        _expect(
            tokens[:n_prompt] == prompt_tokens.tolist(),
            f"{how}: the result should begin with the prompt's own tokens, BOS included.",
        )
        _expect(
            len(tokens) == n_prompt + n_new or tokens[-1] == model.tokenizer.eos_token_id,
            f"{how}: {len(tokens) - n_prompt} new tokens where {n_new} were asked for.",
        )
        passes = len(tokens) - n_prompt
        expected = [
            (n_prompt + i - 1, 1) if use_cache and i else (0, n_prompt + i) for i in range(passes)
        ]
        _expect(
            announced == expected,
            f"{how}: you asked hooks_at for (start, n_tokens) = {announced}, expected {expected}. "
            + ("The cache holds the rest: feed the new token only." if use_cache else ""),
        )
        _expect(seen, f"{how}: the hooks from hooks_at never ran.")
        _expect(
            seen == [n for _, n in expected],
            f"{how}: the hooks saw passes of {seen} tokens, but hooks_at was told {expected}.",
        )
        with torch.no_grad():
            model(prompt_tokens[None])
        _expect(
            len(seen) == passes, f"{how}: your hooks stay behind and act on later passes as well."
        )
        _expect(
            tokens[n_prompt] == greedy_first,
            f"{how}: the first new token is not the one with the largest logit at the last "
            "position.",
        )
        runs[use_cache] = tokens
    _expect(
        runs[True] == runs[False],
        "with and without a cache you get different tokens. Do you hand the memory that one pass "
        "returns to the next one, as past_key_values?",
    )
    return "greedy, the same tokens with and without a cache, hooks asked for at every pass."


@_check_of("concept_score")
def check_concept_score(function: Callable[..., Any]) -> str:
    """Diagnose `concept_score(prompt, text, words_for, words_against)` on four short texts."""
    words_for, words_against = ["good", "great"], ["bad"]
    prompt = "A good, good and great film was"
    score = function(prompt, f"{prompt} bad. Good? bad, BAD!", words_for, words_against)
    _expect(not isinstance(score, torch.Tensor), "return a plain float, not a tensor.")
    _expect(
        score != 4 / 7,
        "the words of the prompt are counted. The prompt is ours: score the completion only.",
    )
    _expect(
        score is not None and score != 0,
        "words are missed. Capital letters and punctuation must not hide a word.",
    )
    _expect(
        score != 1 / 2, "a word that comes three times counts three times: keep every occurrence."
    )
    _expect(
        score != 3 / 4, "you give the share of `words_against`; the share of `words_for` is asked."
    )
    _expect(score == 1 / 4, f"one word for and three against: expected 0.25, got {score!r}.")
    score = function("It was", "It was goods and badly great", words_for, words_against)
    _expect(
        score == 1.0,
        "'badly' is not 'bad' and 'goods' is not 'good': compare whole words, not substrings.",
    )
    score = function("It was", "It was a film", words_for, words_against)
    _expect(
        score is None,
        f"a completion without any of the words gives {score!r}. Nothing was said either way, so "
        "the score is missing: None.",
    )
    return "completion only, whole words, any case, None where there is nothing to count."
