"""`autograder grade`: grade every submission of an assignment."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..course import Course, CourseError, CourseFolder, load_course, open_folder
from ..terminal import (
    DONE,
    MACHINERY_FAILED,
    add_course,
    add_weaker_sandbox,
    positive,
    progress,
)

if TYPE_CHECKING:
    from ..grading.grade import Batch, Row
    from ..grading.regrade import Change
    from ..grading.workers import Workers

HELP = "grade every submission of an assignment"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("assignment", help="assignment id, e.g. 01_mean_diff")
    add_course(parser)
    parser.add_argument(
        "--workers", type=positive, help="submissions at once (default: one for each core)"
    )
    parser.add_argument(
        "--scheduler",
        metavar="tcp://HOST:PORT",
        help="a Dask scheduler whose workers have this course, instead of this machine's cores",
    )
    add_weaker_sandbox(parser)
    parser.add_argument(
        "--regrade",
        action="store_true",
        help="run everything with today's tests and show each mark that would change",
    )
    parser.add_argument("--apply", action="store_true", help="with --regrade: write the changes")
    parser.add_argument(
        "--never-lower", action="store_true", help="with --regrade: leave marks that would fall"
    )


def run(options: argparse.Namespace) -> int:
    """Grade, and print the table."""
    if (options.apply or options.never_lower) and not options.regrade:
        raise CourseError("--apply and --never-lower go with --regrade.")
    from ..grading.grade import Batch
    from ..grading.workers import Workers

    folder = open_folder(options.course)
    course = load_course(options.repository or folder.repository())
    assignment = course.assignment(options.assignment)
    with Workers(
        course,
        assignment,
        (folder.root,),
        options.workers,
        options.scheduler,
        options.allow_weaker_sandbox,
    ) as workers:
        if options.regrade:
            batch = Batch(folder, course, assignment.id, workers)
            return regrade_and_print(batch, options.apply, options.never_lower)
        return grade_and_print(folder, course, assignment.id, workers)


def grade_and_print(folder: CourseFolder, course: Course, assignment: str, workers: Workers) -> int:
    """Grade a course folder's submissions with a progress bar, then print the table."""
    from ..grading.grade import Batch

    batch = Batch(folder, course, assignment, workers)
    rows = []
    with progress("grading") as shown:
        bar = shown.add_task("the sandbox, then the solution", total=len(batch))
        for row in batch.run():
            rows.append(row)
            shown.update(bar, advance=1, description=row.student)
    print_rows(sorted(rows, key=lambda row: row.student))
    print(f"Isolation: {batch.isolation}")
    print(f"Feedback pages: {folder.feedback}/<student>/{assignment}/{assignment}.html")
    print(f"Gradebook: {folder.gradebook}")
    return MACHINERY_FAILED if any(row.machinery_failed for row in rows) else DONE


def regrade_and_print(batch: Batch, apply: bool, never_lower: bool) -> int:
    """Regrade with a progress bar, then print what changes, or would."""
    from ..grading.regrade import regrade

    changes = []
    with progress("regrading") as shown:
        bar = shown.add_task("the sandbox, then the solution", total=len(batch))
        for change in regrade(batch, apply, never_lower):
            changes.append(change)
            shown.update(bar, advance=1, description=change.student)
    changes.sort(key=lambda change: change.student)
    print_changes(changes)
    written = sum(change.written for change in changes)
    differ = sum(change.differs and not change.kept for change in changes)
    if apply:
        print(
            f"{differ} of {len(changes)} marks changed; {written} submissions were recorded anew."
        )
    elif differ:
        print(f"{differ} of {len(changes)} marks would change. Nothing was written: add --apply.")
    else:
        print(f"None of {len(changes)} marks would change.")
    return MACHINERY_FAILED if any(change.machinery_failed for change in changes) else DONE


def print_changes(changes: list[Change]) -> None:
    """The marks that differ, task by task, and what could not be graded."""
    from ..grading.feedback import points_text

    def shown(score: float | None) -> str:
        return "–" if score is None else points_text(score)

    table = Table("student", "task", show_edge=False, pad_edge=False)
    for column in ("recorded", "now"):
        table.add_column(column, justify="right")
    table.add_column("", overflow="fold")
    for change in changes:
        for task, old, new in change.tasks if change.differs else ():
            remark = "left: the recorded mark is higher" if change.kept else ""
            table.add_row(change.student, task, shown(old), shown(new), remark)
        if change.problem:
            table.add_row(change.student, "", "", "", plain(f"not graded: {change.problem}"))
    if table.row_count:
        wide_enough().print(table)


def print_rows(rows: list[Row]) -> None:
    """The class as a table: student, automatic score, status."""
    from ..grading.feedback import points_text

    table = Table(show_edge=False, pad_edge=False)
    table.add_column("student")
    table.add_column("score", justify="right")
    table.add_column("status", overflow="fold")
    for row in rows:
        score = "–" if row.score is None else f"{points_text(row.score)}/{points_text(row.points)}"
        table.add_row(plain(row.student), score, plain(row.remark))
    wide_enough().print(table)


def plain(text: str) -> Text:
    """Text as a terminal shows it: what quotes a file's name may hold markup and control codes."""
    return Text("".join(sign for sign in text if sign.isprintable()))


def wide_enough() -> Console:
    """The terminal, or 110 columns where the output goes into a file."""
    console = Console()
    return console if console.is_terminal else Console(width=110)
