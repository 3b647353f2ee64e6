"""The visible checks pass a right function, wait for an unwritten one, diagnose a wrong one."""

from __future__ import annotations

import re

import pytest
import torch
from steerlab import checks, load_model

# Right functions, written as a student might. They live here and not beside the checks, which
# students can read.


def right_difference(positive, negative):
    return positive.mean(0) - negative.mean(0)


def right_mask(start, n_tokens, n_prompt, positions):
    at = torch.arange(start, start + n_tokens)
    chosen = {"all": at > 0, "prompt": (at > 0) & (at < n_prompt), "generated": at >= n_prompt}
    if positions not in chosen:
        raise ValueError(positions)
    return chosen[positions] & (at > 0)


def right_hooks(vectors, coefficient, layers, mask):
    def adding(vector):
        return lambda resid, hook: resid + (coefficient * mask[:, None] * vector).to(resid)

    return [(f"blocks.{layer}.hook_resid_pre", adding(vectors[layer])) for layer in layers]


def right_score(prompt, text, words_for, words_against):
    words = re.findall("[a-z]+", text[len(prompt) :].lower())
    n_for, n_against = (sum(w in ws for w in words) for ws in (words_for, words_against))
    return n_for / (n_for + n_against) if n_for + n_against else None


def right_residuals(model, sentences, first=1, last=None, hook="hook_resid_pre"):
    rows = []
    for sentence in sentences:
        _, cache = model.run_with_cache(model.to_tokens(sentence))
        layers = range(model.cfg.n_layers)
        read = [cache[f"blocks.{i}.{hook}"][0, first:last] for i in layers]
        rows.append(torch.stack([tokens.mean(0) for tokens in read]))
    return torch.stack(rows)


def right_generate(model, prompt, hooks_at, max_new_tokens, use_cache):
    tokens, past, start = model.to_tokens(prompt), None, 0
    for _ in range(max_new_tokens):
        fed = tokens[:, start:]
        with torch.no_grad(), model.hooks(fwd_hooks=hooks_at(start, fed.shape[1])):
            logits, past = model(
                fed,
                past_key_values=past,
                use_past_kv_cache=use_cache,
                return_type="logits_and_cache",
            )
        start, past = (tokens.shape[1], past) if use_cache else (0, None)
        tokens = torch.cat([tokens, logits[:, -1].argmax(-1, keepdim=True)], 1)
        if tokens[0, -1] == model.tokenizer.eos_token_id:
            break
    return tokens[0]


@pytest.fixture(scope="module")
def model():
    return load_model("tiny")


def cases(model):
    """(check, right function, further arguments) of every check."""
    return [
        (checks.check_sentence_residuals, right_residuals, (model,)),
        (checks.check_mean_difference, right_difference, ()),
        (checks.check_steering_mask, right_mask, ()),
        (checks.check_steering_hooks, right_hooks, ()),
        (checks.check_generate_with_hooks, right_generate, (model,)),
        (checks.check_concept_score, right_score, ()),
    ]


def test_a_right_function_passes_and_is_told_what_was_looked_at(model, capsys):
    for check, right, further in cases(model):
        check(right, *further)
        assert capsys.readouterr().out.startswith("✓ "), check.__name__


def test_an_unwritten_function_is_no_failure(model, capsys):
    def unwritten(*args, **kwargs):
        raise NotImplementedError("your code here")

    for check, _, further in cases(model):
        check(unwritten, *further)
        assert "is not written yet" in capsys.readouterr().out, check.__name__


def test_nothing_at_all_is_a_failure(model):
    for check, _, further in cases(model):
        with pytest.raises(checks.CheckFailed):
            check(lambda *args, **kwargs: None, *further)


