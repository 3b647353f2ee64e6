"""The checks of assignment 01_mean_diff."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from steerlab.checks.diagnosis import RESID_PRE, CheckFailed, check_of, expect, expect_tensor, same


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
    expect(
        got.norm() <= 1.01 * pre[1:].norm(dim=-1).max(),
        "the result of a long sentence is longer than any of its tokens: a mean cannot be. "
        "Do you sum without dividing, or divide by the wrong count?",
    )
    expect(
        not same(got, pre[-1]),
        "you return the last token, not the mean over the tokens from position 1 on.",
    )
    expect(
        not same(got, pre[1]),
        "you return the token at position 1, not the mean over the tokens from position 1 on.",
    )
    # Means taken in half precision differ by more than rounding in float32 does.
    total = pre.double().sum(0) - pre[0].double()
    expect(
        same(got.double() * (len(pre) - 1), total, tolerance=2e-2),
        f"for a sentence of several words, layer {layer} of your result is not the mean over the "
        "tokens from position 1 on. Is every token in it, each once?",
    )


@check_of("sentence_residuals")
def check_sentence_residuals(function: Callable[..., Any], model: Any) -> str:
    """Diagnose `sentence_residuals(model, sentences)` on three sentences and one two-token text."""
    short, long = "It was good.", "The movie that I saw last week was ordinary and so was the book."
    layers, width = model.cfg.n_layers, model.cfg.d_model
    dims = "sentence, layer, d_model"

    with torch.no_grad():
        text = _two_token_text(model)
        one = expect_tensor(function(model, [text]), (1, layers, width), dims)[0]
        _, cache = model.run_with_cache(model.to_tokens(text))
        for layer in range(layers):
            pre = cache[RESID_PRE.format(layer=layer)][0]
            post = cache[f"blocks.{layer}.hook_resid_post"][0]
            expect(
                not same(one[layer], (pre[0] + pre[1]) / 2),
                "position 0 is in your mean. It holds the BOS token, which is the same for every "
                "sentence and carries no sentiment: average from position 1 on.",
            )
            expect(
                not same(one[layer], pre[0]),
                "you return the residual at position 0, which is BOS. Leave that one out.",
            )
            expect(
                not same(one[layer], post[1]),
                f"layer {layer} of your result is hook_resid_post, what leaves the block. "
                "Read hook_resid_pre, what enters it.",
            )
            expect(
                same(one[layer], pre[1]),
                f"for the text {text!r}, which has one token after position 0, layer {layer} of "
                "your result is not the residual of that token. Print your tokens and the hook "
                "names that you read.",
            )

        alone = [
            expect_tensor(function(model, [s]), (1, layers, width), dims)[0] for s in (short, long)
        ]
        _, cache = model.run_with_cache(model.to_tokens(long))
        for layer in range(layers):
            _expect_mean_of_tokens(alone[1][layer], cache[RESID_PRE.format(layer=layer)][0], layer)
        for order in ([0, 1], [1, 0]):
            together = function(model, [(short, long)[i] for i in order])
            together = expect_tensor(together, (2, layers, width), dims)
            for row, i in enumerate(order):
                expect(
                    not same(together[row], alone[1 - i]),
                    "the rows come back in another order than the sentences.",
                )
                expect(
                    same(together[row], alone[i]),
                    "a sentence gets another mean when it stands beside a longer one: padding is "
                    "let into the mean, or shifts the positions of the real tokens. The simplest "
                    "cure is to run one sentence at a time.",
                )
    return "position 0 left out, padding left out, the right hook point, one row a sentence."


@check_of("mean_difference")
def check_mean_difference(function: Callable[..., Any]) -> str:
    """Diagnose `mean_difference(positive, negative)` on five sentences, two layers, width 2."""
    positive = torch.tensor([[[1.0, 0.0], [2.0, 2.0]], [[3.0, 0.0], [4.0, 2.0]]])
    negative = torch.tensor([[[0.0, 1.0], [1.0, 1.0]]] * 3)
    expected = torch.tensor([[2.0, -1.0], [2.0, 1.0]])

    result = function(positive, negative)
    if isinstance(result, torch.Tensor) and tuple(result.shape) == (2,):
        raise CheckFailed("you averaged over layers too: keep one vector for each layer.")
    result = expect_tensor(result, (2, 2), "layer, d_model")
    expect(
        not same(result, -expected),
        "your vector points from positive to negative. It should lead to the positive side.",
    )
    expect(
        not same(result, expected / expected.norm(dim=-1, keepdim=True)),
        "your vector has length 1. Keep the length of the difference: the dose needs it.",
    )
    expect(
        not same(result, positive.sum(0) - negative.sum(0)),
        "you subtract sums. With 2 positive and 3 negative sentences that is not the difference "
        "of the means.",
    )
    expect(same(result, expected), "the result is not mean(positive) - mean(negative), by layer.")
    return "from negative to positive, one vector a layer, sets of unequal size."


@check_of("steering_mask")
def check_steering_mask(function: Callable[..., Any]) -> str:
    """Diagnose `steering_mask(start, n_tokens, n_prompt, positions)` on a prompt of 4 tokens."""

    def mask(start: int, n_tokens: int, n_prompt: int, positions: str) -> list[bool]:
        value = expect_tensor(function(start, n_tokens, n_prompt, positions), (n_tokens,), "token")
        expect(
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
        expect(
            not got[0],
            f"positions={positions!r} steers position 0. Never steer it: every other token leans "
            "on it.",
        )
        expect(
            got == expected,
            f"a prompt of 4 tokens and 2 generated ones, positions={positions!r}: you steer "
            f"positions {[i for i, on in enumerate(got) if on]}, expected "
            f"{[i for i, on in enumerate(expected) if on]}.",
        )
    for positions, steered in {"all": True, "prompt": False, "generated": True}.items():
        expect(
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


@check_of("steering_hooks")
def check_steering_hooks(function: Callable[..., Any]) -> str:
    """Diagnose `steering_hooks(vectors, coefficient, layers, mask)` on three layers of width 2."""
    vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0], [3.0, 3.0]])
    mask = torch.tensor([False, True, True])
    hooks = function(vectors, 2.0, [0, 2], mask)
    expect(hooks is not None, "it returns None. Is the `return` missing?")
    hooks = list(hooks)
    expect(len(hooks) == 2, f"two layers asked for, {len(hooks)} hooks given.")
    names = [name for name, _ in hooks]
    wanted = [RESID_PRE.format(layer=layer) for layer in (0, 2)]
    expect(
        names == wanted,
        f"the hook points are {names}, expected {wanted}. A name that the model does not have is "
        "ignored without a word, and nothing is steered.",
    )
    for (_, hook_fn), layer, other in zip(hooks, (0, 2), (2, 1), strict=True):
        resid = torch.ones(2, 3, 2)
        untouched = resid.clone()
        result = expect_tensor(hook_fn(resid, hook=None), (2, 3, 2), "batch, token, d_model")
        expect(
            torch.equal(resid, untouched),
            "your hook changes its input in place (`+=`, or assignment to a slice). Others hold "
            "that tensor too: build a new one.",
        )
        moved = result - untouched
        expect(
            bool((moved[:, 0] == 0).all()),
            "the first token moved although its mask is False.",
        )
        expect(
            not same(moved[0, 1], 2.0 * vectors[other]),
            f"the hook for layer {layer} adds the vector of layer {other}. "
            + (
                "Python looks a loop variable up when the hook runs, after the loop has ended: "
                "bind the vector when you make the hook."
                if layer == 0
                else "Take vectors[layer], not the next one in line."
            ),
        )
        expect(
            not same(moved[0, 1], vectors[layer]),
            "the coefficient has no effect: add coefficient * vectors[layer].",
        )
        expect(
            same(moved[:, 1:], (2.0 * vectors[layer]).expand(2, 2, 2)),
            f"layer {layer}, tokens with mask True: expected every row of the batch to move by "
            "coefficient * vectors[layer].",
        )
    half = hooks[0][1](torch.ones(1, 3, 2, dtype=torch.float16), hook=None)
    expect(
        half.dtype == torch.float16,
        f"a float16 residual comes back as {half.dtype}. The next block expects its own dtype: "
        "convert what you add, not the stream.",
    )
    return "each layer its own vector, masked, out of place, dtype kept."


@check_of("generate_with_hooks")
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
        expect(isinstance(result, torch.Tensor), f"{how}: return a tensor of token ids.")
        expect(result.dim() == 1, f"{how}: the result has shape {list(result.shape)}, not [total]")
        tokens = [int(token) for token in result]
        expect(
            tokens[:n_prompt] == prompt_tokens.tolist(),
            f"{how}: the result should begin with the prompt's own tokens, BOS included.",
        )
        expect(
            len(tokens) == n_prompt + n_new or tokens[-1] == model.tokenizer.eos_token_id,
            f"{how}: {len(tokens) - n_prompt} new tokens where {n_new} were asked for.",
        )
        passes = len(tokens) - n_prompt
        expected = [
            (n_prompt + i - 1, 1) if use_cache and i else (0, n_prompt + i) for i in range(passes)
        ]
        expect(
            announced == expected,
            f"{how}: you asked hooks_at for (start, n_tokens) = {announced}, expected {expected}. "
            + ("The cache holds the rest: feed the new token only." if use_cache else ""),
        )
        expect(seen, f"{how}: the hooks from hooks_at never ran.")
        expect(
            seen == [n for _, n in expected],
            f"{how}: the hooks saw passes of {seen} tokens, but hooks_at was told {expected}.",
        )
        with torch.no_grad():
            model(prompt_tokens[None])
        expect(
            len(seen) == passes, f"{how}: your hooks stay behind and act on later passes as well."
        )
        expect(
            tokens[n_prompt] == greedy_first,
            f"{how}: the first new token is not the one with the largest logit at the last "
            "position.",
        )
        runs[use_cache] = tokens
    expect(
        runs[True] == runs[False],
        "with and without a cache you get different tokens. Do you hand the memory that one pass "
        "returns to the next one, as past_key_values?",
    )
    return "greedy, the same tokens with and without a cache, hooks asked for at every pass."


@check_of("concept_score")
def check_concept_score(function: Callable[..., Any]) -> str:
    """Diagnose `concept_score(prompt, text, words_for, words_against)` on four short texts."""
    words_for, words_against = ["good", "great"], ["bad"]
    prompt = "A good, good and great film was"
    score = function(prompt, f"{prompt} bad. Good? bad, BAD!", words_for, words_against)
    expect(not isinstance(score, torch.Tensor), "return a plain float, not a tensor.")
    expect(
        score != 4 / 7,
        "the words of the prompt are counted. The prompt is ours: score the completion only.",
    )
    expect(
        score is not None and score != 0,
        "words are missed. Capital letters and punctuation must not hide a word.",
    )
    expect(
        score != 1 / 2, "a word that comes three times counts three times: keep every occurrence."
    )
    expect(
        score != 3 / 4, "you give the share of `words_against`; the share of `words_for` is asked."
    )
    expect(score == 1 / 4, f"one word for and three against: expected 0.25, got {score!r}.")
    score = function("It was", "It was goods and badly great", words_for, words_against)
    expect(
        score == 1.0,
        "'badly' is not 'bad' and 'goods' is not 'good': compare whole words, not substrings.",
    )
    score = function("It was", "It was a film", words_for, words_against)
    expect(
        score is None,
        f"a completion without any of the words gives {score!r}. Nothing was said either way, so "
        "the score is missing: None.",
    )
    return "completion only, whole words, any case, None where there is nothing to count."
