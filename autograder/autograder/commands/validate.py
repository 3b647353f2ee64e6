"""`autograder validate`: test the hidden tests on right answers, wrong ones and mutants."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..course import Assignment, Course, CourseError, load_course
from ..terminal import CHECK_FAILED, DONE, add_weaker_sandbox, positive, progress

if TYPE_CHECKING:
    from ..validation.validate import Plan
    from ..validation.verdict import Report

HELP = "test the hidden tests on the solution, the mistake bank and automatic mutants"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("assignment", nargs="*", help="assignment ids (default: all built ones)")
    parser.add_argument("--all", action="store_true", help="every assignment that is built")
    parser.add_argument(
        "--task",
        action="append",
        default=[],
        metavar="TASK",
        help="this task alone; may be repeated",
    )
    parser.add_argument(
        "--quick", action="store_true", help="few draws and a sample of the mutants, as in CI"
    )
    parser.add_argument("--seeds", type=positive, help="draws of right answers (100)")
    parser.add_argument("--wrong-seeds", type=positive, help="draws of wrong answers (20)")
    parser.add_argument("--mutant-seeds", type=positive, help="draws of mutants (3)")
    parser.add_argument("--mutants", type=_count, help="how many mutants (all of them)")
    parser.add_argument("--workers", type=positive, help="processes (default: one for each core)")
    add_weaker_sandbox(parser)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to a file")


def _count(text: str) -> int:
    """A whole number from 0 up; raises ArgumentTypeError."""
    return 0 if text == "0" else positive(text)


def run(options: argparse.Namespace) -> int:
    """Validate, and print a report for each assignment; 1 where anything is not as it must be."""
    course = load_course(options.repository)
    if options.all and options.assignment:
        raise CourseError("Name assignments, or say --all: not both.")
    assignments = [course.assignment(name) for name in options.assignment]
    for assignment in assignments:
        if not course.release_notebook(assignment.id).is_file():
            path = course.release_notebook(assignment.id)
            raise CourseError(f"{path} is missing. Make it: autograder build {assignment.id}")
    if options.task:
        _check_tasks(assignments, options.task)
    if not assignments:
        built = [a for a in course.assignments.values() if course.release_notebook(a.id).is_file()]
        assignments = built
    reports = [_validated(course, assignment, options) for assignment in assignments]
    if options.json:
        figures = {report.assignment: report.as_json() for report in reports}
        options.json.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return DONE if all(report.passed for report in reports) else CHECK_FAILED


def _check_tasks(assignments: list[Assignment], tasks: list[str]) -> None:
    """Raise CourseError where these are not tasks of one assignment."""
    if len(assignments) != 1:
        raise CourseError("--task goes with one assignment: name it.")
    known = assignments[0].tasks
    if unknown := [task for task in tasks if task not in known]:
        raise CourseError(
            f"{assignments[0].id} has no task {unknown[0]!r}: it has {', '.join(known)}."
        )


def _plan(options: argparse.Namespace) -> Plan:
    from ..validation.validate import QUICK, Plan

    names = ("seeds", "wrong_seeds", "mutant_seeds", "mutants")
    chosen = {name: getattr(options, name) for name in names}
    given = {name: value for name, value in chosen.items() if value is not None}
    return replace(QUICK if options.quick else Plan(), tasks=tuple(options.task), **given)


def _validated(course: Course, assignment: Assignment, options: argparse.Namespace) -> Report:
    from ..validation.validate import validate

    with progress(f"validating {assignment.id}") as shown:
        bar = shown.add_task("starting the sandbox", total=None)

        def tell(what: str, total: int) -> None:
            shown.update(bar, advance=1, total=total, description=what)

        weaker = options.allow_weaker_sandbox
        report = validate(course, assignment, _plan(options), tell, options.workers, weaker)
    print(report.text(), flush=True)
    return report
