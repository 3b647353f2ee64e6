"""HTML, scripts and Markdown for the pages that the instructor and the student open."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape
from pathlib import Path
from typing import Any

import nh3
import pytest
from autograder.grading import feedback, sanitize
from autograder.grading.run import Attempt
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

from .arena import ASSIGNMENT, Arena
from .attack import Attack, Patched, Trace

HTML = "HTML outputs go through a sanitiser"
TYPES = "only listed kinds of output are kept"
MARKDOWN = "Markdown is rendered and sanitised before any page holds it"
LAST = "MathJax's commands are defused after all else"
OWN_WORDS = "only the grader writes the grader's notes"
ESCAPED = "names and source lines are escaped where they are shown"


def on_page(pattern: str) -> Callable[[Trace], str]:
    """The gain of an injection: its tag stands on the feedback page as a tag."""

    def gained(trace: Trace) -> str:
        found = re.search(pattern, trace.page())
        return found.group(0) if found else ""

    return gained


def in_html(pattern: str) -> Callable[[Trace], str]:
    """The same in an HTML output, which nbgrader's formgrader shows too."""

    def gained(trace: Trace) -> str:
        outputs = [out for cell in trace.notebook.cells for out in cell.get("outputs", [])]
        html = "".join(str(out.get("data", {}).get("text/html", "")) for out in outputs)
        found = re.search(pattern, html)
        return found.group(0) if found else ""

    return gained


def of_type(mime: str) -> Callable[[Trace], str]:
    """The gain of an output that a browser would run: it stands in the graded notebook."""

    def gained(trace: Trace) -> str:
        outputs = [out for cell in trace.notebook.cells for out in cell.get("outputs", [])]
        return next((mime for out in outputs if mime in out.get("data", {})), "")

    return gained


def as_it_is(place: Any, name: str) -> Callable[[pytest.MonkeyPatch], None]:
    """A patch that leaves out one step of cleaning."""
    return lambda patch: patch.setattr(place, name, lambda text, *_: text)


def any_type(patch: pytest.MonkeyPatch) -> None:
    """Keep outputs of every kind."""
    patch.setattr(sanitize, "_clean_bundle", lambda bundle, *_: dict(bundle))


def mathjax_first(patch: pytest.MonkeyPatch) -> None:
    """Defuse MathJax's commands before entities and comments are resolved."""
    clean, defuse = nh3.clean, sanitize._MATHJAX

    def early(html: str, **more: Any) -> str:
        return clean(defuse.sub(r"\1", html), **more)

    patch.setattr(sanitize.nh3, "clean", early)
    patch.setattr(sanitize, "_MATHJAX", re.compile(r"(?!)()"))


def believe_names(patch: pytest.MonkeyPatch) -> None:
    """Take an output that looks like the grader's for the grader's."""

    def note(self: Attempt, output: Any) -> None:
        if output.get("ename") == "Stopped":
            self.notes.append(str(output.get("evalue")))

    patch.setattr(Attempt, "_note_output", note)


def nothing_escaped(patch: pytest.MonkeyPatch) -> None:
    """Put names and lines into the page as they are."""
    for name in ("escape", "text_html"):
        patch.setattr(feedback, name, lambda text: text)


def markdown_script(notebook: NotebookNode) -> None:
    """A cell of text with a script in it."""
    text = "My work:\n\n<script>steal()</script>\n\n<img src=x onerror=steal()>"
    notebook.cells.append(new_markdown_cell(text))


def named(name: str) -> Callable[[Arena, Path], None]:
    """Hand the notebook in under another file name."""

    def rename(arena: Arena, folder: Path) -> None:
        (folder / f"{ASSIGNMENT}.ipynb").rename(folder / f"{name}.ipynb")

    return rename


def shown_name(trace: Trace) -> str:
    """A tag of the file name in the grader's notes."""
    notes = next(iter(trace.notebook.cells), {"source": ""})["source"]
    return "a tag" if "<img src=x onerror" in notes else on_page("<img src=x onerror")(trace)


