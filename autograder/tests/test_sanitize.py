"""What leaves the grader can run nothing and load nothing in the browser that shows it."""

from __future__ import annotations

import base64
import io

import pytest
from autograder.grading.sanitize import (
    clean_html,
    clean_image,
    clean_markdown,
    clean_outputs,
    clean_text,
)
from hypothesis import given
from hypothesis import strategies as st
from nbconvert.filters import markdown2html
from PIL import Image

ATTACKS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    '<a href="javascript:alert(1)">x</a>',
    "[x](javascript:alert(1))",
    "![x](http://evil.example/track.png)",
    "<iframe src='data:text/html,<script>1</script>'></iframe>",
    "<style>@import 'http://evil.example'</style>",
    "<div style='background:url(http://evil.example)'>x</div>",
    "<form action=/formgrader><input name=score></form>",
    "<details open ontoggle=alert(1)>x</details>",
    "<math><mtext><table><mglyph><style><img src onerror=alert(1)>",
    "$\\href{javascript:alert(1)}{x}$",
    "```\n\n<script>alert(1)</script>\n```\n\n<script>alert(2)</script>",
]


def assert_harmless(html: str) -> None:
    lowered = html.lower()
    for tag in ("<script", "<img", "<svg", "<iframe", "<style", "<form", "<input", "<object"):
        assert tag not in lowered
    assert "onerror=" not in lowered.replace("onerror=alert(1)&gt;", "")
    assert 'href="javascript' not in lowered
    assert "\\href" not in lowered
    assert "style=" not in lowered


@pytest.mark.parametrize("attack", ATTACKS)
def test_html_output_is_harmless(attack):
    assert_harmless(clean_html(attack))


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_students_markdown_is_harmless_after_every_rendering(attack):
    stored = clean_markdown(attack)
    assert_harmless(stored)
    assert_harmless(markdown2html(stored))
    assert "\n\n" not in stored


@given(st.text(max_size=300))
def test_any_markdown_is_harmless_after_rendering(text):
    for tag in ("<script", "<img", "<iframe"):
        assert tag not in markdown2html(clean_markdown(text)).lower()


def test_ordinary_markdown_keeps_its_meaning():
    html = clean_markdown("**Bold** and `x < 1`\n\n- item\n\n$a_1$")
    assert "<strong>Bold</strong>" in html
    assert "<code>x &lt; 1</code>" in html
    assert "<li>item</li>" in html
    assert "$a_1$" in html


def test_scripts_widgets_and_svg_are_left_out_of_outputs():
    bundle = {
        "application/javascript": "alert(1)",
        "application/vnd.jupyter.widget-view+json": {"model_id": "x"},
        "image/svg+xml": "<svg onload=alert(1)>",
        "text/latex": "\\href{javascript:alert(1)}{x}",
        "text/markdown": "<script>1</script>",
        "text/plain": "kept",
    }
    (output,) = clean_outputs([{"output_type": "display_data", "data": bundle, "metadata": {}}])
    assert output.data == {"text/plain": "kept"}


def test_a_result_of_the_student_is_never_stored_as_a_result():
    """nbgrader reads an execute_result as a score."""
    (output,) = clean_outputs([{"output_type": "execute_result", "data": {"text/plain": "1000"}}])
    assert output.output_type == "display_data"


def test_images_are_encoded_anew_and_hidden_data_is_lost():
    target = io.BytesIO()
    Image.new("RGB", (3, 2), "red").save(target, "PNG")
    payload = base64.b64encode(target.getvalue() + b"canary after the image").decode()
    clean = clean_image(payload, "PNG")
    assert clean is not None
    assert b"canary" not in base64.b64decode(clean)
    assert Image.open(io.BytesIO(base64.b64decode(clean))).size == (3, 2)


@pytest.mark.parametrize(
    "junk", ["not base64!", "", None, 3, ["x"], base64.b64encode(b"GIF89a").decode()]
)
def test_what_is_no_image_is_left_out(junk):
    assert clean_image(junk, "PNG") is None


def test_an_image_bomb_is_not_decoded():
    target = io.BytesIO()
    Image.new("1", (6000, 6000)).save(target, "PNG")
    assert clean_image(base64.b64encode(target.getvalue()).decode(), "PNG") is None


def test_overlong_text_is_cut_and_says_so():
    assert clean_text("x" * 200_000).endswith("[output cut here]")


def test_control_characters_go_and_colours_stay():
    assert clean_text("a\x00b\x1b[31mred\x1b[0m\x1b]0;title\x07") == "ab\x1b[31mred\x1b[0m]0;title"
