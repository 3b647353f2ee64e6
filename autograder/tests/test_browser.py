"""The explorer's page and the class report, as a reader has them: in a browser."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from autograder.report import write_report
from chromium import (
    NARROW,
    WIDE,
    chromium,
    free_port,
    grave_errors,
    keep,
    press_generate,
    serving,
    turn_up,
)
from made_up_class import COPIED, MadeUpClass

#: Students with their answers, as the made-up class names these; two share code to be compared.
CLASS = [("ada", "right", "right"), ("bob", "positive", "offset"), ("cy", "raises", "blank")]

LOADING = 180_000  # ms until a model has been loaded on a busy machine
ANSWER = 60_000


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def address(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The explorer of the embedded model."""
    command = ["-m", "steerlab.cli", "explore", "--no-browser", "--port", str(free_port())]
    with serving(command, tmp_path_factory.mktemp("explorer")) as found:
        yield found


@pytest.fixture(scope="module")
def opened(browser: Any, address: str) -> Iterator[Any]:
    """The page with its explorer, which all tests share: it loads a model."""
    context = browser.new_context(viewport={"width": WIDE, "height": 900})
    page = context.new_page()
    page.asked = []
    page.on("request", lambda request: page.asked.append(request.url))
    page.goto(address, wait_until="commit")
    page.wait_for_selector("button:has-text('Generate')", timeout=LOADING)
    page.set_default_timeout(ANSWER)
    yield page
    context.close()


@pytest.fixture
def page(opened: Any) -> Any:
    """The page with nothing going on: a feature chosen, at the dose and prompt of the start."""
    opened.set_viewport_size({"width": WIDE, "height": 900})
    opened.get_by_label("steer by").select_option("feature")
    opened.get_by_label("prompt").fill("Write a haiku.")
    opened.get_by_label("prompt").blur()
    return opened


def steered(page: Any) -> str:
    """The text that stands on the right."""
    return str(page.locator(".widget-html-content p").nth(1).inner_text())


def generate(page: Any) -> str:
    """Press Generate and wait for a text that was not there before."""
    press_generate(page)
    return steered(page)


def pick(page: Any, query: str) -> None:
    """Search for a feature and take the first that is found."""
    page.get_by_label("search").fill(query)
    page.get_by_label("search").press("Enter")
    page.wait_for_function(  # ipywidgets writes the blanks of an option as non-breaking ones
        "q => [...document.querySelectorAll('option')].some("
        "o => o.selected && o.textContent.replaceAll('\\u00a0', ' ').includes('topic: ' + q))",
        arg=query,
    )


def test_nobody_without_the_token_is_let_in(opened, address):
    bare = address.split("?")[0]
    with urllib.request.urlopen(bare, timeout=20) as answer:
        assert "/login" in answer.url
        assert b"Loading the model" not in answer.read()


def test_a_feature_is_picked_turned_up_and_read_in_the_text(page):
    pick(page, "ocean")
    first = generate(page)
    assert "Write a haiku." in first
    coefficient = page.locator("text=/× its reference/")
    turn_up(page.get_by_role("slider", name="dose"), coefficient, steps=6)
    stronger = generate(page)
    assert stronger != first
    pick(page, "music")
    assert generate(page) != stronger
    assert "topic: music" in page.inner_text("body")


def test_what_goes_wrong_is_read_in_the_page_and_passes(page):
    page.get_by_label("prompt").fill("  ")
    page.get_by_role("button", name="Generate").click()
    page.wait_for_selector("text=the prompt is empty: type a few words to continue")
    page.get_by_label("search").fill("zebra")
    page.get_by_label("search").press("Enter")
    page.wait_for_selector("text=/no label holds 'zebra': try/")
    pick(page, "ocean")
    page.get_by_label("prompt").fill("Write a haiku.")
    assert "haiku" in generate(page)
    assert "no label holds" not in page.inner_text("body")


def test_long_work_shows_how_far_it_is_and_stops_on_a_click(page):
    pick(page, "ocean")
    page.get_by_role("button", name="Dose–response").click()
    page.wait_for_selector("text=/^dose -0.[246]/")
    page.get_by_role("button", name="Stop").click()
    picture = page.wait_for_selector("img[alt*='NLL in nats per token']")
    assert 1 <= picture.get_attribute("alt").split("NLL in")[1].count("0: ") < 9
    assert not page.get_by_role("button", name="Stop").is_visible()


def test_text_and_picture_are_saved_as_files(page):
    pick(page, "ocean")
    text = generate(page)
    with page.expect_download() as download:
        page.get_by_role("link", name="JSON").click()
    saved = json.loads(Path(download.value.path()).read_text())
    assert saved["model"] == "tiny"
    assert text.endswith(saved["text"]["steered"].strip())
    assert "load_model" in saved["cell"]
    page.get_by_role("button", name="Copy as code").click()
    page.wait_for_function(
        "c => [...document.querySelectorAll('textarea')].some(t => t.value == c)", arg=saved["cell"]
    )


def test_a_direction_is_found_from_the_readers_own_sentences(page):
    page.get_by_label("steer by").select_option("your sentences")
    page.get_by_label("towards").fill("I walked to the harbour.\nThe boat sailed over the waves.")
    page.get_by_label("away from").fill("I walked to the bakery.\nThe guitar played in the hall.")
    page.get_by_label("how").select_option("sparse steering")
    page.get_by_role("button", name="Find the direction").click()
    page.wait_for_selector("text=/From 2 sentences against 2; .* features reach/")
    generate(page)
    page.wait_for_selector("b:has-text('sparse steering of your sentences')")


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_the_page_fits_its_width_and_is_not_blank(page, width):
    pick(page, "ocean")
    generate(page)
    page.set_viewport_size({"width": width, "height": 900})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert keep(page, f"explorer-{width}")
    assert page.get_by_role("button", name="Generate").bounding_box()["width"] > 60


def test_the_page_has_no_grave_accessibility_error_and_asks_nobody_else(page):
    generate(page)
    assert grave_errors(page) == []
    page.get_by_label("steer by").select_option("your sentences")
    page.wait_for_selector("text=Find the direction")
    assert grave_errors(page) == []
    own = ("http://127.0.0.1:", "data:", "blob:", "ws://127.0.0.1:")
    assert [url for url in page.asked if not url.startswith(own)] == []


def test_the_class_report_has_no_grave_accessibility_error(browser, tmp_path):
    made = MadeUpClass(tmp_path)
    for student, double, shift in CLASS:
        made.add(student, double, shift, COPIED, "Because it is so.")
    made.grade()
    context = browser.new_context()
    for path in write_report(made.folder, made.course, made.assignment, similarity=True):
        report = context.new_page()
        for width in (WIDE, NARROW):
            report.set_viewport_size({"width": width, "height": 900})
            report.goto(path.as_uri())
            assert keep(report, f"{path.stem}-{width}")
        assert grave_errors(report) == [], path.name
    context.close()
