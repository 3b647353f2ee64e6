"""`autograder export`: final scores as a table, or filled into the file that an LMS exported.

csv: everything by task, with raw total, late penalty and final score. gradescope: the columns of
Gradescope's "Download Grades". canvas: fills the gradebook that Canvas exported, named with --into.
moodle: fills the grading worksheet that Moodle exported, named with --into.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ..course import CourseError, CourseFolder, load_course, open_folder
from ..terminal import DONE, add_course

HELP = "write final scores for an LMS"
LMS = ("canvas", "moodle")


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("assignment", help="assignment id, e.g. 01_mean_diff")
    parser.add_argument(
        "--format", choices=["csv", "gradescope", *LMS], default="csv", help="default: csv"
    )
    parser.add_argument(
        "--into", type=Path, metavar="FILE", help="the file that Canvas or Moodle exported"
    )
    parser.add_argument("--column", help="canvas: the column's title, where it is not the id")
    parser.add_argument(
        "--scale", action="store_true", help="scale scores to the maximum that the LMS has"
    )
    parser.add_argument("--to", type=Path, help="the file to write (default: in exports/)")
    add_course(parser)


def run(options: argparse.Namespace) -> int:
    """Write the file, and say who is not in it."""
    from ..exports.canvas import fill_canvas
    from ..exports.moodle import fill_moodle
    from ..exports.sheet import Filled
    from ..exports.tables import gradescope_table, plain_table
    from ..standings import standings

    lms = options.format in LMS
    if lms != (options.into is not None):
        need = "needs --into FILE, the file that it exported" if lms else "takes no --into"
        raise CourseError(f"--format {options.format} {need}.")
    if options.column is not None and options.format != "canvas":
        raise CourseError("--column goes with --format canvas.")
    if options.scale and not lms:
        raise CourseError("--scale goes with --format canvas and moodle.")
    folder = open_folder(options.course)
    course = load_course(options.repository or folder.repository())
    assignment = course.assignment(options.assignment)
    found = standings(folder, course, assignment)
    if options.format == "canvas":
        filled = fill_canvas(options.into, assignment, found, options.column, options.scale)
    elif options.format == "moodle":
        filled = fill_moodle(options.into, assignment, found, options.scale)
    else:
        make = gradescope_table if options.format == "gradescope" else plain_table
        final = [standing for standing in found if standing.final is not None]
        waiting = [f"{s.student}: {s.status} ({s.why})" for s in found if s.final is None]
        filled = Filled(make(assignment, found), [s.student for s in final], waiting)
    name = options.into.name if options.into else f"{assignment.id}-{options.format}.csv"
    target = destination(folder, options.to, name)
    if options.into and target.resolve() == options.into.resolve():
        raise CourseError(f"{target} is the file that the LMS exported: name another with --to.")
    write_private(target, filled.text.encode())
    for sentence in filled.left:
        print(f"  {sentence}")
    print(f"Final scores: {len(filled.written)}; without: {len(filled.left)}; file: {target}")
    return DONE


def destination(folder: CourseFolder, wanted: Path | None, name: str) -> Path:
    """The file to write: where it was asked for, else in the course folder's exports."""
    if wanted is not None:
        if not wanted.parent.is_dir():
            raise CourseError(f"{wanted.parent} does not exist.")
        return wanted
    exports = folder.root / "exports"
    exports.mkdir(mode=0o700, exist_ok=True)
    return exports / name


def write_private(path: Path, content: bytes) -> None:
    """Write a file that its owner alone can read; raises CourseError."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError as error:
        raise CourseError(f"{path} cannot be written: {error.strerror}.") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
