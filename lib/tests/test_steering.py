"""Interventions act exactly where they should, whatever the cache, the padding and the model."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from steerlab.generation import generate, stream
from steerlab.hooks import read_batch
from steerlab.steering import (
    AddVector,
    Steering,
    coefficient_for_dose,
    dose_of,
    residual_norm,
    steer,
)
from steerlab.tokens import tokenize

PRE, POST = "blocks.1.hook_resid_pre", "blocks.0.hook_resid_post"
INDICES = (1, 2, 9, 11)


def direction(model, seed=0):
    return torch.randn(model.cfg.d_model, generator=torch.Generator().manual_seed(seed))


def completions(model, prompts, **options):
    return [c.tokens for c in generate(model, prompts, max_new_tokens=5, **options)]


def hooks_left(model):
    on_points = [name for name, point in model.hook_dict.items() if point.fwd_hooks]
    return on_points + list(model.original_model._forward_pre_hooks)


@pytest.mark.parametrize("positions", ["all", "prompt", "generated", INDICES])
@pytest.mark.parametrize("prepend_bos", [True, False])
@pytest.mark.parametrize("hook_name", [PRE, POST])
def test_cache_and_batching_change_no_token(any_model, prompts, hook_name, prepend_bos, positions):
    add = AddVector(direction(any_model), 4.0)
    options = {"prepend_bos": prepend_bos}
    with steer(any_model, {hook_name: add}, positions):
        cached = completions(any_model, prompts, use_cache=True, **options)
        uncached = completions(any_model, prompts, use_cache=False, **options)
        shortest_alone = completions(any_model, prompts[:1], **options)
    assert cached == uncached
    assert cached[:1] == shortest_alone, "padding changed a token"
    assert cached != completions(any_model, prompts, **options), "steering had no effect"
    assert not hooks_left(any_model)


@pytest.mark.parametrize("positions", ["all", "prompt", "generated", INDICES, "newest_only"])
@pytest.mark.parametrize("sampled", [{}, {"temperature": 1.5, "seed": 3}])
def test_a_streamed_text_is_the_generated_one_and_the_model_is_free_in_between(
    any_model, prompts, positions, sampled
):
    add = {PRE: AddVector(direction(any_model), 4.0)}
    with steer(any_model, add, positions):
        (whole,) = generate(any_model, prompts[2], max_new_tokens=6, **sampled)
    steering = Steering(any_model, add, positions)
    pieces = []
    for piece in stream(any_model, prompts[2], around=steering.on, max_new_tokens=6, **sampled):
        pieces.append(piece)
        assert not hooks_left(any_model)
        # A text of somebody else's in between, steered otherwise.
        with steer(any_model, {PRE: AddVector(direction(any_model, seed=1), 2.0)}, "generated"):
            generate(any_model, prompts[0], max_new_tokens=2)
    assert pieces[-1] == whole
    assert [len(piece.tokens) for piece in pieces] == list(range(1, len(pieces) + 1))
    assert all(whole.tokens[: len(piece.tokens)] == piece.tokens for piece in pieces)


def test_a_stream_in_long_slices_gives_the_whole_at_once(model, prompts):
    (whole,) = generate(model, prompts[0], max_new_tokens=6)
    assert list(stream(model, prompts[0], every=3600, max_new_tokens=6)) == [whole]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"max_new_tokens": 0}, "must be at least 1"),
        ({"temperature": -1.0}, "must be 0"),
        ({"max_new_tokens": 10_000}, "exceeds the model's context"),
    ],
)
def test_what_generate_refuses_a_stream_refuses(model, wrong, said):
    with pytest.raises(ValueError, match=said):
        next(stream(model, "The movie", **wrong))


@pytest.mark.parametrize("positions", ["all", "prompt", "generated"])
def test_resid_pre_of_a_layer_is_resid_post_of_the_one_before(any_model, prompts, positions):
    add = AddVector(direction(any_model), 4.0)
    with steer(any_model, {PRE: add}, positions):
        before = completions(any_model, prompts)
    with steer(any_model, {POST: add}, positions):
        after = completions(any_model, prompts)
    assert before == after


def steered_positions(model, batch, positions):
    """Where the residual changes in one forward pass: [batch, pos]."""
    clean = read_batch(model, batch, [PRE])[PRE]
    with steer(model, {PRE: AddVector(direction(model), 4.0)}, positions):
        changed = read_batch(model, batch, [PRE])[PRE]
    return (changed - clean).abs().amax(-1) > 1e-3


@pytest.mark.parametrize("prepend_bos", [True, False])
def test_each_positions_rule_steers_exactly_its_tokens(any_model, prompts, prepend_bos):
    batch = tokenize(any_model, prompts, prepend_bos=prepend_bos)
    at = batch.positions
    expected = {
        "all": at > 0,
        "prompt": at > 0,
        "generated": torch.zeros_like(batch.real),
        "newest_only": at == (batch.lengths - 1)[:, None],
        (0, 2): (at == 0) | (at == 2),
        1: at == 1,
    }
    for positions, mask in expected.items():
        assert torch.equal(steered_positions(any_model, batch, positions), mask), positions


def test_right_padding_is_not_steered(any_model):
    tokens = torch.tensor([[0, 70, 71, 72, 73], [0, 80, 81, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    seen = []
    with (
        torch.no_grad(),
        steer(any_model, {PRE: AddVector(torch.ones(32), 100.0)}),
        any_model.hooks(fwd_hooks=[(PRE, lambda resid, hook: seen.append(resid.mean(-1) > 50))]),
    ):
        any_model(tokens, attention_mask=mask)
    assert torch.equal(seen[0], torch.tensor([[0, 1, 1, 1, 1], [0, 1, 1, 0, 0]]).bool())


def test_newest_only_turns_the_cache_off_and_repeats_the_recomputed_prefix(any_model, prompts):
    add = AddVector(direction(any_model), 4.0)
    with steer(any_model, {PRE: add}, "newest_only"):
        asked_for_cache = completions(any_model, prompts, use_cache=True)
    reference = []
    for prompt in prompts:
        tokens = any_model.to_tokens(prompt)
        n = tokens.shape[1]

        def at_newest(resid, hook):
            changed = resid.clone()
            changed[:, -1] = add(resid[:, -1])
            return changed

        for _ in range(5):
            with torch.no_grad():
                logits = any_model.run_with_hooks(tokens, fwd_hooks=[(PRE, at_newest)])
            tokens = torch.cat([tokens, logits[:, -1:].argmax(-1)], 1)
        new = tokens[0, n:].tolist()
        reference.append(tuple(new[: new.index(0)] if 0 in new else new))
    assert asked_for_cache == reference


def test_newest_only_refuses_a_cache_in_a_hand_written_loop(model):
    tokens = model.to_tokens("The movie that")
    with steer(model, {PRE: AddVector(direction(model))}, "newest_only"):
        _, past = model(tokens, use_past_kv_cache=True, return_type="logits_and_cache")
        with pytest.raises(ValueError, match="without one"):
            model(tokens[:, -1:], past_key_values=past, use_past_kv_cache=True)
    assert not hooks_left(model)


@torch.no_grad()
def hand_written_loop(model, prompt, steps, use_cache):
    tokens, past, start = model.to_tokens(prompt), None, 0
    for _ in range(steps):
        logits, past = model(
            tokens[:, start:],
            past_key_values=past,
            use_past_kv_cache=use_cache,
            return_type="logits_and_cache",
        )
        start, past = (tokens.shape[1], past) if use_cache else (0, None)
        tokens = torch.cat([tokens, logits[:, -1:].argmax(-1)], 1)
    return tokens[0].tolist()


@pytest.mark.parametrize("positions", ["prompt", "generated"])
def test_a_hand_written_loop_knows_prompt_from_completion_without_being_told(
    any_model, prompts, positions
):
    with steer(any_model, {PRE: AddVector(direction(any_model), 4.0)}, positions):
        for prompt in prompts:  # several prompts one after another in the same block
            cached = hand_written_loop(any_model, prompt, 6, use_cache=True)
            uncached = hand_written_loop(any_model, prompt, 6, use_cache=False)
            expected = generate(any_model, prompt, max_new_tokens=6)[0]
            n = len(expected.prompt_tokens)
            assert cached == uncached
            assert cached[n : n + len(expected.tokens)] == list(expected.tokens)


def test_the_bridges_own_generate_is_steered_alike(model):
    prompt = "The movie that I watched"
    with steer(model, {PRE: AddVector(direction(model), 4.0)}):
        ours = generate(model, prompt, max_new_tokens=5)[0]
        theirs = model.generate(
            model.to_tokens(prompt), max_new_tokens=5, do_sample=False, verbose=False,
            return_type="tokens",
        )  # fmt: skip
    n = len(ours.prompt_tokens)
    assert tuple(theirs[0, n : n + len(ours.tokens)].tolist()) == ours.tokens


def test_entering_after_the_prompt_is_refused_where_it_matters(model):
    tokens = model.to_tokens("The movie that")
    _, past = model(tokens, use_past_kv_cache=True, return_type="logits_and_cache")
    with (
        pytest.raises(ValueError, match="enter it before the prompt"),
        steer(model, {PRE: AddVector(direction(model))}, "generated"),
    ):
        model(tokens[:, -1:], past_key_values=past, use_past_kv_cache=True)


def test_hooks_are_gone_after_an_exception_inside(any_model):
    def fails(resid):
        raise RuntimeError("inside the intervention")

    with pytest.raises(RuntimeError, match="inside"), steer(any_model, {PRE: fails}):
        any_model(any_model.to_tokens("The movie"))
    assert not hooks_left(any_model)
    with pytest.raises(KeyError), steer(any_model, {PRE: AddVector(direction(any_model))}):
        raise KeyError("inside the block")
    assert not hooks_left(any_model)


def test_a_block_that_cannot_be_entered_leaves_nothing(model):
    add = AddVector(direction(model))
    cases = [({PRE: add}, "everywhere"), ({PRE: add, "blocks.7.hook_resid_pre": add}, "all")]
    for interventions, positions in cases:
        with (
            pytest.raises(ValueError, match=r"not 'everywhere'|no hook point"),
            steer(model, interventions, positions),
        ):
            pass
        assert not hooks_left(model)


def test_nested_blocks_act_one_after_the_other(any_model):
    batch = tokenize(any_model, ["The movie that I watched"])
    v = direction(any_model, 1)
    clean = read_batch(any_model, batch, [PRE])[PRE]
    with steer(any_model, {PRE: AddVector(v, 2.0)}), steer(any_model, {PRE: lambda x: x * 3}, [2]):
        nested = read_batch(any_model, batch, [PRE])[PRE]
    expected = clean.clone()
    expected[:, 1:] += 2 * v
    expected[:, 2] *= 3
    torch.testing.assert_close(nested, expected)
    assert not hooks_left(any_model)


def test_several_hook_points_at_once(any_model, prompts):
    add = AddVector(direction(any_model), 1.0)
    names = [f"blocks.{layer}.hook_resid_pre" for layer in range(2)]
    batch = tokenize(any_model, prompts)
    with steer(any_model, dict.fromkeys(names, add)):
        both = read_batch(any_model, batch, ["blocks.1.hook_resid_post"])
    with steer(any_model, {names[0]: add}), steer(any_model, {names[1]: add}):
        nested = read_batch(any_model, batch, ["blocks.1.hook_resid_post"])
    torch.testing.assert_close(both, nested)


def test_steering_never_edits_in_place(any_model):
    """The residual that the block before gave stays as it was, so what was cached stays true."""
    tokens = any_model.to_tokens("The movie that I watched")
    _, clean = any_model.run_with_cache(tokens, names_filter=POST)
    with steer(any_model, {PRE: AddVector(direction(any_model), 5.0)}):
        _, steered = any_model.run_with_cache(tokens, names_filter=POST)
    torch.testing.assert_close(clean[POST], steered[POST])


def test_an_intervention_that_misbehaves_is_named(model):
    def in_place(resid):
        resid += 1
        return resid

    tokens = model.to_tokens("The movie that")
    cases: list[tuple[Any, type[Exception], str]] = [
        (in_place, ValueError, "in place"),
        (lambda resid: None, TypeError, "returned NoneType"),
        (lambda resid: resid[:, :1], ValueError, "returned shape"),
        (AddVector(torch.ones(7)), ValueError, "another model"),
    ]
    for intervention, error, words in cases:
        with (
            torch.no_grad(),
            pytest.raises(error, match=words),
            steer(model, {PRE: intervention}),
        ):
            model(tokens)
    assert not hooks_left(model)


@pytest.mark.parametrize(
    ("interventions", "error", "words"),
    [
        ({"blocks.1.resid_pre": abs}, ValueError, r"Close to it: blocks\.1\.hook_resid_pre"),
        ({"blocks.5.hook_resid_pre": abs}, ValueError, "blocks are 0 to 1"),
        ({1: abs}, TypeError, "named in full"),
        ({}, ValueError, "no hook name"),
        ({PRE: torch.ones(32)}, TypeError, "function of the residual"),
    ],
)
def test_wrong_hook_names_and_interventions_are_explained(model, interventions, error, words):
    with pytest.raises(error, match=words), steer(model, interventions):
        pass


@pytest.mark.parametrize("positions", ["last", [], [-1], [1.5], [True]])
def test_wrong_positions_are_explained(model, positions):
    with (
        pytest.raises((ValueError, TypeError), match="position"),
        steer(model, {PRE: AddVector(direction(model))}, positions),
    ):
        pass


@pytest.mark.parametrize(
    ("vector", "coefficient", "error"),
    [
        (torch.tensor([1.0, float("nan")]), 1.0, ValueError),
        (torch.ones(2, 2), 1.0, ValueError),
        (torch.ones(2), float("inf"), ValueError),
        ([1.0, 2.0], 1.0, TypeError),
    ],
)
def test_a_steering_vector_is_a_finite_vector(vector, coefficient, error):
    with pytest.raises(error):
        AddVector(vector, coefficient)


finite = st.floats(-20, 20, allow_nan=False, width=32)


@given(finite, finite, st.integers(0, 2**16))
@settings(max_examples=50, deadline=None)
def test_add_vector_is_linear_in_its_coefficient(a, b, seed):
    draw = torch.Generator().manual_seed(seed)
    vector = torch.randn(8, generator=draw, dtype=torch.float32)
    resid = torch.randn(2, 3, 8, generator=draw, dtype=torch.float64)
    twice = AddVector(vector, a)(AddVector(vector, b)(resid))
    torch.testing.assert_close(twice, AddVector(vector, a + b)(resid), atol=1e-4, rtol=1e-5)
    delta_a = AddVector(vector, a)(resid) - resid
    torch.testing.assert_close(delta_a, (a * vector.double()).expand_as(resid), atol=1e-4, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_add_vector_keeps_the_streams_dtype_and_its_input(dtype):
    resid = torch.randn(1, 4, 8).to(dtype)
    before = resid.clone()
    assert AddVector(torch.ones(8), 0.5)(resid).dtype == dtype
    assert torch.equal(resid, before)


@given(st.floats(0.05, 3.0), st.booleans(), st.sampled_from(["all", "prompt", (1, 2)]))
@settings(max_examples=15, deadline=None)
def test_dose_and_coefficient_are_each_others_inverse(model, prompts, dose, negative, positions):
    vector, sign = direction(model), -1 if negative else 1
    coefficient = coefficient_for_dose(
        model, vector, PRE, prompts, sign * dose, positions=positions
    )
    assert coefficient * sign > 0
    back = dose_of(model, {PRE: AddVector(vector, coefficient)}, prompts, positions=positions)
    assert back == pytest.approx(dose, rel=1e-4)


def test_dose_is_the_ratio_of_mean_norms_without_position_0(any_model, prompts):
    rows = []
    for prompt in prompts:
        _, cache = any_model.run_with_cache(any_model.to_tokens(prompt), names_filter=PRE)
        rows.append(cache[PRE][0, 1:])
    norms = torch.cat(rows).norm(dim=-1)
    add = AddVector(direction(any_model), 2.0)
    expected = (2 * add.vector.norm() / norms.mean()).item()
    assert residual_norm(any_model, PRE, prompts) == pytest.approx(norms.mean().item(), rel=1e-4)
    assert dose_of(any_model, {PRE: add}, prompts) == pytest.approx(expected, rel=1e-4)
    halved = dose_of(any_model, {PRE: lambda resid: resid / 2}, prompts)
    assert halved == pytest.approx(0.5, rel=1e-4)


def test_doses_of_several_layers_add_up_to_one_layers_dose(any_model, prompts):
    names = [f"blocks.{layer}.hook_resid_pre" for layer in range(2)]
    vectors = torch.stack([direction(any_model, 1), direction(any_model, 2)])
    c = coefficient_for_dose(any_model, vectors, names, prompts, 0.5)
    each = {name: AddVector(v, c) for name, v in zip(names, vectors, strict=True)}
    alone = [dose_of(any_model, {name: add}, prompts) for name, add in each.items()]
    assert dose_of(any_model, each, prompts) == pytest.approx(0.5, rel=1e-4)
    assert sum(alone) == pytest.approx(0.5, rel=1e-4)


def test_a_dose_that_cannot_be_measured_is_explained(model, prompts):
    add = {PRE: AddVector(direction(model))}
    with pytest.raises(ValueError, match="vector is zero"):
        coefficient_for_dose(model, torch.zeros(32), PRE, prompts, 1.0)
    with pytest.raises(ValueError, match="no prompt has a token"):
        dose_of(model, add, prompts, positions=[60])
    with pytest.raises(ValueError, match="no 'generated' tokens"):
        dose_of(model, add, prompts, positions="generated")
    with pytest.raises(ValueError, match="one for each"):
        coefficient_for_dose(model, torch.ones(3, 32), [PRE, POST], prompts, 1.0)
    with steer(model, add), pytest.raises(ValueError, match="unsteered model"):
        dose_of(model, add, prompts)


def test_sampling_is_seeded_for_each_prompt_apart(model, prompts):
    options: dict[str, Any] = {"max_new_tokens": 6, "temperature": 1.0}
    together = generate(model, prompts, seed=3, **options)
    again = generate(model, prompts, seed=3, batch_size=1, use_cache=False, **options)
    assert [c.tokens for c in together] == [c.tokens for c in again]
    assert [c.tokens for c in generate(model, prompts, seed=4, **options)] != [
        c.tokens for c in together
    ]
    twins = generate(model, [prompts[0]] * 2, seed=0, **options)
    assert twins[0].tokens != twins[1].tokens


def test_a_completion_holds_no_prompt_and_no_end_token(model):
    [completion] = generate(model, "The movie that", max_new_tokens=4)
    assert completion.prompt == "The movie that"
    assert completion.text == model.tokenizer.decode(completion.tokens)
    assert completion.prompt_tokens[0] == model.tokenizer.bos_token_id
    end_now = 1e4 * model.W_U[:, 0].detach()
    with steer(model, {"blocks.1.hook_resid_post": lambda resid: resid * 0 + end_now}):
        [ended] = generate(model, "The movie that", max_new_tokens=4)
    assert ended.tokens == ()
    assert ended.text == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"prompts": []}, "prompts is empty"),
        ({"prompts": ["The movie " * 40]}, "context of 64"),
        ({"prompts": "x", "max_new_tokens": 0}, "at least 1"),
        ({"prompts": "x", "temperature": -1.0}, "greedy"),
        ({"prompts": "x", "mode": "talk"}, '"raw" or "chat"'),
        ({"prompts": "x", "mode": "chat"}, "no chat template"),
        ({"prompts": "", "prepend_bos": False}, "without a single token"),
    ],
)
def test_wrong_requests_for_text_are_explained(model, arguments, words):
    with pytest.raises(ValueError, match=words):
        generate(model, **arguments)


def test_nan_from_an_intervention_is_an_error_not_text(model):
    with (
        pytest.raises(ValueError, match="NaN"),
        steer(model, {PRE: lambda resid: resid * float("nan")}),
    ):
        generate(model, "The movie that", max_new_tokens=2)
    assert not hooks_left(model)
