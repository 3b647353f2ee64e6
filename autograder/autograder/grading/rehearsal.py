"""The course's own solution, graded before the class: on this machine, and under the class's draws.

All students of a class share the random inputs of the hidden tests. A draw that is unfair, a test
that raises or a package that has changed would take the same points from everybody, and look like a
hard assignment. So no mark is recorded before the solution has full marks.

The solution runs alone: no student's process is there while its text is in the sandbox.
"""

from __future__ import annotations

from nbformat import NotebookNode

from ..course import Assignment, Course, CourseError
from ..intake import Clean, clean_notebook
from ..results import GRADED, Result, TaskResult
from .feedback import points_text

MOST_NAMED = 3  # hidden tests that the message names


class SolutionLosesPoints(CourseError):
    """The course's own solution does not get full marks, so nobody's mark can be trusted."""


class SolutionUngraded(CourseError):
    """The machinery could not grade the course's own solution."""

    exit_code = 3


def solution_of(course: Course, assignment: Assignment, release: NotebookNode) -> Clean:
    """The solution as a clean notebook; raises CourseError where its source is missing or broken."""
    # Imported here: it brings nbgrader, which takes seconds.
    from ..build import read_source

    return clean_notebook(read_source(course, assignment), assignment.id, release)


def require_full_marks(result: Result, course: Course) -> None:
    """Raise what stops a class from being graded, where the solution's result is not full marks."""
    name = result.assignment
    if result.status != GRADED:
        raise SolutionUngraded(
            f"The course's own solution of {name} could not be graded, so no submission was: "
            f"{result.reason}"
        )
    lost = [task for task in result.tasks if task.score < task.points]
    if not lost:
        return
    tests = [test.name for task in lost for test in task.tests if not test.passed]
    raise SolutionLosesPoints(
        f"The course's own solution of {name} loses points here, and every student would: "
        f"{', '.join(_points(task) for task in lost)}{_named(tests)}. Nothing was recorded. "
        f"Mend {course.hidden_tests(name)} (any change of it gives the class new draws), the "
        f"solution or the packages (constraints.txt); `autograder validate {name}` tells more."
    )


def _points(task: TaskResult) -> str:
    return f"{task.task} {points_text(task.score)}/{points_text(task.points)}"


def _named(tests: list[str]) -> str:
    if not tests:
        return ""
    more = len(tests) - MOST_NAMED
    return f" ({', '.join(tests[:MOST_NAMED])}{f' and {more} more' if more > 0 else ''})"
