"""Collected activations are the model's own, token by token, without padding and position 0."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from steerlab.activations import collect
from steerlab.hooks import check_unhooked
from steerlab.steering import AddVector, steer
from transformers import AutoModelForCausalLM

PRE = "blocks.1.hook_resid_pre"


@pytest.mark.parametrize("architecture", ["gpt2", "gemma2", "qwen3", "olmo2"])
@pytest.mark.parametrize("prepend_bos", [True, False])
def test_values_are_transformers_hidden_states(
    checkpoint, load_small, prompts, architecture, prepend_bos
):
    model = load_small(architecture)
    reference = AutoModelForCausalLM.from_pretrained(checkpoint(architecture)).eval()
    got = collect(model, prompts, [PRE], batch_size=2, prepend_bos=prepend_bos)
    for i, prompt in enumerate(prompts):
        ids = model.tokenizer(prompt, add_special_tokens=False)["input_ids"]
        ids = [model.tokenizer.bos_token_id, *ids] if prepend_bos else ids
        with torch.no_grad():
            states = reference(torch.tensor([ids]), output_hidden_states=True).hidden_states[1][0]
        mine = got.document == i
        torch.testing.assert_close(got.values[PRE][mine], states[1:], atol=1e-4, rtol=1e-4)
        assert got.tokens[mine].tolist() == ids[1:]
        assert got.position[mine].tolist() == list(range(1, len(ids)))
        mean, last = got.mean_per_document(PRE)[i], got.last_per_document(PRE)[i]
        torch.testing.assert_close(mean, states[1:].mean(0), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(last, states[-1], atol=1e-4, rtol=1e-4)


TEXTS = st.lists(st.text("abc the movie was good", min_size=1, max_size=30), min_size=1, max_size=6)


@given(texts=TEXTS, batch_size=st.integers(1, 4))
@settings(max_examples=15, deadline=None)
def test_batching_changes_nothing(model, texts, batch_size):
    one = collect(model, texts, PRE, batch_size=1)
    some = collect(model, texts, PRE, batch_size=batch_size)
    assert torch.equal(one.document, some.document)
    assert torch.equal(one.tokens, some.tokens)
    assert one.document.tolist() == sorted(one.document.tolist())
    torch.testing.assert_close(one.values[PRE], some.values[PRE], atol=1e-4, rtol=1e-4)
    assert len(some) == sum(len(model.to_tokens(text)[0]) - 1 for text in texts)


def test_nothing_runs_beyond_the_deepest_hook_asked_for(any_model, prompts):
    ran = []
    handle = any_model.blocks[1].register_forward_pre_hook(lambda *a: ran.append("block 1"))
    try:
        collect(any_model, prompts, ["blocks.0.hook_resid_pre", "blocks.0.hook_resid_post"])
        assert not ran
        collect(any_model, prompts, ["blocks.1.hook_resid_post"])
        assert ran
    finally:
        handle.remove()
    check_unhooked(any_model, "this test")


def test_the_model_is_itself_after_stopping_early(any_model, prompts):
    tokens = any_model.to_tokens(prompts[1])
    with torch.no_grad():
        before = any_model(tokens)
        collect(any_model, prompts, "blocks.0.hook_resid_pre")
        torch.testing.assert_close(any_model(tokens), before)


def test_collecting_reads_the_steered_stream_inside_a_steer_block(any_model, prompts):
    clean = collect(any_model, prompts, PRE)
    vector = torch.arange(32.0)
    with steer(any_model, {PRE: AddVector(vector, 2.0)}):
        steered = collect(any_model, prompts, PRE)
    torch.testing.assert_close(
        steered.values[PRE] - clean.values[PRE],
        (2 * vector).expand(len(clean), 32),
        atol=1e-3,
        rtol=1e-4,
    )


def test_attention_and_mlp_outputs_can_be_read_too(any_model, prompts):
    names = ["blocks.0.hook_attn_out", "blocks.1.hook_mlp_out"]
    got = collect(any_model, prompts, names)
    assert {value.shape for value in got.values.values()} == {(len(got), 32)}


def test_long_texts_are_cut_at_the_context(model):
    got = collect(model, ["The movie " * 60, "The movie"], PRE)
    assert got.position.max() == 63


def test_a_text_of_one_token_has_nothing_to_average(model):
    got = collect(model, ["a", "The movie"], PRE, prepend_bos=False)
    assert got.n_documents == 2
    with pytest.raises(ValueError, match=r"texts \[0\] have no token beyond position 0"):
        got.mean_per_document(PRE)


@pytest.mark.parametrize(
    ("texts", "hooks", "options", "error", "words"),
    [
        ([], PRE, {}, ValueError, "texts is empty"),
        ("The movie", PRE, {}, TypeError, "one string"),
        (["x"], "blocks.1.hook_residpre", {}, ValueError, r"Close to it: .*hook_resid_pre"),
        (["x"], ["blocks.9.hook_resid_pre"], {}, ValueError, "blocks are 0 to 1"),
        (["x"], 1, {}, TypeError, "named in full"),
        (["x"], [], {}, ValueError, "no hook name"),
        (["x"], PRE, {"batch_size": 0}, ValueError, "at least 1"),
        (["The movie"], "blocks.0.attn.hook_pattern", {}, ValueError, "one vector per token"),
    ],
)
def test_bad_requests_are_explained(model, texts, hooks, options, error, words):
    with pytest.raises(error, match=words):
        collect(model, texts, hooks, **options)
    check_unhooked(model, "this test")


def test_asking_for_a_hook_that_was_not_collected_names_those_that_were(model):
    with pytest.raises(ValueError, match=r"collected: blocks\.1\.hook_resid_pre"):
        collect(model, ["The movie"], PRE).mean_per_document("blocks.0.hook_resid_pre")
