"""Multi-turn chat: two conversations side by side, steered and unsteered."""

from __future__ import annotations

from dataclasses import replace
from html import escape

import pytest
from explorer_parts import HOOK, a_vector
from steerlab.generation import generate
from steerlab.hooks import check_unhooked
from steerlab.settings import course_settings
from steerlab.steering import AddVector, steer
from steerlab.tokens import chat_text, encode
from steerlab.widgets import SteeringExplorer


@pytest.fixture
def vector():
    return a_vector()


@pytest.fixture
def explorer(chat_model, vector):
    settings = replace(course_settings(chat_model), max_new_tokens=6)
    explorer = SteeringExplorer(
        chat_model,
        {"mean difference": (vector, HOOK), "own": lambda prompt, c: "text"},
        words_for=["a"],
        words_against=["o"],
        settings=settings,
    )
    explorer.chat.value = True
    explorer.dose.value = 0.8
    return explorer


def say(explorer, said: str) -> None:
    explorer.prompt.value = said
    explorer.run.click()
    assert explorer.error.value == ""


def write(model, history, vector=None, c=0.0):
    """What a side answers to a history, found without the explorer."""
    text = chat_text(model, history)
    ids = encode(model, text, prepend_bos=False)
    assert ids.count(model.tokenizer.bos_token_id) == 1
    assert text.endswith("<assistant>")
    if vector is None:
        return generate(model, text, prepend_bos=False, max_new_tokens=6)[0].text
    with steer(model, {HOOK: AddVector(vector, c)}):
        return generate(model, text, prepend_bos=False, max_new_tokens=6)[0].text


def test_a_conversation_is_read_with_one_bos_and_the_assistants_turn_opened(chat_model):
    turns = [
        {"role": "user", "content": "The movie"},
        {"role": "assistant", "content": "was good"},
        {"role": "user", "content": "The food"},
    ]
    text = chat_text(chat_model, turns)
    assert text.endswith("<user> The movie\n<assistant> was good\n<user> The food\n<assistant>")
    ids = encode(chat_model, text, prepend_bos=False)
    assert ids.count(chat_model.tokenizer.bos_token_id) == 1
    assert encode(chat_model, "The movie", mode="chat") == encode(
        chat_model, chat_text(chat_model, turns[:1]), prepend_bos=False
    )


def test_each_side_answers_from_its_own_history(explorer, chat_model, vector):
    c = float(explorer.coefficient.value.removeprefix("coefficient "))
    convert = explorer._picker.chosen().coefficient(0.8)
    assert convert == pytest.approx(c, rel=0.01)
    histories: dict[str, list[dict[str, str]]] = {"unsteered": [], "steered": []}
    for said in ("The movie", "She walked", "The food was"):
        say(explorer, said)
        for side, history in histories.items():
            history.append({"role": "user", "content": said})
            pushed = (vector, convert) if side == "steered" else ()
            answer = write(chat_model, history, *pushed)
            history.append({"role": "assistant", "content": answer})
            panel = getattr(explorer, side).value
            assert f"you: {said}" in panel
            assert escape(answer) in panel
    answers = [[t["content"] for t in h if t["role"] == "assistant"] for h in histories.values()]
    assert answers[0] != answers[1], "this test needs a push that changes something"
    check_unhooked(chat_model, "this test")


def test_the_box_empties_after_a_turn_and_the_last_answers_are_measured(explorer):
    assert explorer.run.description == "Send"
    assert explorer.prompt.description == "your turn"
    say(explorer, "The movie")
    assert explorer.prompt.value == ""
    assert explorer.run.description == "Send"
    for name in ("last answer", "concept score", "NLL", "distinct-2", "repeated 4-grams"):
        assert name in explorer.measures.value


def test_a_steered_answer_says_how_it_was_steered(explorer):
    say(explorer, "The movie")
    explorer.dose.value = -0.4
    say(explorer, "The food")
    assert "mean difference, dose +0.80, coefficient +" in explorer.steered.value
    assert "mean difference, dose -0.40, coefficient -" in explorer.steered.value
    assert "dose" not in explorer.unsteered.value


def test_reset_begins_anew(explorer, chat_model):
    assert explorer.reset in explorer._buttons.children
    say(explorer, "The movie")
    explorer.reset.click()
    assert explorer.unsteered.value == explorer.steered.value == explorer.measures.value == ""
    say(explorer, "The food")
    first = write(chat_model, [{"role": "user", "content": "The food"}])
    assert escape(first) in explorer.unsteered.value
    assert "The movie" not in explorer.unsteered.value


def test_leaving_the_chat_and_coming_back_keeps_the_conversation(explorer):
    say(explorer, "The movie")
    before = explorer.steered.value
    explorer.chat.value = False
    assert explorer.steered.value == ""
    assert explorer.run.description == "Generate"
    assert explorer.reset not in explorer._buttons.children
    say(explorer, "The food")
    assert "you:" not in explorer.steered.value
    explorer.chat.value = True
    assert explorer.steered.value == before


def test_a_model_without_a_chat_template_says_so_and_goes_on_as_before(model, vector):
    settings = replace(course_settings(model), max_new_tokens=4)
    explorer = SteeringExplorer(model, {"v": (vector, HOOK)}, settings=settings)
    explorer.run.click()
    written = explorer.steered.value
    explorer.chat.value = True
    assert "this model has no chat template, so it cannot hold a conversation" in (
        explorer.error.value
    )
    assert explorer.chat.value is False
    assert explorer.run.description == "Generate"
    assert explorer.steered.value == written
    explorer.run.click()
    assert explorer.error.value == ""


def test_a_turn_that_fails_leaves_no_half_exchange(chat_model, vector):
    healthy = True

    def make(c):
        def push(resid):
            if not healthy:
                raise RuntimeError("not now")
            return resid + c * vector.to(resid)

        return {HOOK: push}

    settings = replace(course_settings(chat_model), max_new_tokens=6)
    explorer = SteeringExplorer(chat_model, {"mine": make}, settings=settings)
    explorer.chat.value = True
    say(explorer, "The movie")
    before = explorer.unsteered.value, explorer.steered.value
    healthy = False
    explorer.prompt.value = "The food"
    explorer.run.click()
    assert "RuntimeError: not now" in explorer.error.value
    assert explorer.prompt.value == "The food", "what was typed must not be lost"
    assert (explorer.unsteered.value, explorer.steered.value) == before
    healthy = True
    explorer.run.click()
    assert explorer.error.value == ""
    assert explorer.unsteered.value.count("you: The food") == 1
    explorer.prompt.value = "   "
    explorer.run.click()
    assert "your turn is empty" in explorer.error.value
    check_unhooked(chat_model, "this test")


def test_a_function_that_writes_text_has_no_conversation(explorer):
    explorer.method.value = "own"
    explorer.prompt.value = "The movie"
    explorer.run.click()
    assert "&#x27;own&#x27; is a function that answers a single prompt" in explorer.error.value


def test_a_conversation_that_outgrows_the_context_asks_for_a_reset(explorer):
    explorer.prompt.value = "The movie that I watched yesterday was good and warm. " * 30
    explorer.run.click()
    assert "the unsteered conversation now has" in explorer.error.value
    assert "the model&#x27;s context of 200: press Reset" in explorer.error.value
    explorer.reset.click()
    say(explorer, "The movie")


def test_what_is_said_is_never_markup(explorer):
    say(explorer, "<img src=x onerror=alert(1)>")
    assert "<img" not in explorer.unsteered.value + explorer.steered.value
