"""`autograder init`: make a private course folder."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..course import load_course
from ..terminal import DONE

HELP = "make a private course folder"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("folder", type=Path, help="a new folder outside the repository")
    parser.add_argument(
        "--database",
        metavar="URL",
        help="the gradebook's database, e.g. postgresql+psycopg://me@server/steerlab "
        "(default: SQLite in the folder)",
    )


def run(options: argparse.Namespace) -> int:
    """Make the folder, and say what comes next."""
    from ..init import init

    folder = init(options.folder, load_course(options.repository), options.database)
    print(f"Course folder: {folder.root}")
    print(f"Lay submissions out as {folder.submitted}/<student>/<assignment>/<assignment>.ipynb,")
    print(f"then: autograder grade <assignment> --course {folder.root}")
    return DONE
