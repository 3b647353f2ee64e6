"""Copy as code: the cell, executed, writes what the explorer has shown."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from explorer_parts import HOOK, LABELS, a_vector, an_sae, some_cavs, steered_text
from IPython.core.interactiveshell import InteractiveShell
from steerlab.sae import ClampFeatures
from steerlab.settings import course_settings
from steerlab.steering import AddVector, generate, steer
from steerlab.widgets import SteeringExplorer
from steerlab.widgets.code import MOST_NUMBERS, Cell

PROMPT = 'The "movie" – that\nI watched'


@pytest.fixture
def vector():
    return a_vector()


@pytest.fixture
def notebook(model, monkeypatch):
    """The variables of a notebook, as the explorer sees them. It has a model, and no more."""
    variables: dict[str, Any] = {"model": model, "_": model, "Out": {}}
    monkeypatch.setattr("steerlab.widgets.explorer.notebook_variables", lambda: variables)
    return variables


def an_explorer(model, *args, **more):
    settings = replace(course_settings(model), max_new_tokens=6)
    return SteeringExplorer(model, *args, settings=settings, **more)


def copied(explorer) -> str:
    """Generate and press the button."""
    explorer.prompt.value = PROMPT
    explorer.run.click()
    explorer.copy.click()
    assert explorer.error.value == ""
    assert explorer._below in explorer.widget.children
    return explorer.code.value


def run(code: str, notebook: dict[str, Any]) -> str:
    """What a new cell with this code writes, in the notebook as it is."""
    variables = dict(notebook)
    exec(compile(code, "a cell", "exec"), variables)
    return variables["text"]


def test_a_vector_without_a_variable_is_written_out_exactly(model, vector, notebook):
    explorer = an_explorer(model, {"v": (vector.double() / 3, HOOK)})
    code = copied(explorer)
    assert run(code, notebook) == steered_text(explorer)
    assert "# Needs model, as this notebook has them." in code
    assert code.startswith("# v, dose +0.40: coefficient ")
    for line in code.splitlines():
        assert len(line) <= 100


def test_a_vector_that_a_variable_holds_is_called_by_its_name(model, vector, notebook):
    stack = torch.stack([-vector, vector])
    for held, expression in (
        ({"happy": vector.clone()}, "AddVector(happy, "),
        ({"vectors": stack}, "AddVector(vectors[1], "),
        ({"found": {"happy": vector, 2: 3 * vector}}, "AddVector(found['happy'], "),
    ):
        variables = notebook | held
        notebook.update(held)
        explorer = an_explorer(model, {"v": (vector, HOOK)})
        code = copied(explorer)
        assert expression in code
        assert "base64" not in code
        assert f"# Needs model, {next(iter(held))}, as" in code
        assert run(code, variables) == steered_text(explorer)
        del notebook[next(iter(held))]


@pytest.mark.parametrize("sampling", [{"temperature": 1.0, "seed": 7}, {"positions": "generated"}])
def test_sampling_and_positions_are_part_of_the_code(model, vector, notebook, sampling):
    explorer = an_explorer(model, {"v": (vector, HOOK)}, **sampling)
    explorer.dose.value = -0.8
    assert run(copied(explorer), notebook) == steered_text(explorer)


def test_all_layers_are_reproduced(model, vector, notebook):
    names = [f"blocks.{layer}.hook_resid_pre" for layer in range(2)]
    explorer = an_explorer(model, {"all": (torch.stack([vector, 0.5 * vector]), names)})
    assert run(copied(explorer), notebook) == steered_text(explorer)


def test_a_vector_too_large_to_write_out_asks_for_a_variable(notebook):
    long = torch.ones(MOST_NUMBERS + 1)
    with pytest.raises(ValueError, match=r"8,193 numbers, too many.*assign it to one, e.g. vector"):
        Cell({}).tensor(long, "vector")
    assert Cell({"mine": long}).tensor(long, "vector") == "mine"


def test_a_function_of_the_coefficient_is_called_by_its_name(model, vector, notebook):
    def make(c):
        return {HOOK: AddVector(vector, c)}

    explorer = an_explorer(model, {"made": make})
    missing = copied(explorer)
    assert (
        "# Needs make: the function of 'made' that you gave to the explorer; no variable holds it"
        in missing
    )
    notebook["make"] = make
    explorer.copy.click()
    code = explorer.code.value
    assert "# Needs make, model, as" in code or "# Needs model, make, as" in code
    assert "interventions = make(" in code
    assert run(code, notebook) == steered_text(explorer)


def test_a_function_without_a_name_of_its_own_is_called_by_its_variable(model, vector, notebook):
    notebook["pushing"] = lambda c: {HOOK: AddVector(vector, c)}
    explorer = an_explorer(model, {"x": notebook["pushing"]})
    code = copied(explorer)
    assert "interventions = pushing(" in code
    assert run(code, notebook) == steered_text(explorer)
    del notebook["pushing"]
    explorer.copy.click()
    assert "# Needs make: the function of 'x'" in explorer.code.value
    assert "interventions = make(" in explorer.code.value


@pytest.mark.parametrize("repeats_prompt", [True, False])
def test_the_students_own_function_is_called_by_its_name(model, vector, notebook, repeats_prompt):
    def your_steering(prompt, coefficient):
        with steer(model, {HOOK: AddVector(vector, coefficient)}):
            text = generate(model, prompt, max_new_tokens=5)[0].text
        return prompt + text if repeats_prompt else text

    notebook["your_steering"] = your_steering
    explorer = an_explorer(model, {"yours": (your_steering, vector, HOOK)})
    code = copied(explorer)
    assert "# Needs your_steering, as" in code
    assert "text = your_steering(prompt, " in code
    assert run(code, notebook) == steered_text(explorer)


def test_a_function_that_returns_a_completion_is_reproduced(model, notebook):
    def written(prompt, coefficient):
        return generate(model, prompt, max_new_tokens=5)[0]

    notebook["written"] = written
    explorer = an_explorer(model, {"c": written})
    assert run(copied(explorer), notebook) == steered_text(explorer)


def test_a_clamped_feature_is_reproduced(model, notebook):
    sae = notebook["the_sae"] = an_sae()
    explorer = an_explorer(model, sae=sae, labels=LABELS)
    explorer.search.value = "music"
    code = copied(explorer)
    assert "ClampFeatures(the_sae, {2: " in code
    assert "× its reference 3" in code.splitlines()[0]
    assert run(code, notebook) == steered_text(explorer)


def test_the_students_own_clamp_is_called_by_its_name(model, notebook):
    def my_clamp(sae, values):
        return ClampFeatures(sae, {feature: 2 * value for feature, value in values.items()})

    sae = notebook["sae"] = an_sae()
    notebook["my_clamp"] = my_clamp
    explorer = an_explorer(model, sae=sae, labels=LABELS, clamp=my_clamp)
    code = copied(explorer)
    assert "my_clamp(sae, {3: " in code
    assert run(code, notebook) == steered_text(explorer)


def test_a_concept_is_reproduced(model, notebook):
    cavs = notebook["concepts"] = some_cavs()
    explorer = an_explorer(model, cavs=cavs)
    explorer.search.value = "sad"
    code = copied(explorer)
    assert 'AddVector(concepts["sentiment: sad"], ' in code
    assert run(code, notebook) == steered_text(explorer)


def test_the_last_answer_of_a_conversation_is_reproduced(chat_model, vector, notebook):
    notebook["model"] = chat_model
    explorer = an_explorer(chat_model, {"v": (vector, HOOK)})
    explorer.chat.value = True
    for said, dose in (("The movie", 0.8), ("The food", -0.4), ("She walked", 0.6)):
        explorer.prompt.value = said
        explorer.dose.value = dose
        explorer.run.click()
        assert explorer.error.value == ""
        explorer.copy.click()
        code = explorer.code.value
        answer = explorer._conversation.exchanges[-1].steered.text
        assert run(code, notebook) == answer
    assert '{"role": "user", "content": "The movie"},' in code
    assert code.count('"role": "assistant"') == 2
    plain = [exchange.unsteered.text for exchange in explorer._conversation.exchanges]
    assert plain[-1] != answer, "this test needs a push that changes something"


def test_the_code_belongs_to_the_text_and_not_to_the_slider(model, vector, notebook):
    explorer = an_explorer(model, {"v": (vector, HOOK)})
    code = copied(explorer)
    explorer.dose.value = -0.8
    explorer.prompt.value = "Another prompt"
    explorer.copy.click()
    assert explorer.code.value == code
    explorer.run.click()
    assert explorer.code.value == "", "code of an older text must not stand under a newer one"
    assert explorer._below not in explorer.widget.children


def test_without_a_text_there_is_nothing_to_copy(model, vector, notebook):
    explorer = an_explorer(model, {"v": (vector, HOOK)})
    explorer.copy.click()
    assert "there is no steered text yet: generate one" in explorer.error.value
    assert explorer._below not in explorer.widget.children
    explorer.prompt.value = " "
    explorer.run.click()
    explorer.copy.click()
    assert "no steered text yet" in explorer.error.value


def test_outside_of_a_notebook_the_names_are_left_to_the_reader(model, vector):
    explorer = an_explorer(model, {"v": (vector, HOOK)})
    code = copied(explorer)
    assert "# Needs model: the model that you gave to the explorer" in code
    assert run(code, {"model": model}) == steered_text(explorer)


def test_in_a_notebook_its_own_variables_are_found(model, vector):
    shell = InteractiveShell.instance()
    try:
        shell.user_ns.update(my_model=model, my_vector=vector)
        explorer = an_explorer(model, {"v": (vector, HOOK)})
        code = copied(explorer)
        assert "# Needs my_model, my_vector, as this notebook has them." in code
        assert "with steer(my_model, " in code
        assert shell.run_cell(code).success
        assert shell.user_ns["text"] == steered_text(explorer)
    finally:
        InteractiveShell.clear_instance()
