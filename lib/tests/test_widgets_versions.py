"""Colab has ipywidgets 7, laptops have 8: the explorer keeps to what both know.

ipywidgets_7_7_1.json lists the traits of every widget class of ipywidgets 7.7.1, by
`{name: [trait for trait in cls.class_trait_names() if not trait.startswith("_")]}`.
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import ipywidgets
import pytest
import steerlab.widgets
from explorer_parts import HOOK, LABELS, a_vector, an_sae, some_cavs
from steerlab.settings import course_settings
from steerlab.widgets import SteeringExplorer

OF_7 = json.loads(Path(__file__).with_name("ipywidgets_7_7_1.json").read_text())
SOURCES = sorted(Path(str(steerlab.widgets.__file__)).parent.glob("*.py"))


def walk(widget: Any) -> Iterator[Any]:
    yield widget
    for child in getattr(widget, "children", ()):
        yield from walk(child)


@pytest.fixture
def explorer(chat_model):
    settings = replace(course_settings(chat_model), max_new_tokens=4, doses=(0.0, 0.4))
    return SteeringExplorer(
        chat_model,
        {"v": (a_vector(), HOOK)},
        sae=an_sae(),
        labels=LABELS,
        cavs=some_cavs(),
        words_for=["a"],
        words_against=["o"],
        settings=settings,
        sentences=(["The movie was good."], ["The movie was bad."]),
    )


@pytest.fixture
def every_widget(explorer):
    """Every widget that the explorer shows in any of its states, after a use of each."""
    seen: dict[int, Any] = {}

    def run_out(explorer: SteeringExplorer) -> None:
        while explorer._steps.running:
            look()
            explorer._steps.step()

    def look() -> None:
        seen.update((id(widget), widget) for widget in walk(explorer.widget))

    for kind in explorer.source.options:
        explorer.source.value = kind
        look()
        if explorer._picker.own is not None:
            explorer._picker.own.find.click()
            run_out(explorer)
        explorer.run.click()
        explorer.copy.click()
        explorer.measure.click()
        run_out(explorer)
        look()
    explorer.chat.value = True
    explorer.run.click()
    explorer.copy.click()
    assert explorer.error.value == ""
    look()
    return list(seen.values())


def test_the_whole_explorer_was_looked_at(explorer, every_widget):
    own = {id(w) for w in vars(explorer).values() if isinstance(w, ipywidgets.Widget)}
    assert own <= {id(widget) for widget in every_widget}
    assert len(every_widget) >= 18


def test_only_core_widgets_that_7_has_are_used_and_layouts_are_objects(every_widget):
    for widget in every_widget:
        assert type(widget).__module__.startswith("ipywidgets.widgets")
        assert type(widget).__name__ in OF_7
        assert type(widget.layout) is ipywidgets.Layout


def changed(widget: Any) -> set[str]:
    """Traits of a widget that differ from those of a new one of its class."""
    new = type(widget)()
    return {
        trait
        for trait in widget.class_trait_names()
        if not trait.startswith("_")
        and trait not in ("layout", "style", "comm", "keys", "log")
        and getattr(widget, trait) != getattr(new, trait)
    }


def test_no_trait_is_set_that_7_does_not_have(every_widget):
    for widget in every_widget:
        assert changed(widget) <= set(OF_7[type(widget).__name__])
        assert changed(widget.layout) <= set(OF_7["Layout"])
        # Styles have other classes in 7, so they are left alone.
        assert not hasattr(widget, "style") or changed(widget.style) == set()


def test_widgets_are_made_with_traits_of_7_alone():
    made = []
    for source in SOURCES:
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            owner = node.func.value
            if isinstance(owner, ast.Name) and owner.id == "widgets":
                name = node.func.attr
                assert name in OF_7, f"{source.name}: ipywidgets 7 has no {name}"
                given = {keyword.arg for keyword in node.keywords}
                assert None not in given, f"{source.name}: say which traits {name} is given"
                assert given <= set(OF_7[name]), f"{name}: {given - set(OF_7[name])}"
                made.append(name)
    assert {"Dropdown", "Select", "Text", "Textarea", "Layout"} <= set(made)


def test_the_list_of_traits_tells_7_from_8():
    # Traits that came with 8: a list that held them would guard against nothing.
    assert "tooltip" not in OF_7["Text"]
    assert "border_top" not in OF_7["Layout"]
    assert "text_color" not in OF_7["ButtonStyle"]
    assert "TagsInput" not in OF_7
    assert "continuous_update" in OF_7["Text"]


def test_nothing_runs_in_a_thread_or_later():
    """Colab renders what a callback does, and not what comes after it."""
    for source in SOURCES:
        text = source.read_text(encoding="utf-8")
        for word in ("threading", "asyncio", "concurrent", "Javascript", "on_submit"):
            assert word not in text, f"{source.name} mentions {word}"