ATTACKS = [
    Attack(
        name="script-in-html",
        family="injection into feedback",
        defence=HTML,
        off=Patched(as_it_is(sanitize, "clean_html")),
        gained=on_page(r"<script>steal"),
        first="from IPython.display import HTML\nHTML('mine: <script>steal()</script>')",
    ),
    Attack(
        name="handler-in-html",
        family="injection into feedback",
        defence=HTML,
        off=Patched(as_it_is(sanitize, "clean_html")),
        gained=on_page(r"<img src=x onerror[^>]*>"),
        first="from IPython.display import HTML\nHTML('<img src=x onerror=steal()>')",
    ),
    Attack(
        name="form-for-the-gradebook",
        family="injection into feedback",
        defence=HTML,
        off=Patched(as_it_is(sanitize, "clean_html")),
        gained=on_page(r"<form[^>]*>"),
        first="""\
from IPython.display import HTML
HTML('<form method=post action=/formgrader/api/grade/1><input name=manual_score value=5></form>')
""",
    ),
    Attack(
        name="drawing-with-a-script",
        family="injection into feedback",
        defence=TYPES,
        off=Patched(any_type),
        gained=of_type("image/svg+xml"),
        first="""\
from IPython.display import display
display({"image/svg+xml": "<svg onload=steal()></svg>"}, raw=True)
""",
    ),
    Attack(
        name="javascript-output",
        family="injection into feedback",
        defence=TYPES,
        off=Patched(any_type),
        gained=of_type("application/javascript"),
        first="from IPython.display import Javascript\nJavascript('steal()')",
    ),
    Attack(
        name="script-in-markdown",
        family="injection into feedback",
        defence=MARKDOWN,
        off=Patched(as_it_is(feedback, "clean_markdown")),
        gained=on_page(r"<script>steal|<img src=x onerror"),
        edit=markdown_script,
    ),
    Attack(
        name="mathjax-link-behind-an-entity",
        family="injection into feedback",
        defence=LAST,
        off=Patched(mathjax_first),
        gained=in_html(r"\\href\{javascript"),
        first="""\
from IPython.display import HTML
HTML(r'$\\&#104;ref{javascript:steal()}{x}$ and $\\<!-- -->href{javascript:steal()}{x}$')
""",
    ),
    Attack(
        name="note-in-the-graders-name",
        family="forged results",
        defence=OWN_WORDS,
        off=Patched(believe_names),
        gained=lambda trace: (
            "a note"
            if "says the grader" in "".join(trace.result.notes if trace.result else ())
            else ""
        ),
        first="""\
class Stopped(Exception):
    pass
raise Stopped("Full marks, says the grader ![](http://evil.example/track.png)")
""",
    ),
    Attack(
        name="tag-in-the-file-name",
        family="injection into feedback",
        defence=ESCAPED,
        off=Patched(lambda patch: patch.setattr(feedback, "_LINKS", re.compile(r"(?!)"))),
        gained=shown_name,
        files=named("01_toy <img src=x onerror=steal()>"),
    ),
    Attack(
        name="script-in-the-failing-line",
        family="injection into feedback",
        defence=ESCAPED,
        off=Patched(nothing_escaped),
        gained=on_page(r"<script>steal"),
        double="def double(x):\n    raise ValueError  # </code><script>steal()</script>\n",
    ),
    Attack(
        name="mathjax-link-in-the-failing-line",
        family="injection into feedback",
        defence=LAST,
        off=Patched(lambda patch: patch.setattr(feedback, "text_html", escape)),
        gained=in_html(r"\\href\{javascript"),
        double="def double(x):\n    raise ValueError  # $\\href{javascript:steal()}{x}$\n",
    ),
    Attack(
        name="image-loaded-by-markdown",
        family="injection into feedback",
        defence=MARKDOWN,
        off=Patched(as_it_is(feedback, "clean_markdown")),
        gained=on_page(r"<img[^>]*evil\.example[^>]*>"),
        edit=lambda notebook: notebook.cells.append(
            new_markdown_cell("![seen](http://evil.example/track.png)")
        ),
    ),
]
