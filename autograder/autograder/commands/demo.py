"""`autograder demo`: grade the example class in a scratch course folder."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from ..course import load_course
from .grade import grade_and_print

HELP = "grade the example class in a scratch course folder"
#: The assignment that the example class hands in.
EXAMPLE = "01_mean_diff"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("folder", type=Path, nargs="?", help="where (default: a temporary one)")


def run(options: argparse.Namespace) -> int:
    """Make the scratch course folder, hand the example class in, and grade it."""
    from ..grading.workers import Workers

    course = load_course(options.repository)
    example = course.repository / "autograder" / "example_class" / "submitted"
    root = options.folder or Path(tempfile.mkdtemp(prefix="steerlab-demo-"))
    with Workers(course, course.assignment(EXAMPLE), (root.resolve(),)) as workers:
        workers.launch()  # it takes as long as all that follows up to the first submission
        from ..init import init

        folder = init(root, course)
        shutil.copytree(example, folder.submitted, dirs_exist_ok=True)
        print(f"The example class, graded in {folder.root} (the repository stays as it is)")
        return grade_and_print(folder, course, EXAMPLE, workers)
