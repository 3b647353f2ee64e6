"""`autograder validate`: test the hidden tests on the solution, the release and the mistake bank."""

from __future__ import annotations

import argparse

from ..course import Assignment, Course, load_course
from ..terminal import CHECK_FAILED, DONE, progress

HELP = "test the hidden tests on the mistake bank"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("assignment", nargs="*", help="assignment ids (default: all built ones)")


def run(options: argparse.Namespace) -> int:
    """Validate, and print a report an assignment."""
    course = load_course(options.repository)
    names = options.assignment or [
        name for name in course.assignments if course.release_notebook(name).is_file()
    ]
    passed = [_validated(course, course.assignment(name)) for name in names]
    return DONE if all(passed) else CHECK_FAILED


def _validated(course: Course, assignment: Assignment) -> bool:
    from ..validate import validate

    with progress("validating") as shown:
        bar = shown.add_task("starting the sandbox", total=None)

        def tell(what: str, total: int) -> None:
            shown.update(bar, advance=1, total=total, description=what)

        report = validate(course, assignment, tell)
    print(report.text())
    return report.passed
