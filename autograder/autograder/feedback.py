"""What the student reads: a result's scores and hints inside the notebook's score cells.

Everything shown is either written by the course's authors (task names, hints) or already sanitised.
Hidden inputs and expected values are never in it: a failed test shows the misconception it points
to, the type of an exception, and the student's own line.
"""

from __future__ import annotations

import copy
from html import escape

import nbformat
from nbformat import NotebookNode

from . import cells
from .results import Result, TaskResult
from .sanitize import clean_markdown

_TASK_HTML = """\
<div style="border-left:4px solid {colour};padding:0.4em 0.9em;margin:0.3em 0;background:#fafafa">
<div style="font-weight:bold">{task}: {score} of {points} points</div>
{body}</div>"""
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


def task_html(task: TaskResult) -> str:
    """One task's score and hints as HTML."""
    lines = [f"<li>✓ {escape(_title(test.name))}</li>" for test in task.tests if test.passed]
    for test in (test for test in task.tests if not test.passed):
        detail = f"<br><code>{escape(test.detail)}</code>" if test.detail else ""
        hint = f": {escape(test.hint)}" if test.hint else ""
        lines.append(f"<li>✗ {escape(_title(test.name))}{hint}{detail}</li>")
    body = f"<ul style='list-style:none;padding-left:0.2em'>{''.join(lines)}</ul>" if lines else ""
    note = f"<p>{escape(task.note)}</p>" if task.note else ""
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
    lines = [head] + ([task.note] if task.note else [])
    for test in task.tests:
        hint = f": {test.hint}" if test.hint and not test.passed else ""
        lines.append(f"  {'passed' if test.passed else 'failed'}  {_title(test.name)}{hint}")
    return "\n".join(lines)


def _title(name: str) -> str:
    """`test_points_from_negative_to_positive` as words; a parameter id in brackets is dropped."""
    return name.removeprefix("test_").split("[")[0].replace("_", " ")


def score_output(task: TaskResult) -> NotebookNode:
    """The score cell's one output: nbgrader reads the number in its text, people read its HTML."""
    score = min(max(float(task.score), 0.0), float(task.points))
    return nbformat.v4.new_output(
        "execute_result",
        data={"text/plain": repr(score), "text/html": task_html(task)},
        execution_count=None,
    )


def graded_notebook(result: Result, clean: NotebookNode, release: NotebookNode) -> NotebookNode:
    """The notebook that goes into `autograded/`: the frozen outputs, scores, and our notes."""
    notebook = copy.deepcopy(clean)
    by_task = {task.task: task for task in result.tasks}
    original = {cell.get("id"): cell.source for cell in release.cells}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.execution_count = None
            for output in cell.outputs:
                if "image/png" in output.get("data", {}):
                    output.metadata["image/png"] = {"alt": "the figure that this cell drew"}
        elif cell.source != original.get(cell.get("id")):
            cell.source = clean_markdown(cell.source)
        if cells.role(cell) == cells.SCORE:
            cell.outputs = [score_output(by_task[str(cells.task(cell))])]
    notebook.cells.insert(0, notes_cell(result))
    return notebook


def notes_cell(result: Result) -> NotebookNode:
    """The cell at the top: the automatic score, and what was repaired or noticed."""
    lines = [
        f"**Automatic score: {points_text(result.score)} of {points_text(result.points)}.** "
        "Written questions are read by a person; until then the total is incomplete."
    ]
    hints = {
        task.task: list(dict.fromkeys(t.hint for t in task.tests if t.hint and not t.passed))
        for task in result.tasks
    }
    if any(hints.values()):
        lines.append("\nWhat to look at next:\n")
        for task, said in hints.items():
            lines.extend(f"- **{escape(task)}**: {escape(hint)}" for hint in said)
    if notes := [*result.repairs, *result.notes]:
        lines.append("\nThe grader noted:\n")
        lines.extend(f"- {escape(note)}" for note in notes)
    cell = nbformat.v4.new_markdown_cell("\n".join(lines))
    cell["id"] = "grader-notes"
    cells.note_role(cell, "notes")
    return cell


_UNGRADED_PAGE = """\
<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{assignment}: not graded</title>
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
