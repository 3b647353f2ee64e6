"""`autograder publish DEST`: the copy of the course that students get, after a search for leaks."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..course import load_course
from ..terminal import DONE

HELP = "write the students' copy of the course"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("destination", type=Path, help="a new folder, or an earlier copy")
    parser.add_argument(
        "--assignment",
        action="append",
        metavar="ID",
        help="publish this assignment (may be given again; default: all that are built)",
    )


def run(options: argparse.Namespace) -> int:
    """Publish, and say what is there."""
    from ..publish import publish

    done = publish(load_course(options.repository), options.destination, options.assignment)
    print(f"{len(done.files)} files in {options.destination}, none of them leaks")
    print(f"Assignments: {', '.join(done.assignments)}")
    if done.removed:
        print(f"Taken away, as the course has them no more: {', '.join(done.removed)}")
    return DONE
