"""`autograder build`: make solution and release notebooks."""

from __future__ import annotations

import argparse

from ..course import load_course
from ..terminal import DONE

HELP = "make solution and release notebooks"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("assignment", nargs="*", help="assignment ids (default: all)")
    parser.add_argument(
        "--no-run", action="store_true", help="leave the executed solution as it is"
    )


def run(options: argparse.Namespace) -> int:
    """Build, and print what was written."""
    from ..build import build

    course = load_course(options.repository)
    for name in options.assignment or course.assignments:
        for path in build(course, course.assignment(name), run=not options.no_run):
            print(path.relative_to(course.repository))
    return DONE
