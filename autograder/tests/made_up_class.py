"""A graded class without a sandbox: results are made up, everything after them is the real path."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import nbformat
from autograder.course import Course, CourseFolder
from autograder.grading.grade import Row
from autograder.grading.session import GradingSession
from autograder.init import init
from autograder.intake import take_in
from autograder.results import GRADED, Result, TaskResult, TestResult, environment_of
from toy_course import answer, grade_class, hand_in, make_toy_course, release

TESTS = {
    "double": [
        ("test_doubles_a_positive_number", 1, "Doubling adds a number to itself."),
        ("test_doubles_a_negative_number", 1, "Negative numbers double too."),
    ],
    "shift": [
        ("test_shifts_by_both", 2, "The course's OFFSET belongs to every shift."),
        ("test_shifts_by_nothing", 1, "A shift by nothing still moves by OFFSET."),
    ],
}
#: More code in a notebook, of a length at which two notebooks with it are alike.
COPIED = """
def plot_all(values, labels):
    rows = []
    for label, value in zip(labels, values):
        bar = "#" * int(value * 40)
        rows.append(f"{label:>12} {bar} {value:.2f}")
    width = max(len(row) for row in rows)
    print("-" * width)
    for row in sorted(rows, key=len, reverse=True):
        print(row.ljust(width), end="|")
"""
#: What a student may write for each task, and which of its tests that passes.
ANSWERS = {
    "double": {
        "right": ("def double(x):\n    return 2 * x\n", (True, True), ""),
        "sum": ("def double(x):\n    return sum((x, x))\n", (True, True), ""),
        "positive": ("def double(x):\n    return abs(2 * x)\n", (True, False), ""),
        "raises": (
            "def double(x):\n    raise KeyError(x)\n",
            (False, False),
            "it raised KeyError at line 3: raise KeyError(x)",
        ),
    },
    "shift": {
        "right": ("def shift(x, by):\n    return x + by + OFFSET\n", (True, True), ""),
        "other": ("def shift(x, by):\n    return OFFSET + by + x\n", (True, True), ""),
        "offset": ("def shift(x, by):\n    return x + by\n", (False, False), ""),
        "nothing": ("def shift(x, by):\n    return x + by + 3 * bool(by)\n", (True, False), ""),
    },
}
POINTS = {"double": 2.0, "shift": 3.0}
BLANK = "blank"


def notebook_of(
    course: Course, double: str, shift: str, extra: str = "", written: str = ""
) -> nbformat.NotebookNode:
    """A submission with these answers, a cell of its author's own, and a text to be read."""
    notebook = release(course)
    for task, name in (("double", double), ("shift", shift)):
        if name != BLANK:
            answer(notebook, task, f"# graded: 01_toy/{task}\n{ANSWERS[task][name][0]}")
    if written:
        answer_cell = next(c for c in notebook.cells if "01_toy/written" in c.source)
        answer_cell.source = f"<!-- graded: 01_toy/written -->\n{written}"
    if extra:
        notebook.cells.append(nbformat.v4.new_code_cell(extra))
    return notebook


def tasks_of(double: str, shift: str, seconds: float | None = None) -> tuple[TaskResult, ...]:
    """What the toy course's hidden tests give these answers; seconds: what their cells take."""
    results = []
    for task, name in (("double", double), ("shift", shift)):
        missing = "it raised NotImplementedError at line 5: raise NotImplementedError()"
        _, passed, detail = ANSWERS[task].get(name, ("", (False, False), missing))
        tests = tuple(
            TestResult(test, weight, ok, hint, "" if ok else detail)
            for (test, weight, hint), ok in zip(TESTS[task], passed, strict=True)
        )
        weights = sum(test.weight for test in tests)
        score = POINTS[task] * sum(test.weight for test in tests if test.passed) / weights
        times = {"cell_seconds": seconds, "test_seconds": seconds and seconds / 10}
        results.append(TaskResult(task, POINTS[task], round(score, 6), tests, **times))
    return tuple(results)


class MadeUpClass:
    """A course folder whose submissions have made-up results; `grade` records them."""

    def __init__(self, root: Path) -> None:
        self.course = make_toy_course(root / "course")
        self.folder: CourseFolder = init(root / "class", self.course)
        self.assignment = self.course.assignment("01_toy")
        # Held fast: results must be found again even where a source file is saved meanwhile.
        self.environment = environment_of(self.course, self.assignment)

    def add(
        self,
        student: str,
        double: str,
        shift: str,
        extra: str = "",
        written: str = "",
        seconds: float | None = 1.0,
    ) -> str:
        """Hand in a notebook and keep its result; the result's key."""
        notebook = notebook_of(self.course, double, shift, extra, written)
        hand_in(self.folder.root, student, notebook)
        with self._same_environment():
            session = GradingSession(self.folder, self.course, self.assignment)
        submitted = self.folder.submitted / student / "01_toy"
        clean = take_in(submitted, "01_toy", session.release)
        result = Result(
            key=session.key(clean.notebook),
            assignment="01_toy",
            status=GRADED,
            tasks=tasks_of(double, shift, seconds),
            notebook=nbformat.writes(clean.notebook),
            compute_seconds=seconds or 1.0,
            wall_seconds=2 * (seconds or 1.0),
            record={"environment": session.environment},
        )
        session.keep(result)
        return result.key

    def grade(self) -> dict[str, Row]:
        """Record what was added, through the gradebook, pages and ledger."""
        with self._same_environment():
            return grade_class(self.folder, self.course, "01_toy")

    def _same_environment(self):
        return mock.patch(
            "autograder.grading.session.environment_of", return_value=self.environment
        )
