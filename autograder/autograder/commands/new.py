"""`autograder new ID`: the skeleton of an assignment, small and complete, to be turned into another."""

from __future__ import annotations

import argparse

from ..course import load_course
from ..terminal import DONE

HELP = "begin an assignment from a small one that works"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("assignment", metavar="ID", help="two digits and a topic: 08_my_topic")
    parser.add_argument("--title", help="what students read (default: made from the id)")


def run(options: argparse.Namespace) -> int:
    """Write the skeleton, and say what comes next."""
    from ..new import new

    course = load_course(options.repository)
    for path in new(course, options.assignment, options.title):
        print(path.relative_to(course.repository))
    print(f"Then: autograder build {options.assignment}")
    print(f"      autograder validate {options.assignment} --quick")
    return DONE
