"""Every message that docs/troubleshooting.md quotes is one that the code can print."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SANDBOX = REPOSITORY / "autograder" / "autograder" / "sandbox"
DOCUMENT = (REPOSITORY / "docs" / "troubleshooting.md").read_text("utf-8")
HEADINGS = re.findall(r"^### (.*)$", DOCUMENT, re.MULTILINE)
#: Said by Linux, in our table: it stands nowhere in the code.
FOREIGN = {"`ungraded: [Errno 28] No space left on device`"}
#: Where one literal ends and the next line's goes on: they are one message.
SEAM = re.compile(r"""["']\s*\n\s*f?["']""")


@cache
def sources() -> tuple[str, ...]:
    """The code of both packages and the set-up, messages of several lines put together."""
    setup = (REPOSITORY / "setup.sh").read_text("utf-8")
    found = [f"setup: {said}" for said in re.findall(r'(?:stop|say) "(.*)"', setup)]
    for package in ("lib/steerlab", "autograder/autograder"):
        paths = (REPOSITORY / package).rglob("*.py")
        found += [SEAM.sub("", path.read_text("utf-8")) for path in paths]
    return tuple(found)


def fits(heading: str, text: str) -> bool:
    """Whether a text has all parts of a quoted message in their order, as near as in one message."""
    parts = [re.escape(part.strip()) for part in heading.strip("`").split("…")]
    return re.search(".{0,200}?".join(parts), text, re.DOTALL) is not None


def is_said(heading: str) -> bool:
    """Whether the code can print what a heading quotes."""
    longest = max((part.strip() for part in heading.strip("`").split("…")), key=len)
    return any(fits(heading, text) for text in sources() if longest in text)


@pytest.mark.parametrize("heading", HEADINGS)
def test_a_quoted_message_is_one_that_is_printed(heading):
    assert re.fullmatch(r"`[^`]+`", heading), "a heading quotes one message and nothing else"
    assert heading in FOREIGN or is_said(heading)


def test_a_message_that_nobody_prints_is_noticed():
    assert not is_said("`the intervention changed its output in place`")
    assert not is_said("`bubblewrap is … gated: accept its licence`")


def test_every_entry_says_what_to_do_and_none_stands_twice():
    assert len(HEADINGS) == len(set(HEADINGS))
    for entry in DOCUMENT.split("\n### ")[1:]:
        _, _, text = entry.partition("\n")
        assert len(text.split("\n## ")[0].split()) >= 5, entry


@pytest.mark.parametrize("name", ["bubblewrap", "separate_user", "seccomp"])
def test_whatever_keeps_the_sandbox_from_starting_has_an_entry(name):
    """This is what an instructor meets first."""
    for node in ast.walk(ast.parse((SANDBOX / f"{name}.py").read_text("utf-8"))):
        called = getattr(node.func, "id", "") if isinstance(node, ast.Call) else ""
        if called.endswith("Unavailable") and not isinstance(node.args[0], ast.Call):
            said = ast.unparse(node.args[0])
            assert any(fits(heading, said) for heading in HEADINGS), said
