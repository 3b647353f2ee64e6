"""`autograder report`: the class report of an assignment, as one HTML page that names nobody."""

from __future__ import annotations

import argparse

from ..course import load_course, open_folder
from ..terminal import DONE, add_course

HELP = "write the class report of an assignment"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("assignment", help="assignment id, e.g. 01_mean_diff")
    add_course(parser)
    parser.add_argument(
        "--names", action="store_true", help="write too who is who: names.csv, beside the page"
    )
    parser.add_argument(
        "--similarity",
        action="store_true",
        help="write too which submissions are alike, side by side: similarity.html",
    )


def run(options: argparse.Namespace) -> int:
    """Write the files, and say where they are."""
    from ..report import write_report

    folder = open_folder(options.course)
    course = load_course(options.repository or folder.repository())
    assignment = course.assignment(options.assignment)
    for path in write_report(
        folder, course, assignment, names=options.names, similarity=options.similarity
    ):
        print(path)
    return DONE
