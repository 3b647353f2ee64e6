"""`autograder gradescope-package`: the zip that makes Gradescope grade an assignment as we do."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..course import load_course, open_folder
from ..terminal import DONE, add_course, add_weaker_sandbox

HELP = "make the autograder package to upload to Gradescope"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("assignment", help="assignment id, e.g. 01_mean_diff")
    parser.add_argument(
        "destination",
        nargs="?",
        type=Path,
        metavar="DEST.zip",
        help="the zip to write (default: <assignment>-gradescope.zip here)",
    )
    add_course(parser)
    add_weaker_sandbox(parser)
    parser.add_argument(
        "--pip-config",
        type=Path,
        metavar="FILE",
        help="a pip.conf for the container, e.g. with an index that has PyTorch's CPU build",
    )


def run(options: argparse.Namespace) -> int:
    """Write the zip, and say what to do with it."""
    from ..gradescope.package import write_package
    from ..grading.feedback import points_text

    folder = open_folder(options.course) if options.course else None
    repository = options.repository or (folder.repository() if folder else None)
    course = load_course(repository)
    assignment = course.assignment(options.assignment)
    destination = options.destination or Path(f"{assignment.id}-gradescope.zip")
    write_package(
        course, assignment, destination, folder, options.allow_weaker_sandbox, options.pip_config
    )
    size = destination.stat().st_size / 1e6
    print(
        f"{destination} ({size:.1f} MB) holds the hidden tests of {assignment.id}: keep it private."
    )
    print(
        f"On Gradescope: Configure Autograder, upload it; {points_text(assignment.automatic_points)} "
        "points are automatic. Students' code runs there at the isolation level uid."
    )
    if folder is None:
        print("Its random inputs are its own; with --course they would be the course folder's.")
    return DONE
