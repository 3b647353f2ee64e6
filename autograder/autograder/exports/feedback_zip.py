"""All feedback pages of an assignment in one archive, for an LMS that returns files in bulk."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

from ..course import Assignment, CourseError, CourseFolder
from ..grading.record import Recorder
from ..ledger import Ledger
from ..results import GRADED
from ..standings import MISSING, UNGRADED, Standing
from .moodle import participant, rows_of, worksheet

#: Every member has this date, so that equal pages give an equal archive.
DATE = (2020, 1, 1, 0, 0, 0)


def renew_pages(
    folder: CourseFolder,
    assignment: Assignment,
    standings: list[Standing],
    tell: Callable[[str], None] = lambda student: None,
) -> None:
    """Make the pages anew, so that hand-given scores and comments are on them; raises CourseError.

    The page of a submission that could not be graded stays: it says why.
    """
    recorder, ledger = Recorder(folder, assignment.id), Ledger(folder.ledger)
    for standing in standings:
        tell(standing.student)
        last = ledger.last(standing.student, assignment.id)
        if standing.status not in (MISSING, UNGRADED) and (not last or last["status"] == GRADED):
            recorder.write_page(standing.student)


def feedback_zip(
    folder: CourseFolder,
    assignment: Assignment,
    standings: list[Standing],
    moodle: Path | None = None,
) -> tuple[bytes, list[str], list[str]]:
    """The archive, the students in it, and sentences about who is not; raises CourseError.

    A page is `<student>/<assignment>.html`. With Moodle's grading worksheet it is
    `<name>_<participant>_assignfeedback_file/<assignment>.html`, which is what Moodle's "Upload
    multiple feedback files in a zip" takes.
    """
    if moodle is None:
        places = {standing.student: standing.student for standing in standings}
    else:
        places = _moodle_places(moodle, standings)
    packed, left = [], []
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for standing in standings:
            student = standing.student
            page = folder.feedback / student / assignment.id / f"{assignment.id}.html"
            if not page.is_file():
                if standing.status != MISSING:
                    left.append(f"{student}: has no feedback page ({standing.why or 'not graded'})")
            elif student not in places:
                left.append(f"{student}: has a page and no row in the worksheet")
            else:
                member = zipfile.ZipInfo(f"{places[student]}/{page.name}", DATE)
                member.external_attr = 0o600 << 16
                member.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(member, page.read_bytes())
                packed.append(student)
    if not packed:
        raise CourseError(
            f"There is no feedback page of {assignment.id} to pack. "
            f"Grade first: autograder grade {assignment.id}"
        )
    return out.getvalue(), packed, left


def _moodle_places(path: Path, standings: list[Standing]) -> dict[str, str]:
    """The folder that Moodle expects for each student."""
    sheet, _ = worksheet(path)
    names = sheet.column("Full name")
    places = {}
    for row, standing in rows_of(sheet, standings):
        # Moodle splits at underscores and reads the participant's number after the first.
        name = re.sub(r"[_/\\:*?\"<>|\x00-\x1f]+", " ", sheet.cell(row, names)).strip(" .") or "x"
        places[standing.student] = f"{name}_{participant(sheet, row)}_assignfeedback_file"
    return places