def test_zeros_of_the_right_shape_are_a_failure(model):
    layers, width = model.cfg.n_layers, model.cfg.d_model
    zeros = {
        checks.check_sentence_residuals: lambda m, s: torch.zeros(len(s), layers, width),
        checks.check_mean_difference: lambda p, n: torch.zeros(2, 2),
        checks.check_steering_mask: lambda a, n, b, c: torch.zeros(n, dtype=torch.bool),
        checks.check_concept_score: lambda *args: 0.0,
    }
    for check, _, further in cases(model):
        if check in zeros:
            with pytest.raises(checks.CheckFailed):
                check(zeros[check], *further)


def test_an_exception_of_the_students_own_comes_through():
    def broken(positive, negative):
        return positive / "two"

    with pytest.raises(TypeError):
        checks.check_mean_difference(broken)


def test_a_failure_shows_as_one_line_without_a_traceback():
    with pytest.raises(checks.CheckFailed) as failure:
        checks.check_mean_difference(lambda p, n: n.mean(0) - p.mean(0))
    [line] = failure.value._render_traceback_()
    assert line.startswith("✗ mean_difference: ")
    assert "\n" not in line
    assert failure.value.__suppress_context__


@pytest.mark.parametrize(
    ("wrong", "diagnosis"),
    [
        (lambda p, n: n.mean(0) - p.mean(0), "from positive to negative"),
        (lambda p, n: (p.mean(0) - n.mean(0)).mean(0), "averaged over layers"),
        (lambda p, n: p.sum(0) - n.sum(0), "subtract sums"),
        (
            lambda p, n: torch.nn.functional.normalize(p.mean(0) - n.mean(0), dim=-1),
            "has length 1",
        ),
    ],
)
def test_mean_difference_is_diagnosed(wrong, diagnosis):
    with pytest.raises(checks.CheckFailed, match=diagnosis):
        checks.check_mean_difference(wrong)


@pytest.mark.parametrize(
    ("wrong", "diagnosis"),
    [
        (lambda a, n, b, c: torch.arange(a, a + n) >= 0, "steers position 0"),
        (lambda a, n, b, c: right_mask(0, n, b, c), "beginning of the pass"),
        (lambda a, n, b, c: right_mask(a, n, b + 1, c), "you steer"),
        (lambda a, n, b, c: right_mask(a, n, b, c).float(), "dtype"),
        (
            lambda a, n, b, c: right_mask(a, n, b, c if c != "promt" else "all"),
            "passes silently",
        ),
    ],
)
def test_steering_mask_is_diagnosed(wrong, diagnosis):
    with pytest.raises(checks.CheckFailed, match=diagnosis):
        checks.check_steering_mask(wrong)


def late(vectors, coefficient, layers, mask):
    hooks = []
    for layer in layers:
        hooks.append(
            (
                f"blocks.{layer}.hook_resid_pre",
                lambda resid, hook: resid + coefficient * mask[:, None] * vectors[layer],  # noqa: B023
            )
        )
    return hooks


def in_place(vectors, coefficient, layers, mask):
    def adding(vector):
        def hook_fn(resid, hook):
            resid += (coefficient * mask[:, None] * vector).to(resid)
            return resid

        return hook_fn

    return [(f"blocks.{layer}.hook_resid_pre", adding(vectors[layer])) for layer in layers]


def promoting(vectors, coefficient, layers, mask):
    pairs = right_hooks(vectors, coefficient, layers, mask)
    return [(name, lambda resid, hook, f=f: f(resid.float(), hook)) for name, f in pairs]


@pytest.mark.parametrize(
    ("wrong", "diagnosis"),
    [
        (late, "looks a loop variable up"),
        (in_place, "in place"),
        (promoting, "float16 residual"),
        (lambda v, c, ls, m: right_hooks(v, 1.0, ls, m), "coefficient has no effect"),
        (lambda v, c, ls, m: right_hooks(v, c, ls, m | True), "mask is False"),
        (lambda v, c, ls, m: right_hooks(v[[0, 2, 1]], c, ls, m), "adds the vector of"),
        (
            lambda v, c, ls, m: [(f"block.{i}", f) for i, f in right_hooks(v, c, ls, m)],
            "ignored without a word",
        ),
    ],
)
def test_steering_hooks_are_diagnosed(wrong, diagnosis):
    with pytest.raises(checks.CheckFailed, match=diagnosis):
        checks.check_steering_hooks(wrong)


