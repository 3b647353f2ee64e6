"""`autograder forget STUDENT`: take a person out of every store, for good.

Submissions, attempts, pages, results, gradebook, ledger, logs and roster. Reports and exports hold
everybody and are deleted whole: make them again. Copies elsewhere (backups, an LMS) are not reached.
"""

from __future__ import annotations

import argparse
import sys

from ..course import CourseError, load_course, open_folder
from ..terminal import CHECK_FAILED, DONE, add_course

HELP = "take a person out of every store"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("student", help="the student's id: the name of the folder in submitted/")
    add_course(parser)
    parser.add_argument("--dry-run", action="store_true", help="say what would be removed")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def run(options: argparse.Namespace) -> int:
    """Say what goes, ask, remove it, and name what others wrote about the person."""
    from ..forget import forget

    folder = open_folder(options.course)
    course = load_course(options.repository or folder.repository())
    plan = forget(folder, course, options.student, dry_run=True)
    print(f"Of {options.student} in {folder.root}:")
    for what in plan.removed:
        print(f"  {what}")
    for what in plan.shared:
        print(f"  {what} stays: somebody else handed in the same notebook")
    if options.dry_run:
        print("Nothing was removed: leave out --dry-run.")
        return DONE
    if not options.yes:
        if not sys.stdin.isatty():
            raise CourseError("This cannot be undone: confirm it with --yes.")
        if input(f"This cannot be undone. Type {options.student} to go on: ") != options.student:
            raise CourseError("Nothing was removed.")
    done = forget(folder, course, options.student)
    print("Removed. Make reports and exports again where you need them.")
    if done.remains:
        print("Still named in files of others; look at them:")
        for name in done.remains:
            print(f"  {name}")
        return CHECK_FAILED
    print("A search of the whole course folder found nothing more.")
    return DONE
