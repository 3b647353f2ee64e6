"""Long work in the explorer: doses measured, directions from one's own sentences, files to keep."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from html import unescape

import pytest
import torch
from explorer_parts import HOOK, LABELS, a_vector, steered_text, unit_rows
from steerlab.directions import mean_difference
from steerlab.evaluation import concept_score, mean_fluency
from steerlab.generation import generate
from steerlab.hooks import check_unhooked
from steerlab.sae import SAE
from steerlab.settings import course_settings
from steerlab.steering import AddVector, steer
from steerlab.widgets import SteeringExplorer
from steerlab.widgets.code import Made
from steerlab.widgets.steps import Steps

FOR, AGAINST = ["a", "e", "i"], ["o", "u", "n"]
TOWARDS = ["The movie was good.", "The food was warm.", "The garden was bright."]
AWAY = ["The movie was bad.", "The room was cold."]


@pytest.fixture
def settings(model):
    return replace(
        course_settings(model), max_new_tokens=4, doses=(-0.4, 0.0, 0.4), prompts=("The movie",)
    )


def a_wide_sae() -> SAE:
    """Of so many directions that a few of them reach any demand."""
    rows = unit_rows(400, 32)
    return SAE(rows.T.contiguous(), torch.full((400,), -1e6), rows, torch.zeros(32), hook_name=HOOK)


@pytest.fixture
def explorer(model, settings):
    made = {"model": Made(model, "the_model()", (("somewhere", "the_model"),))}
    return SteeringExplorer(
        model,
        {"v": (a_vector(), HOOK)},
        sae=a_wide_sae(),
        labels=LABELS,
        words_for=FOR,
        words_against=AGAINST,
        settings=settings,
        sentences=(TOWARDS, AWAY),
        made=made,
    )


def run_out(explorer):
    """What the browser does: ask for the next step until there is none."""
    while explorer._steps.running:
        explorer._steps._play.value += 1


def files(explorer):
    """The files behind the links, by name."""
    found = re.findall(r"download='([^']+)' href='data:[^;]+;base64,([^']+)'", explorer.saved.value)
    return {name: base64.b64decode(content) for name, content in found}


def test_every_dose_is_measured_as_it_is_by_hand(explorer, model, settings):
    explorer.prompt.value = "The food"
    explorer.measure.click()
    run_out(explorer)
    assert explorer.error.value == ""
    found = json.loads(files(explorer)["steering.json"])["dose_response"]
    assert found["doses"] == [-0.4, 0.0, 0.4]
    assert found["prompts"] == ["The food", "The movie"]
    with steer(model, {HOOK: AddVector(a_vector(), found["coefficients"][2])}):
        written = generate(model, ["The food", "The movie"], max_new_tokens=4)
    assert found["texts"][2] == [completion.text for completion in written]
    assert found["scores"][2] == concept_score(written, FOR, AGAINST)
    assert found["nlls"][2] == pytest.approx(mean_fluency(model, written).nll)
    assert found["coefficients"][1] == 0
    check_unhooked(model, "this test")


def test_the_picture_says_in_words_what_it_shows(explorer):
    explorer.measure.click()
    run_out(explorer)
    assert "alt='v, by dose. concept score -0.40: " in explorer.plot.value
    assert "NLL in nats per token -0.40: " in explorer.plot.value
    assert files(explorer)["dose-response.png"].startswith(b"\x89PNG")


def test_stopping_keeps_what_was_measured(explorer):
    explorer.measure.click()
    steps = explorer._steps
    assert steps.running
    assert steps.row.layout.display is None
    steps.step()
    steps.step()
    assert 0 < steps.bar.value < 1
    assert steps.doing.value == "dose +0.00"
    steps.stop.click()
    assert not steps.running
    assert steps.row.layout.display == "none"
    steps.step()
    assert json.loads(files(explorer)["steering.json"])["dose_response"]["doses"] == [-0.4]


def test_a_second_measurement_waits_for_the_first(explorer):
    explorer.measure.click()
    explorer.measure.click()
    assert "something is still being measured: press Stop" in explorer.error.value
    run_out(explorer)
    assert explorer.plot.value


def test_a_step_that_fails_is_shown_and_ends_the_work(model, settings):
    def broken(prompt, coefficient):
        if coefficient > 0:
            raise RuntimeError("not at this strength")
        return prompt + " text"

    explorer = SteeringExplorer(model, {"broken": broken}, settings=settings)
    explorer.measure.click()
    run_out(explorer)
    assert "RuntimeError: not at this strength" in explorer.error.value
    measured = json.loads(files(explorer)["steering.json"])["dose_response"]
    assert measured["doses"] == [-0.4, 0.0]
    assert measured["unit"] == "coefficient"


def test_a_dose_that_a_method_does_not_have_is_a_gap_with_its_reason(model, settings):
    def only_up(c):
        return {HOOK: lambda resid: resid + max(c, 0.0) * a_vector()}

    explorer = SteeringExplorer(model, {"only up": only_up}, settings=settings)
    explorer.measure.click()
    run_out(explorer)
    measured = json.loads(files(explorer)["steering.json"])["dose_response"]
    assert measured["nlls"][0] is None
    assert measured["nlls"][2] is not None
    assert measured["missed"][0] in unescape(explorer.plot.value)


def find(explorer, how):
    explorer.source.value = "your sentences"
    explorer._picker.own.how.value = how
    explorer._picker.own.find.click()
    run_out(explorer)


def test_sentences_give_the_mean_difference(explorer, model, settings):
    find(explorer, "mean difference")
    assert "From 3 sentences against 2" in explorer._picker.own.found.value
    explorer.run.click()
    assert explorer.error.value == ""
    vector = mean_difference(model, TOWARDS, AWAY, settings.hook_name)
    c = float(explorer.as_record()["text"]["coefficient"])
    with steer(model, {settings.hook_name: AddVector(vector, c)}):
        by_hand = generate(model, explorer.prompt.value, max_new_tokens=4)[0].text
    assert steered_text(explorer) == by_hand


@pytest.mark.parametrize("how", ["mean difference", "CAV", "sparse steering"])
def test_the_cell_of_a_direction_from_sentences_writes_the_same_text(explorer, model, how):
    find(explorer, how)
    explorer.dose.value = 0.6
    explorer.run.click()
    assert explorer.error.value == ""
    code = explorer.as_code()
    assert "from somewhere import the_model" in code
    assert "model = the_model()" in code
    code = code.replace("from somewhere import the_model\n", "")
    names = {"the_model": lambda: model, "sae": explorer._picker.own._sae}
    exec(code, names)
    assert names["text"] == steered_text(explorer)


def test_sparse_steering_names_its_features(explorer):
    find(explorer, "sparse steering")
    assert re.search(r"\d+ of 400 features reach the mean", explorer._picker.own.found.value)
    method = explorer._picker.chosen()
    [intervention] = method.make(1.0).values()
    assert isinstance(intervention, AddVector)
    assert torch.isfinite(intervention.vector).all()


def test_new_sentences_ask_for_a_new_direction(explorer):
    explorer.source.value = "your sentences"
    explorer.run.click()
    assert "there is no direction for these sentences yet" in explorer.error.value
    find(explorer, "CAV")
    assert "right on" in explorer._picker.own.found.value
    explorer._picker.own.towards.value = "The boats"
    explorer.run.click()
    assert "there is no direction for these sentences yet" in explorer.error.value
    explorer._picker.own.find.click()
    run_out(explorer)
    assert "“towards” holds 1 sentences: write 2 or more" in explorer.error.value


def test_sparse_steering_is_offered_where_there_is_a_dictionary(model, settings):
    explorer = SteeringExplorer(model, sentences=((), ()), settings=settings)
    own = explorer._picker.own
    assert own is not None
    assert "sparse steering" not in own.how.options
    own.find.click()
    run_out(explorer)
    assert "“towards” holds 0 sentences: write 1 or more" in explorer.error.value


def test_the_record_holds_everything_that_is_shown(explorer):
    explorer.run.click()
    saved = json.loads(files(explorer)["steering.json"])
    text = saved["text"]
    assert text["method"] == "v"
    assert text["steered"] == steered_text(explorer)
    assert text["unsteered"] in unescape(explorer.unsteered.value)
    assert [row["text"] for row in text["measures"]] == ["unsteered", "steered"]
    assert files(explorer)["steering.py"].decode() == saved["cell"] == explorer.as_code()
    explorer.prompt.value = " "
    explorer.run.click()
    assert explorer.saved.value == "", "what failed leaves nothing to save"


def test_work_that_has_ended_asks_for_no_more_steps():
    ended: list[bool] = []
    failed: list[Exception] = []
    steps = Steps(failed.append, lambda: ended.append(True))
    steps.begin(iter([(0.0, "one"), (0.5, "two")]))
    playing = getattr(steps._play, steps._playing)
    assert playing
    for _ in range(5):
        steps.step()
    assert ended == [True]
    assert failed == []
    assert not getattr(steps._play, steps._playing)