@pytest.mark.parametrize(
    ("wrong", "diagnosis"),
    [
        (lambda p, t, f, a: right_score("", t, f, a), "words of the prompt are counted"),
        (lambda p, t, f, a: right_score(p, t, f, a) or 0.0, "is missing: None"),
        (lambda p, t, f, a: right_score(p, t.replace("B", "X"), f, a), "expected 0.25"),
        (lambda p, t, f, a: right_score(p, t, a, f), "share of `words_against`"),
    ],
)
def test_concept_score_is_diagnosed(wrong, diagnosis):
    with pytest.raises(checks.CheckFailed, match=diagnosis):
        checks.check_concept_score(wrong)


@pytest.mark.parametrize(
    ("wrong", "diagnosis"),
    [
        (lambda m, s: right_residuals(m, s, first=0), "position 0 is in your mean"),
        (lambda m, s: right_residuals(m, s, hook="hook_resid_post"), "hook_resid_post"),
        (lambda m, s: right_residuals(m, s[::-1]), "another order"),
        (lambda m, s: right_residuals(m, s, first=-1), "the last token, not the mean"),
        (lambda m, s: right_residuals(m, s, last=2), "the token at position 1, not the mean"),
        (lambda m, s: right_residuals(m, s, last=4), "is not the mean over the tokens"),
        (lambda m, s: right_residuals(m, s)[:, 0], "the result has shape"),
    ],
)
def test_sentence_residuals_are_diagnosed(model, wrong, diagnosis):
    with pytest.raises(checks.CheckFailed, match=diagnosis):
        checks.check_sentence_residuals(wrong, model)


def padded(model, sentences):
    """All sentences in one batch without an attention mask."""
    _, cache = model.run_with_cache(model.to_tokens(sentences))
    layers = range(model.cfg.n_layers)
    return torch.stack([cache[f"blocks.{i}.hook_resid_pre"][:, 1:].mean(1) for i in layers], 1)


def test_padding_is_diagnosed(model):
    with pytest.raises(checks.CheckFailed, match="padding is let into the mean"):
        checks.check_sentence_residuals(padded, model)


def never_cached(model, prompt, hooks_at, max_new_tokens, use_cache):
    return right_generate(model, prompt, hooks_at, max_new_tokens, False)


def forgetful(model, prompt, hooks_at, max_new_tokens, use_cache):
    """With the cache every pass begins with an empty memory."""
    tokens, start = model.to_tokens(prompt), 0
    for _ in range(max_new_tokens):
        fed = tokens[:, start:]
        with torch.no_grad(), model.hooks(fwd_hooks=hooks_at(start, fed.shape[1])):
            logits = model(fed)
        start = tokens.shape[1] if use_cache else 0
        tokens = torch.cat([tokens, logits[:, -1].argmax(-1, keepdim=True)], 1)
    return tokens[0]


def without_hooks(model, prompt, hooks_at, max_new_tokens, use_cache):
    def asked_in_vain(start, n_tokens):
        hooks_at(start, n_tokens)
        return []

    return right_generate(model, prompt, asked_in_vain, max_new_tokens, use_cache)


@pytest.mark.parametrize(
    ("wrong", "diagnosis"),
    [
        (never_cached, "feed the new token only"),
        (forgetful, "hand the memory"),
        (without_hooks, "never ran"),
        (lambda *args: right_generate(*args)[-4:], "begin with the prompt"),
        (lambda m, p, h, n, c: right_generate(m, p, h, n + 1, c), "new tokens where"),
    ],
)
def test_generation_is_diagnosed(model, wrong, diagnosis):
    with pytest.raises(checks.CheckFailed, match=diagnosis):
        checks.check_generate_with_hooks(wrong, model)
