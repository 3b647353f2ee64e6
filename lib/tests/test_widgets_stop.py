"""A text that takes long: it grows before its reader's eyes, and a button ends it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from explorer_parts import HOOK, a_vector, steered_text
from steerlab.generation import generate
from steerlab.hooks import check_unhooked
from steerlab.settings import course_settings
from steerlab.steering import AddVector, steer
from steerlab.widgets import SteeringExplorer, steps, writing


@pytest.fixture(autouse=True)
def slow(monkeypatch):
    """As if every token took longer than a reader waits without a bar."""
    monkeypatch.setattr(steps, "AT_ONCE_S", 0.0)
    monkeypatch.setattr(writing, "SLICE_S", 0.0)


@pytest.fixture
def explorer(model):
    settings = replace(course_settings(model), max_new_tokens=6)
    return SteeringExplorer(model, {"v": (a_vector(), HOOK)}, settings=settings)


@pytest.fixture
def chat(chat_model):
    settings = replace(course_settings(chat_model), max_new_tokens=6)
    explorer = SteeringExplorer(chat_model, {"v": (a_vector(), HOOK)}, settings=settings)
    explorer.chat.value = True
    explorer.prompt.value = "The movie"
    return explorer


def ticks(explorer, n=1_000):
    """What the browser does: ask for the next step, up to n times."""
    while explorer._writing.running and n:
        explorer._writing._play.value += 1
        n -= 1


def test_the_text_grows_and_the_bar_says_how_far_it_is(explorer, model):
    explorer.run.click()
    shares, lengths = [], []
    while explorer._writing.running:
        assert explorer.run.disabled
        assert explorer.run.description == "Generating…"
        assert explorer._writing.row.layout.display is None
        ticks(explorer, 1)
        check_unhooked(model, "this test")
        shares.append(explorer._writing.bar.value)
        lengths.append(len(explorer.unsteered.value) + len(explorer.steered.value))
        if explorer._writing.doing.value == "steered: 2 of 6 tokens":
            assert steered_text(explorer).endswith(" …")
    assert shares == sorted(shares)
    assert lengths[0] < lengths[5] < lengths[9]
    assert not explorer.run.disabled
    assert explorer._writing.row.layout.display == "none"
    assert "…" not in explorer.unsteered.value + explorer.steered.value


def test_it_is_the_text_of_the_slider_as_it_stood_at_the_click(explorer, model):
    explorer.dose.value = 0.8
    c = float(explorer.coefficient.value.removeprefix("coefficient "))
    prompt = explorer.prompt.value
    explorer.run.click()
    ticks(explorer, 8)
    explorer.dose.value, explorer.prompt.value, explorer.length.value = -0.4, "The food", 3
    ticks(explorer)
    with steer(model, {HOOK: AddVector(a_vector(), c)}):
        (by_hand,) = generate(model, prompt, max_new_tokens=6)
    assert steered_text(explorer) == by_hand.text
    shown = explorer.as_record()["text"]
    assert (shown["strength"], shown["prompt"]) == ("dose +0.80", prompt)
    assert "max_new_tokens=6" in explorer.as_code()


@pytest.mark.parametrize("done", [3, 9])
def test_stopped_it_keeps_what_was_written_and_the_next_one_is_whole(explorer, model, done):
    explorer.run.click()
    ticks(explorer, done)
    explorer._writing.stop.click()
    panel = explorer.unsteered if done == 3 else explorer.steered
    assert "…</p>" in panel.value
    assert explorer.measures.value == ""
    assert not explorer.run.disabled
    assert explorer.run.description == "Generate"
    check_unhooked(model, "this test")
    explorer.copy.click()
    assert "there is no steered text yet" in explorer.error.value
    explorer.run.click()
    ticks(explorer)
    assert explorer.error.value == ""
    assert "NLL" in explorer.measures.value


def test_what_breaks_midway_is_shown_and_gives_the_button_back(model):
    reads = []

    def breaks(resid):
        reads.append(resid)
        if len(reads) > 3:
            raise RuntimeError("not that far")
        return resid

    settings = replace(course_settings(model), max_new_tokens=6)
    made = {"breaks": lambda c: {HOOK: breaks}}
    explorer = SteeringExplorer(model, made, settings=settings)
    reads.clear()
    explorer.dose.value = 0.0
    explorer.run.click()
    reads.clear()
    ticks(explorer)
    assert "RuntimeError: not that far" in explorer.error.value
    assert not explorer.run.disabled
    check_unhooked(model, "this test")


def test_doses_are_measured_while_a_text_is_written(explorer):
    explorer.run.click()
    ticks(explorer, 8)
    explorer.measure.click()
    explorer._steps.step()
    ticks(explorer)
    assert explorer.error.value == ""
    alone = steered_text(explorer)
    explorer._steps.stop.click()
    explorer.run.click()
    ticks(explorer)
    assert steered_text(explorer) == alone


def test_a_stopped_answer_is_no_turn_of_the_conversation(chat):
    chat.run.click()
    ticks(chat, 8)
    chat._writing.stop.click()
    assert chat._conversation.exchanges == []
    assert chat.prompt.value == "The movie"
    assert chat.run.description == "Send"
    chat.run.click()
    ticks(chat)
    assert len(chat._conversation.exchanges) == 1


@pytest.mark.parametrize("left", ["chat", "reset"])
def test_leaving_or_resetting_a_conversation_ends_its_answer(chat, left):
    chat.run.click()
    ticks(chat, 8)
    if left == "chat":
        chat.chat.value = False
    else:
        chat.reset.click()
    assert not chat._writing.running
    assert not chat.run.disabled
    assert chat.run.description == ("Generate" if left == "chat" else "Send")
    assert chat.unsteered.value == ""
