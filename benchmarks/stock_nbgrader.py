"""The same assignment as stock nbgrader would grade it: hidden tests pasted into the score cells.

nbgrader has no way to call a student's function from outside, so each score cell holds the hidden
tests' source and a few lines that run the tests of its task in the student's own kernel.
"""

from __future__ import annotations

import copy
import inspect
from pathlib import Path
from typing import Any

import nbformat
from autograder.course import Assignment, Course
from nbformat import NotebookNode

from autograder import cells


class LocalStudent:
    """The `student` fixture without a sandbox: calls go straight to the notebook's functions."""

    def __init__(self, namespace: dict[str, Any], error: type[Exception]) -> None:
        self._namespace, self._error = namespace, error

    def __getattr__(self, name: str) -> Any:
        if name == "model":
            return self._namespace["model"]
        return LocalHandle(self._namespace[name], self._error)

    def call_keeping(self, name: str, *args: Any, **kwargs: Any) -> Any:
        return getattr(self, name).call_keeping(*args, **kwargs)


class LocalHandle:
    """A function of the notebook; its exceptions become what the hidden tests expect."""

    def __init__(self, function: Any, error: type[Exception]) -> None:
        self._function, self._error = function, error

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        plain = [a._function if isinstance(a, LocalHandle) else a for a in args]
        try:
            return self._wrapped(self._function(*plain, **kwargs))
        except Exception as problem:
            name = type(problem).__name__
            raise self._error(name, name) from None

    def call_keeping(self, *args: Any, **kwargs: Any) -> Any:
        return self(*args, **kwargs), args

    def _wrapped(self, value: Any) -> Any:
        if isinstance(value, list | tuple):
            return type(value)(self._wrapped(item) for item in value)
        return LocalHandle(value, self._error) if callable(value) else value


def score_in_kernel(tests: dict[str, Any], task: str, points: float, student: Any) -> float:
    """Run the hidden tests of one task here; returns the points earned."""
    import hashlib
    import inspect

    import torch

    seed = int.from_bytes(hashlib.sha256(task.encode()).digest()[:7], "big")
    total = earned = 0.0
    for function in [f for name, f in tests.items() if name.startswith("test_")]:
        (mark,) = [m for m in function.pytestmark if m.name == "steerlab_task"]
        if mark.args[0] != task:
            continue
        total += mark.kwargs["weight"]
        offered = {
            "student": lambda: student,
            "seed": lambda: seed,
            "rng": lambda: torch.Generator().manual_seed(seed),
            "model": lambda: student.model,
        }
        wanted = {name: offered[name]() for name in inspect.signature(function).parameters}
        try:
            function(**wanted)
        except AssertionError:
            continue
        earned += mark.kwargs["weight"]
    return points * earned / total


def stock_notebook(source: NotebookNode, course: Course, assignment: Assignment) -> NotebookNode:
    """The source notebook with pasted tests and without the cells that grading leaves out."""
    notebook = copy.deepcopy(source)
    notebook.cells = [
        cell
        for cell in notebook.cells
        if cells.role_of_release_cell(cell)[0] not in (cells.EXPLORE, cells.INSTALL)
    ]
    tests = course.hidden_tests(assignment.id).read_text("utf-8")
    tests = tests.replace("from __future__ import annotations\n", "\n")
    helpers = "\n\n".join(
        inspect.getsource(thing) for thing in (LocalStudent, LocalHandle, score_in_kernel)
    )
    for cell in notebook.cells:
        role, task = cells.role_of_release_cell(cell)
        if role == cells.SCORE:
            points = assignment.tasks[str(task)]
            cell.source = "\n".join(
                [
                    "### BEGIN HIDDEN TESTS",
                    f"_tests = {{'Any': object}}\nexec({helpers + tests!r}, _tests)",
                    f"_tests['score_in_kernel'](_tests, {task!r}, {points}, "
                    "_tests['LocalStudent'](globals(), _tests['StudentError']))",
                    "### END HIDDEN TESTS",
                ]
            )
    return notebook


def stock_submission(release: NotebookNode, answers: NotebookNode) -> NotebookNode:
    """A stock release filled with the answers of one of our submissions."""
    notebook = copy.deepcopy(release)
    by_task = {
        cells.role_of_release_cell(cell)[1]: cell.source
        for cell in answers.cells
        if cells.role_of_release_cell(cell)[0] == cells.ANSWER
    }
    for cell in notebook.cells:
        role, task = cells.role_of_release_cell(cell)
        if role == cells.ANSWER:
            cell.source = by_task[task]
    return notebook


def write(notebook: NotebookNode, path: Path) -> None:
    """Write a notebook, making its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, path)
