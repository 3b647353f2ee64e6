"""`autograder collect`: lay an LMS's download of submissions out, every attempt kept."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ..course import load_course, open_folder
from ..terminal import DONE, add_course

if TYPE_CHECKING:
    from ..collecting.collect import Collection

HELP = "lay an LMS's download of submissions out"


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("assignment", help="assignment id, e.g. 01_mean_diff")
    parser.add_argument("path", type=Path, help="the download: a zip file, or its unpacked folder")
    parser.add_argument(
        "--from",
        dest="source",
        required=True,
        choices=("canvas", "moodle", "zip"),
        help="whose names the files have; zip: folders or files named for students",
    )
    parser.add_argument(
        "--times",
        type=Path,
        metavar="FILE",
        help="when it was handed in: Moodle's grading worksheet, or Canvas's submissions (JSON, CSV)",
    )
    parser.add_argument(
        "--zone",
        metavar="ZONE",
        help="the time zone of times that have none, e.g. Europe/Berlin (Moodle's worksheet)",
    )
    add_course(parser)


def run(options: argparse.Namespace) -> int:
    """Collect, and print who handed in, what fits nobody, and who is absent."""
    from ..collecting.collect import collect

    folder = open_folder(options.course)
    course = load_course(options.repository or folder.repository())
    assignment = course.assignment(options.assignment)
    found = collect(
        folder, course, assignment.id, options.source, options.path, options.times, options.zone
    )
    # Imported here: nbgrader takes seconds, and a wrong call should not wait for it.
    from ..collecting.late_penalty import settle

    settled = settle(folder, course, assignment.id)
    print_collection(found)
    if settled:
        print(f"Times and penalties of {settled} graded submission(s) were brought up to date.")
    print(f"Submissions: {folder.submitted}/<student>/{assignment.id}/")
    print(f"All attempts: {folder.root / 'attempts'}/<student>/{assignment.id}/<number>/")
    return DONE


def print_collection(found: Collection) -> None:
    """The table, then what wants looking at."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=110)
    table = Table(show_edge=False, pad_edge=False)
    for name in ("student", "attempts", "new", "counts", "handed in", "status"):
        table.add_column(name, overflow="fold")
    for line in found.lines:
        time = line.submitted_at.isoformat(" ", "minutes") if line.submitted_at else "–"
        status = "; ".join([line.timing.text, *line.remarks])
        numbers = (str(line.attempts), str(line.new or "–"), str(line.counts))
        table.add_row(*map(escape, (line.student, *numbers, time, status)))
    console.print(table)
    counts: dict[str, int] = {}
    for line in found.lines:
        counts[line.timing.status] = counts.get(line.timing.status, 0) + 1
    told = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    print(f"\n{len(found.lines)} handed in" + (f": {told}" if told else ""))
    if found.unmatched:
        print(f"\nUnmatched files, which went to nobody ({len(found.unmatched)}):")
        for name, why in found.unmatched:
            print(f"  {name}: {why}")
    if found.absent:
        print(f"\nAbsent ({len(found.absent)}):")
        for person in found.absent:
            print(f"  {person.id}" + (f" ({person.name})" if person.name else ""))
    if counts.get("unknown"):
        print(
            "\nWhere the time is unknown no penalty is taken. Give the times with --times (and "
            "--zone for Moodle's) and collect again."
        )
