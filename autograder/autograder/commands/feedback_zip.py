"""`autograder feedback-zip`: all feedback pages of an assignment in one archive.

A page is <student>/<assignment>.html in it. With --moodle the folders are named as Moodle's
"Upload multiple feedback files in a zip" wants them.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from ..course import load_course, open_folder
from ..terminal import DONE, add_course, progress
from .export import destination, write_private

HELP = "pack all feedback pages for bulk return"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("assignment", help="assignment id, e.g. 01_mean_diff")
    parser.add_argument(
        "--moodle", type=Path, metavar="FILE", help="the grading worksheet that Moodle exported"
    )
    parser.add_argument(
        "--as-they-are",
        action="store_true",
        help="pack the pages without making them anew from the gradebook",
    )
    parser.add_argument("--to", type=Path, help="the archive to write (default: in exports/)")
    add_course(parser)


def run(options: argparse.Namespace) -> int:
    """Make the pages anew, pack them, and say who has none."""
    from ..exports.feedback_zip import feedback_zip, renew_pages
    from ..standings import standings

    folder = open_folder(options.course)
    course = load_course(options.repository or folder.repository())
    assignment = course.assignment(options.assignment)
    found = standings(folder, course, assignment)
    if not options.as_they_are:
        with progress("pages") as shown:
            bar = shown.add_task("", total=len(found))
            renew_pages(
                folder,
                assignment,
                found,
                lambda student: shown.update(bar, advance=1, description=student),
            )
    content, packed, left = feedback_zip(folder, assignment, found, options.moodle)
    target = destination(folder, options.to, f"{assignment.id}-feedback.zip")
    write_private(target, content)
    for sentence in left:
        print(f"  {sentence}")
    print(f"{len(packed)} pages: {target}")
    return DONE
