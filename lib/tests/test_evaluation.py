"""Text is measured on the completion alone; what cannot be measured is missing, not zero."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from steerlab.evaluation import (
    Fluency,
    concept_score,
    distinct_2,
    fluency,
    mean_fluency,
    on_topic,
    repeated_share,
    usable,
)
from steerlab.generation import generate
from steerlab.steering import AddVector, steer

FOR, AGAINST = ["good", "great"], ["bad", "awful"]


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("a good, GREAT film", 1.0),
        ("bad. Good!", 0.5),
        ("good good good bad", 0.75),
        ("goodness, a badger: nothing that counts", None),
        ("", None),
        (["good", "bad bad", "nothing"], 1 / 3),
    ],
)
def test_concept_score_is_a_share_of_whole_words(text, score):
    assert concept_score(text, FOR, AGAINST) == score


def test_concept_score_reads_no_prompt(model):
    [completion] = generate(model, "The movie was good and bad", max_new_tokens=3)
    assert concept_score(completion, ["movie"], ["good"]) is None


@given(st.lists(st.sampled_from([*FOR, *AGAINST, "film", "the"]), max_size=30))
def test_swapping_the_words_mirrors_the_score(words):
    text = " ".join(words)
    one, other = concept_score(text, FOR, AGAINST), concept_score(text, AGAINST, FOR)
    if one is None or other is None:
        assert one is None
        assert other is None
    else:
        assert one + other == pytest.approx(1)
        assert 0 <= one <= 1


def test_words_that_make_no_score_are_refused():
    with pytest.raises(ValueError, match="words_for is empty"):
        concept_score("good", [], AGAINST)
    with pytest.raises(ValueError, match=r"\['good'\] are among both"):
        concept_score("good", ["Good"], ["good"])
    with pytest.raises(TypeError, match="words_against is one string"):
        concept_score("good", FOR, "bad")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("the boat met a sailor", True), ("boat boat boat", False), ("boats", False), ("", False)],
)
def test_on_topic_takes_two_different_words(text, expected):
    assert on_topic(text, ["boat", "sailor", "harbour"]) is expected


def test_a_phrase_counts_as_one_word():
    assert concept_score("an ice cream, no ice", ["ice cream"], ["ice"]) == 0.5


@pytest.mark.parametrize(
    ("tokens", "distinct", "repeated"),
    [
        ([], None, None),
        ([1], None, 0.0),
        ([1, 2, 3, 4, 5], 1.0, 0.0),
        ([7, 7, 7, 7, 7], 0.25, 1.0),
        ([1, 2, 3, 4, 9, 1, 2, 3, 4, 8], 6 / 9, 0.8),
        ([1, 2, 3, 9, 1, 2, 3, 8], 5 / 7, 0.0),
    ],
)
def test_repetition_is_measured_in_tokens(tokens, distinct, repeated):
    assert distinct_2(tokens) == (None if distinct is None else pytest.approx(distinct))
    assert repeated_share(tokens) == repeated


def reference_nll(model, prompt, completion):
    tokens = torch.tensor([list(prompt) + list(completion)])
    with torch.no_grad():
        logprobs = model(tokens).log_softmax(-1)[0]
    n = len(prompt)
    picked = [-logprobs[n + i - 1, token] for i, token in enumerate(completion)]
    return float(torch.stack(picked).mean())


def test_nll_is_that_of_the_completion_given_the_prompt(any_model, prompts):
    completions = generate(any_model, prompts, max_new_tokens=7, temperature=1.0)
    expected = [reference_nll(any_model, c.prompt_tokens, c.tokens) for c in completions]
    for completion, nll in zip(completions, expected, strict=True):
        one = fluency(any_model, completion.prompt, completion)
        assert one.nll == pytest.approx(nll, rel=1e-4)
        assert one.n_tokens == len(completion.tokens)
    pooled = mean_fluency(any_model, completions, batch_size=2)
    assert pooled.nll == pytest.approx(sum(expected) / 3, rel=1e-4)
    assert pooled.n_tokens == sum(len(c.tokens) for c in completions)


def test_a_string_is_measured_like_its_tokens(any_model):
    text = " that I watched yesterday"
    ids = any_model.tokenizer(text, add_special_tokens=False)["input_ids"]
    prompt = any_model.to_tokens("The movie")[0].tolist()
    got = fluency(any_model, "The movie", text)
    assert got.nll == pytest.approx(reference_nll(any_model, prompt, ids), rel=1e-4)


def test_an_empty_completion_has_no_measure(model):
    assert fluency(model, "The movie", "") == Fluency(None, None, None, 0)


def test_fluency_is_not_measured_under_steering(model):
    with (
        steer(model, {"blocks.1.hook_resid_pre": AddVector(torch.ones(32))}),
        pytest.raises(ValueError, match="unsteered model"),
    ):
        fluency(model, "The movie", " was")
    with pytest.raises(ValueError, match="no completions"):
        mean_fluency(model, [])


def test_a_strength_is_usable_within_both_bounds():
    base = Fluency(2.0, 0.9, 0.0, 100)
    assert usable(Fluency(3.0, 0.73, 0.5, 90), base)
    assert not usable(Fluency(3.01, 0.9, 0.0, 90), base)
    assert not usable(Fluency(2.0, 0.71, 0.0, 90), base)
    assert not usable(Fluency(None, None, None, 0), base)
    with pytest.raises(ValueError, match="too short"):
        usable(base, Fluency(None, None, None, 0))
