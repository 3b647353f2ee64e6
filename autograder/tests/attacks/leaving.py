"""What leaves the grader about a whole class: its report, tables, LMS files and the packed pages.

All of it is made by the commands that an instructor types.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Iterable
from contextlib import redirect_stdout
from pathlib import Path

from autograder.cli import main
from autograder.course import CourseFolder
from autograder.terminal import DONE

POINTS = "6"


def canvas_gradebook(assignment: str, students: Iterable[str]) -> str:
    """What Canvas would have exported: every student under the SIS id that the grader knows."""
    header = ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", f"{assignment} (66)"]
    rows = [[student, str(900 + n), student, "", "", ""] for n, student in enumerate(students)]
    return _csv([header, ["    Points Possible", "", "", "", "", POINTS], *rows])


def moodle_worksheet(students: Iterable[str], comment: str = "") -> str:
    """What Moodle would have exported, with a comment that somebody has written there."""
    header = ["Identifier", "Full name", "Username", "Grade", "Maximum Grade", "Feedback comments"]
    rows = [
        [f"Participant {900 + n}", student, student, "", POINTS, comment]
        for n, student in enumerate(students)
    ]
    return _csv([header, *rows])


def class_files(
    folder: CourseFolder, assignment: str, scratch: Path, comment: str = ""
) -> list[Path]:
    """Make everything that is made of a class, and what the commands print; the files.

    comment: what somebody has written into Moodle.
    """
    students = sorted(path.name for path in folder.submitted.iterdir())
    canvas, moodle = scratch / "canvas.csv", scratch / "moodle.csv"
    canvas.write_text(canvas_gradebook(assignment, students), newline="")
    moodle.write_text(moodle_worksheet(students, comment), newline="")
    exports = scratch / "exports"
    exports.mkdir(exist_ok=True)
    forms: dict[str, list[Path]] = {
        "csv": [],
        "gradescope": [],
        "canvas": [canvas],
        "moodle": [moodle],
    }
    commands = [["report", assignment, "--names", "--similarity"]]
    for form, files in forms.items():
        into = [word for path in files for word in ("--into", str(path))]
        target = ["--to", str(exports / f"{form}.csv")]
        commands.append(["export", assignment, "--format", form, *into, *target])
    packed = exports / "pages.zip"
    commands.append(["feedback-zip", assignment, "--as-they-are", "--to", str(packed)])
    said = io.StringIO()
    with redirect_stdout(said):
        for words in commands:
            assert main([*words, "--course", str(folder.root)]) == DONE, words
    (exports / "said").write_text(said.getvalue())
    reports = folder.root / "reports" / assignment
    return [*sorted(reports.iterdir()), *sorted(exports.iterdir())]


def bytes_of(path: Path, without: str = "") -> bytes:
    """A file's bytes; of an archive the names and bytes of its members.

    without: the student whose own page in an archive is left out.
    """
    if path.suffix != ".zip":
        return path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        names = [name for name in archive.namelist() if not name.startswith(f"{without}/")]
        return b"\n".join(name.encode() + b"\n" + archive.read(name) for name in names)


def _csv(rows: list[list[str]]) -> str:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\r\n").writerows(rows)
    return out.getvalue()
