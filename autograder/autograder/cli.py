"""The `autograder` command: build, init, grade, demo, validate.

Exit codes: 0 done; 1 a check failed (a build's or a validation's); 2 wrong use, or something that
must be mended first; 3 some submissions were left ungraded by a failure of the machinery.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from .course import Course, CourseError, CourseFolder, load_course, open_folder

if TYPE_CHECKING:
    from .grade import Row
    from .workers import Workers

#: The assignment that the example class hands in.
EXAMPLE = "01_mean_diff"
DONE, CHECK_FAILED, MEND_FIRST, MACHINERY_FAILED = 0, 1, 2, 3


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    top = argparse.ArgumentParser(
        prog="autograder", description="Build, grade and check the steerlab assignments."
    )
    top.add_argument(
        "--repository", type=Path, help="the course repository (default: found from here)"
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    build = commands.add_parser("build", help="make solution and release notebooks")
    build.add_argument("assignment", nargs="*", help="assignment ids (default: all)")
    build.add_argument("--no-run", action="store_true", help="leave the executed solution as it is")

    init = commands.add_parser("init", help="make a private course folder")
    init.add_argument("folder", type=Path, help="a new folder outside the repository")

    grade = commands.add_parser("grade", help="grade every submission of an assignment")
    grade.add_argument("assignment", help="assignment id, e.g. 01_mean_diff")
    grade.add_argument("--course", type=Path, help="the course folder (default: the current one)")
    grade.add_argument(
        "--workers", type=_positive, help="submissions at once (default: one for each core)"
    )
    grade.add_argument(
        "--scheduler",
        metavar="tcp://HOST:PORT",
        help="a Dask scheduler whose workers have this course, instead of this machine's cores",
    )

    demo = commands.add_parser("demo", help="grade the example class in a scratch course folder")
    demo.add_argument("folder", type=Path, nargs="?", help="where (default: a new temporary one)")

    validate = commands.add_parser("validate", help="test the hidden tests on the mistake bank")
    validate.add_argument("assignment", nargs="*", help="assignment ids (default: all built ones)")
    return top


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 up")
    return int(text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    options = parser().parse_args(arguments)
    # One thread for the hidden tests' own arithmetic: the same sums every time, and no spinning.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Imported here: `autograder --help` need not wait for nbgrader and the sandbox.
    from .sandbox import SandboxUnavailable

    try:
        run = {
            "build": _build,
            "init": _init,
            "grade": _grade,
            "demo": _demo,
            "validate": _validate,
        }
        return run[options.command](options)
    except (CourseError, SandboxUnavailable) as error:
        print(f"autograder: {error}", file=sys.stderr)
        return getattr(error, "exit_code", MEND_FIRST)
    except KeyboardInterrupt:
        print("autograder: stopped; what was graded is kept.", file=sys.stderr)
        return 130


def _build(options: argparse.Namespace) -> int:
    from .build import build

    course = load_course(options.repository)
    for name in options.assignment or course.assignments:
        for path in build(course, course.assignment(name), run=not options.no_run):
            print(path.relative_to(course.repository))
    return DONE


def _init(options: argparse.Namespace) -> int:
    from .init import init

    folder = init(options.folder, load_course(options.repository))
    print(f"Course folder: {folder.root}")
    print(f"Lay submissions out as {folder.submitted}/<student>/<assignment>/<assignment>.ipynb,")
    print(f"then: autograder grade <assignment> --course {folder.root}")
    return DONE


def _grade(options: argparse.Namespace) -> int:
    from .workers import Workers

    folder = open_folder(options.course)
    course = load_course(options.repository or folder.repository())
    assignment = course.assignment(options.assignment)
    private = (folder.root,)
    with Workers(course, assignment, private, options.workers, options.scheduler) as workers:
        return grade_and_print(folder, course, assignment.id, workers)


def _demo(options: argparse.Namespace) -> int:
    from .workers import Workers

    course = load_course(options.repository)
    example = course.repository / "autograder" / "example_class" / "submitted"
    root = options.folder or Path(tempfile.mkdtemp(prefix="steerlab-demo-"))
    with Workers(course, course.assignment(EXAMPLE), (root.resolve(),)) as workers:
        workers.launch()  # it takes as long as all that follows up to the first submission
        from .init import init

        folder = init(root, course)
        shutil.copytree(example, folder.submitted, dirs_exist_ok=True)
        print(f"The example class, graded in {folder.root} (the repository stays as it is)")
        return grade_and_print(folder, course, EXAMPLE, workers)


def grade_and_print(folder: CourseFolder, course: Course, assignment: str, workers: Workers) -> int:
    """Grade a course folder's submissions with a progress bar, then print the table."""
    from .grade import Batch

    batch = Batch(folder, course, assignment, workers)
    rows = []
    with _progress("grading") as progress:
        bar = progress.add_task("starting the sandbox", total=len(batch))
        for row in batch.run():
            rows.append(row)
            progress.update(bar, advance=1, description=row.student)
    _print_rows(sorted(rows, key=lambda row: row.student))
    print(f"Isolation: {batch.isolation}")
    print(f"Feedback pages: {folder.feedback}/<student>/{assignment}/{assignment}.html")
    print(f"Gradebook: {folder.gradebook}")
    return MACHINERY_FAILED if any(row.machinery_failed for row in rows) else DONE


def _progress(verb: str) -> Progress:
    """A bar on the terminal's error stream: how many of how many, whose, and the time left."""
    return Progress(
        TextColumn(verb),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )


def _print_rows(rows: list[Row]) -> None:
    from .feedback import points_text

    table = Table(show_edge=False, pad_edge=False)
    table.add_column("student")
    table.add_column("score", justify="right")
    table.add_column("status", overflow="fold")
    for row in rows:
        score = "–" if row.score is None else f"{points_text(row.score)}/{points_text(row.points)}"
        table.add_row(row.student, score, row.remark)
    Console(width=None if sys.stdout.isatty() else 110).print(table)


def _validate(options: argparse.Namespace) -> int:
    from .validate import validate

    course = load_course(options.repository)
    names = options.assignment or [
        name for name in course.assignments if course.release_notebook(name).is_file()
    ]
    failed = False
    for name in names:
        with _progress("validating") as progress:
            bar = progress.add_task("starting the sandbox", total=None)

            def tell(
                what: str, total: int, bar: TaskID = bar, progress: Progress = progress
            ) -> None:
                progress.update(bar, advance=1, total=total, description=what)

            report = validate(course, course.assignment(name), tell)
        print(report.text())
        failed = failed or not report.passed
    return CHECK_FAILED if failed else DONE


if __name__ == "__main__":
    sys.exit(main())
