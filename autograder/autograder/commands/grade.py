"""`autograder grade`: grade every submission of an assignment."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from ..course import Course, CourseFolder, load_course, open_folder
from ..terminal import DONE, MACHINERY_FAILED, add_course, positive, progress

if TYPE_CHECKING:
    from ..grade import Row
    from ..workers import Workers

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


def run(options: argparse.Namespace) -> int:
    """Grade, and print the table."""
    from ..workers import Workers

    folder = open_folder(options.course)
    course = load_course(options.repository or folder.repository())
    assignment = course.assignment(options.assignment)
    private = (folder.root,)
    with Workers(course, assignment, private, options.workers, options.scheduler) as workers:
        return grade_and_print(folder, course, assignment.id, workers)


def grade_and_print(folder: CourseFolder, course: Course, assignment: str, workers: Workers) -> int:
    """Grade a course folder's submissions with a progress bar, then print the table."""
    from ..grade import Batch

    batch = Batch(folder, course, assignment, workers)
    rows = []
    with progress("grading") as shown:
        bar = shown.add_task("starting the sandbox", total=len(batch))
        for row in batch.run():
            rows.append(row)
            shown.update(bar, advance=1, description=row.student)
    print_rows(sorted(rows, key=lambda row: row.student))
    print(f"Isolation: {batch.isolation}")
    print(f"Feedback pages: {folder.feedback}/<student>/{assignment}/{assignment}.html")
    print(f"Gradebook: {folder.gradebook}")
    return MACHINERY_FAILED if any(row.machinery_failed for row in rows) else DONE


def print_rows(rows: list[Row]) -> None:
    """The class as a table: student, automatic score, status."""
    from ..feedback import points_text

    table = Table(show_edge=False, pad_edge=False)
    table.add_column("student")
    table.add_column("score", justify="right")
    table.add_column("status", overflow="fold")
    for row in rows:
        score = "–" if row.score is None else f"{points_text(row.score)}/{points_text(row.points)}"
        table.add_row(row.student, score, row.remark)
    console = Console()
    if not console.is_terminal:
        console = Console(width=110)
    console.print(table)
