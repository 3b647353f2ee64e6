"""What the student reads: a result's scores and hints inside the notebook's score cells.

Everything shown is either written by the course's authors (task names, hints) or already sanitised.
Hidden inputs and expected values are never in it: a failed test shows the misconception it points
to, the type of an exception, and the student's own line.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Collection, Mapping
from html import escape

import nbformat
from nbformat import NotebookNode

from .. import cells
from ..intake.matching import normalised
from ..results import Result, TaskResult
from .sanitize import clean_markdown, plain_line, text_html

_TASK_HTML = """\
<div style="border-left:4px solid {colour};padding:0.4em 0.9em;margin:0.3em 0;background:#fafafa">
<div style="font-weight:bold">{task}: {score} of {points} points</div>
{body}</div>"""
#: What is said of an answer cell in which nothing was written.
BLANK = "Not attempted: the cell is as the assignment gave it."
_QUOTED = re.compile(r"`([^`]+)`")
#: Signs that mean something to markdown or HTML.
_MARKDOWN = re.compile(r"[^\w ]")
#: Of these, what could make more than plain words of a note that quotes a file's name.
_LINKS = re.compile(r"[`*\[\]<>&|~\\]|:(?=//)")
_GOOD, _PARTLY, _BAD = "#2e7d32", "#b26a00", "#b3261e"


def points_text(value: float) -> str:
    """Points without a trailing .0 and with at most two decimals."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def common_cause(task: TaskResult) -> str | None:
    """Why every test of a task failed, where it is one reason: it raised, crashed, or never answered.

    Such a failure says nothing about a test's own misconception. None where the tests differ.
    """
    if not task.tests:
        return task.note or None
    details = [test.detail for test in task.tests if not test.passed]
    if len(details) < len(task.tests) or not all(details):
        return None
    if len(set(details)) == 1:
        return details[0]
    kinds = {detail.split(" at line ")[0] for detail in details}
    return kinds.pop() if len(kinds) == 1 else None


def task_html(task: TaskResult, blank: bool = False) -> str:
    """One task's score, and what went wrong in it, as HTML; `blank`: nothing was written for it."""
    cause = BLANK if blank else common_cause(task)
    lines = [f"<li>✓ {escape(_title(test.name))}</li>" for test in task.tests if test.passed]
    for test in (test for test in task.tests if not test.passed):
        told = cause is None
        detail = f"<br><code>{escape(test.detail)}</code>" if told and test.detail else ""
        hint = f": {_prose(test.hint)}" if told and test.hint else ""
        lines.append(f"<li>✗ {escape(_title(test.name))}{hint}{detail}</li>")
    if blank:
        lines = []
    body = f"<ul style='list-style:none;padding-left:0.2em'>{''.join(lines)}</ul>" if lines else ""
    note = "".join(
        f"<p>{text_html(text)}</p>" for text in dict.fromkeys((task.note, cause)) if text
    )
    colour = _GOOD if task.score >= task.points else _PARTLY if task.score > 0 else _BAD
    return _TASK_HTML.format(
        colour=colour,
        task=escape(task.task),
        score=points_text(task.score),
        points=points_text(task.points),
        body=note + body,
    )


def task_text(task: TaskResult) -> str:
    """The same as plain text, for terminals and for pages that show no HTML."""
    head = f"{task.task}: {points_text(task.score)} of {points_text(task.points)} points"
    cause = common_cause(task)
    lines = [head, *(text for text in dict.fromkeys((task.note, cause)) if text)]
    for test in task.tests:
        hint = f": {test.hint}" if test.hint and not test.passed and cause is None else ""
        lines.append(f"  {'passed' if test.passed else 'failed'}  {_title(test.name)}{hint}")
    return "\n".join(lines)


def _prose(text: str) -> str:
    """An author's sentence as HTML, with what stands in backticks as code."""
    return _QUOTED.sub(r"<code>\1</code>", escape(text))


def _title(name: str) -> str:
    """`test_points_from_negative_to_positive` as words; a parameter id in brackets is dropped."""
    return name.removeprefix("test_").split("[")[0].replace("_", " ")


def score_output(task: TaskResult, blank: bool = False) -> NotebookNode:
    """The score cell's one output: nbgrader reads the number in its text, people read its HTML."""
    score = min(max(float(task.score), 0.0), float(task.points))
    return nbformat.v4.new_output(
        "execute_result",
        data={"text/plain": repr(score), "text/html": task_html(task, blank)},
        execution_count=None,
    )


