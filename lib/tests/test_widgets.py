"""The explorer, driven as a reader drives it: choose, slide, type, press the button."""

from __future__ import annotations

from dataclasses import replace
from html import escape
from typing import Any

import pytest
import torch
from steerlab.generation import generate
from steerlab.hooks import check_unhooked
from steerlab.settings import course_settings
from steerlab.steering import AddVector, coefficient_at, dose_of, steer
from steerlab.widgets import SteeringExplorer

HOOK = "blocks.1.hook_resid_pre"
FOR, AGAINST = ["a", "e", "i"], ["o", "u", "n"]


@pytest.fixture
def vector(model):
    return torch.randn(model.cfg.d_model, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def explorer(model, vector):
    return SteeringExplorer(
        model,
        {"mean difference": (vector, HOOK)},
        words_for=FOR,
        words_against=AGAINST,
        settings=replace(course_settings(model), max_new_tokens=6),
    )


def coefficient_shown(explorer):
    return float(explorer.coefficient.value.removeprefix("coefficient "))


def test_pressing_the_button_shows_both_texts_and_their_measures(explorer, model, vector):
    explorer.prompt.value = "The movie that I watched"
    explorer.dose.value = 0.8
    assert explorer.steered.value == ""
    explorer.run.click()
    assert explorer.error.value == ""
    coefficient = coefficient_shown(explorer)
    with steer(model, {HOOK: AddVector(vector, coefficient)}):
        steered = generate(model, "The movie that I watched", max_new_tokens=6)[0].text
    plain = generate(model, "The movie that I watched", max_new_tokens=6)[0].text
    assert f"</span>{escape(plain)}</p>" in explorer.unsteered.value
    assert f"</span>{escape(steered)}</p>" in explorer.steered.value
    assert steered != plain
    for name in ("concept score", "NLL", "distinct-2", "repeated 4-grams"):
        assert name in explorer.measures.value
    assert explorer.run.description == "Generate"
    assert not explorer.run.disabled
    check_unhooked(model, "this test")


def test_the_slider_is_in_doses_and_shows_the_coefficient(explorer, model, vector):
    for dose in (0.2, 0.8, -0.4, 0.0):
        explorer.dose.value = dose
        c = coefficient_shown(explorer)
        got = dose_of(model, {HOOK: AddVector(vector, c)}, explorer.settings.prompts)
        assert got == pytest.approx(abs(dose), rel=0.02)
        assert c * dose >= 0
    assert explorer.steered.value == "", "moving the slider must not generate"


def test_dose_zero_leaves_the_text_as_it_was(explorer):
    explorer.dose.value = 0.0
    explorer.run.click()
    tail = explorer.unsteered.value.split("</span>")[1]
    assert explorer.steered.value.endswith(tail)


def test_the_reader_says_how_long_the_texts_get(explorer, model):
    prompt = explorer.prompt.value
    explorer.run.click()
    short = explorer.unsteered.value
    explorer.length.value = 9
    explorer.run.click()
    plain = generate(model, prompt, max_new_tokens=9)[0].text
    assert escape(plain) in explorer.unsteered.value != short
    assert "max_new_tokens=9" in explorer.as_code()


def test_a_text_that_exceeds_the_context_is_an_error_to_read(explorer, model):
    explorer.length.value = 10 * model.cfg.n_ctx
    assert explorer.length.value == model.cfg.n_ctx
    explorer.run.click()
    assert "shorten it, or ask for fewer new ones" in explorer.error.value


def test_a_maker_of_interventions_is_set_to_the_dose_even_if_it_is_not_linear(model, vector):
    def make(c):
        return {HOOK: lambda resid: resid + c * abs(c) * vector.to(resid)}

    explorer = SteeringExplorer(model, {"square": make})
    for dose in (0.4, -0.6):
        explorer.dose.value = dose
        c = coefficient_shown(explorer)
        assert c * dose > 0
        got = dose_of(model, make(c), explorer.settings.prompts)
        assert got == pytest.approx(abs(dose), rel=0.03)
    explorer.run.click()
    assert explorer.error.value == ""


def test_the_students_own_function_is_a_method(model, vector):
    calls = []

    def mine(prompt, coefficient):
        calls.append((prompt, coefficient))
        return prompt + " my own text"

    explorer = SteeringExplorer(model, {"mine": mine, "scaled": (mine, vector, HOOK)})
    assert explorer.dose.description == "coefficient"
    explorer.dose.value = 0.4
    explorer.prompt.value = "The food"
    explorer.run.click()
    assert calls == [("The food", 0.4)]
    assert "The food</span> my own text</p>" in explorer.steered.value
    assert "NLL" in explorer.measures.value
    explorer.method.value = "scaled"
    assert explorer.dose.description == "dose"
    explorer.run.click()
    assert calls[-1][1] == pytest.approx(coefficient_shown(explorer), rel=0.01)


def test_all_layers_share_one_dose(model, vector):
    names = [f"blocks.{layer}.hook_resid_pre" for layer in range(2)]
    stack = torch.stack([vector, -vector])
    explorer = SteeringExplorer(model, {"all layers": (stack, names)})
    explorer.run.click()
    assert explorer.error.value == ""
    c = coefficient_shown(explorer)
    each = {name: AddVector(v, c) for name, v in zip(names, stack, strict=True)}
    got = dose_of(model, each, explorer.settings.prompts)
    assert got == pytest.approx(explorer.dose.value, rel=0.02)


def test_errors_are_shown_in_the_widget_and_pass(model, vector):
    def fails(prompt, coefficient):
        raise RuntimeError("<script>no vector yet</script>")

    methods: dict[str, Any] = {"broken": fails, "zero": (0 * vector, HOOK)}
    explorer = SteeringExplorer(model, methods | {"no text": lambda prompt, c: 3})
    explorer.run.click()
    assert "RuntimeError: &lt;script&gt;no vector yet" in explorer.error.value
    explorer.method.value = "zero"
    assert "vector is zero" in explorer.error.value
    explorer.method.value = "no text"
    assert explorer.error.value == ""
    explorer.run.click()
    assert "returned int, not text" in explorer.error.value
    explorer.prompt.value = "  "
    explorer.run.click()
    assert "prompt is empty" in explorer.error.value
    assert not explorer.run.disabled


def test_an_error_in_the_readers_code_names_the_line(model, vector):
    def fails(prompt, coefficient):
        return prompt[999]

    explorer = SteeringExplorer(model, {"broken": fails, "zero": (0 * vector, HOOK)})
    explorer.run.click()
    assert "IndexError: string index out of range\nin fails, line " in explorer.error.value
    assert "return prompt[999]" in explorer.error.value
    explorer.method.value = "zero"
    assert "\nin " not in explorer.error.value, "our own lines are no help to the reader"


def test_a_prompt_beyond_the_context_is_named_with_what_to_do(explorer):
    explorer.prompt.value = "The movie that I watched yesterday was good and warm. " * 12
    explorer.run.click()
    assert "exceeds the model&#x27;s context of 64: shorten it" in explorer.error.value
    assert explorer.steered.value == ""
    explorer.prompt.value = "The movie"
    explorer.run.click()
    assert explorer.error.value == ""


def test_without_words_the_fluency_is_shown_alone(model, vector):
    explorer = SteeringExplorer(model, {"v": (vector, HOOK)})
    explorer.run.click()
    assert "concept score" not in explorer.measures.value
    for name in ("NLL", "distinct-2", "repeated 4-grams"):
        assert name in explorer.measures.value


@pytest.mark.parametrize("dose", [0.05, 0.3, -0.8])
@pytest.mark.parametrize(
    "curve",
    [
        lambda c: 3.0 * abs(c),
        lambda c: 1e-4 * c * c,
        lambda c: abs(c) ** 0.5,
        lambda c: 2e5 * abs(c),
        lambda c: 0.01 * abs(c - 1.0) + 0.01,  # a clamp of a feature that is active by itself
    ],
)
def test_the_coefficient_of_a_dose_is_found_whatever_the_curve(curve, dose):
    c = coefficient_at(curve, dose)
    assert c * dose > 0
    assert curve(c) == pytest.approx(abs(dose), rel=0.01)


def test_a_dose_that_nothing_has_is_refused_by_name():
    with pytest.raises(ValueError, match="changes nothing there"):
        coefficient_at(lambda c: 0.0, 0.4)
    with pytest.raises(ValueError, match=r"dose \+0.40 \(those tried have 0.50 to"):
        coefficient_at(lambda c: 0.5 + abs(c), 0.4)
    assert coefficient_at(lambda c: 0.5 + abs(c), 0.0) == 0.0


def test_generated_text_is_never_markup(model):
    explorer = SteeringExplorer(model, {"x": lambda prompt, c: "<img src=x onerror=alert(1)>"})
    explorer.prompt.value = "<b>bold"
    explorer.run.click()
    assert "<img" not in explorer.steered.value
    assert "<b>bold" not in explorer.unsteered.value


def test_methods_that_are_none_are_refused(model):
    with pytest.raises(ValueError, match="no method"):
        SteeringExplorer(model, {})
    with pytest.raises(TypeError, match=r"method 'v' is Tensor: pass \(vector, hook_name\)"):
        SteeringExplorer(model, {"v": torch.ones(32)})  # type: ignore[dict-item]


def test_displaying_the_explorer_displays_its_widget(explorer, monkeypatch):
    shown: list[Any] = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    explorer._ipython_display_()
    assert shown == [explorer.widget]
