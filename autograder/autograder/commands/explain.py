"""`autograder explain`: run one submission again and say why it has its mark."""

from __future__ import annotations

import argparse

from ..course import load_course, open_folder
from ..terminal import CHECK_FAILED, DONE, add_course

HELP = "run one submission again and say why it has its mark"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("assignment", help="assignment id, e.g. 01_mean_diff")
    parser.add_argument("student", help="the student's id, as in submitted/")
    add_course(parser)


def run(options: argparse.Namespace) -> int:
    """Explain; the exit code is 1 where the mark was not reproduced."""
    from ..grading.explain import explain

    folder = open_folder(options.course)
    course = load_course(options.repository or folder.repository())
    explanation = explain(folder, course, options.assignment, options.student)
    print(explanation.text())
    return DONE if explanation.reproduced else CHECK_FAILED