def graded_notebook(result: Result, clean: NotebookNode, release: NotebookNode) -> NotebookNode:
    """The notebook that goes into `autograded/`: the frozen outputs, scores, and our notes."""
    notebook = copy.deepcopy(clean)
    by_task = {task.task: task for task in result.tasks}
    original = {cell.get("id"): cell.source for cell in release.cells}
    blank = _note_blank(notebook, original, by_task)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.execution_count = None
            for output in cell.outputs:
                if "image/png" in output.get("data", {}):
                    output.metadata["image/png"] = {"alt": "the figure that this cell drew"}
        elif cell.source != original.get(cell.get("id")):
            cell.source = clean_markdown(cell.source)
        if cells.role(cell) == cells.SCORE:
            task = str(cells.task(cell))
            cell.outputs = [score_output(by_task[task], task in blank)]
    notebook.cells.insert(0, notes_cell(result, blank, _anchors(notebook)))
    return notebook


def _note_blank(
    notebook: NotebookNode, original: dict[str | None, str], by_task: dict[str, TaskResult]
) -> set[str]:
    """Mark the answers that are as the release left them; their tasks and written questions."""
    blank = set()
    for cell in notebook.cells:
        task = str(cells.task(cell))
        scored = task in by_task and by_task[task].score > 0
        same = normalised(cell.source) == normalised(original.get(cell.get("id"), ""))
        if cells.role(cell) in (cells.ANSWER, cells.WRITTEN) and same and not scored:
            cell.metadata["steerlab"]["blank"] = True  # the page's template says so
            blank.add(task)
    return blank


def _anchors(notebook: NotebookNode) -> dict[str, str]:
    """Where on the page each task's answer is: nbgrader's id of its cell."""
    return {
        str(cells.task(cell)): str(cell.metadata.get("nbgrader", {}).get("grade_id", ""))
        for cell in notebook.cells
        if cells.role(cell) == cells.ANSWER
    }


def notes_cell(
    result: Result, blank: Collection[str] = (), anchors: Mapping[str, str] | None = None
) -> NotebookNode:
    """The cell at the top: the automatic score, what to look at next, what the grader noticed."""
    lines = [
        f"**Automatic score: {points_text(result.score)} of {points_text(result.points)}.** "
        "Written questions are read by a person; until then the total is incomplete."
    ]
    short = [task for task in result.tasks if task.score < task.points]
    if short:
        lines.append("\n## What to look at next\n")
    for task in short:
        lines.extend(_next_steps(task, task.task in blank, (anchors or {}).get(task.task, "")))
    if notes := [*result.repairs, *result.notes]:
        lines.append("\n## What the grader noted\n")
        lines.extend(f"- {_LINKS.sub(_entity, plain_line(note))}" for note in notes)
    cell = nbformat.v4.new_markdown_cell("\n".join(lines))
    cell["id"] = "grader-notes"
    cells.note_role(cell, "notes")
    return cell


def _next_steps(task: TaskResult, blank: bool, anchor: str) -> list[str]:
    """A task that lost points, as a list item: its points, where its answer is, what went wrong."""
    points = f"{points_text(task.score)} of {points_text(task.points)} points"
    where = f" ([your answer](#{anchor}))" if anchor else ""
    cause = BLANK if blank else common_cause(task)
    head = f"- **{escape(task.task)}**, {points}{where}"
    if cause is not None:
        return [f"{head}: {_as_text(cause)}"]
    hints = dict.fromkeys(t.hint for t in task.tests if t.hint and not t.passed)
    return [f"{head}:", *(f"    - {_prose(hint)}" for hint in hints)]


def _as_text(cause: str) -> str:
    """A cause in markdown: a line of the student's own is code, and nothing in it is a link or tag."""
    said, mark, line = cause.partition(": ")
    if not mark or not said.startswith("it raised"):
        return escape(cause)
    return f"{escape(said)}: <code>{_MARKDOWN.sub(_entity, line)}</code>"


def _entity(sign: re.Match[str]) -> str:
    return f"&#{ord(sign.group())};"


_UNGRADED_PAGE = """\
<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{assignment}: not graded</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<style>body {{ font: 16px/1.5 sans-serif; max-width: 42em; margin: 3em auto; padding: 0 1em }}</style>
</head><body>
<h1>{assignment}: not graded</h1>
<p>{reason}</p>
<p>No points were given or taken. Mend it and hand the notebook in again, or ask your instructor.</p>
</body></html>
"""


def ungraded_page(assignment: str, reason: str) -> str:
    """The page of a submission that could not be graded."""
    return _UNGRADED_PAGE.format(assignment=escape(assignment), reason=escape(reason))
