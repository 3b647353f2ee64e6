"""Tables of our own making: one CSV with everything, one in the layout of Gradescope's export.

Gradescope takes scores from its own autograders alone and has no upload of a grade table; what
other programs read is the CSV of its "Download Grades", and that layout is written here.
"""

from __future__ import annotations

import csv
import io

from ..course import Assignment
from ..grading.feedback import points_text
from ..standings import COMPLETE, INCOMPLETE, UNGRADED, Standing
from .cellguard import guarded


def plain_table(assignment: Assignment, standings: list[Standing]) -> str:
    """Everybody's points by part, raw total, penalty and final score, as CSV text.

    A total that is not final is the status in words, never a number.
    """
    parts = [*assignment.tasks, *assignment.written]
    columns = ["student", "name", "email", "section", "group", "status", *parts, "automatic"]
    rows = [[*columns, "raw", "penalty", "final", "maximum", "why"]]
    for standing in standings:
        person = standing.person
        known = [person.name, person.email, person.section, person.group] if person else [""] * 4
        final = _number(standing.final) if standing.final is not None else standing.status
        rows.append(
            [
                standing.student,
                *known,
                standing.status,
                *(_number(standing.parts.get(part)) for part in parts),
                _number(standing.automatic(assignment)),
                _number(standing.raw),
                _number(standing.penalty) if standing.parts else "",
                final,
                points_text(assignment.total_points),
                standing.why,
            ]
        )
    return _written(rows)


def gradescope_table(assignment: Assignment, standings: list[Standing]) -> str:
    """Scores in the columns of Gradescope's grade export, as CSV text.

    Only a final score is in Total Score; the status of the others is Ungraded or Missing.
    """
    parts = {**assignment.tasks, **assignment.written}
    questions = [
        f"{index}: {name} ({worth:.1f} pts)" for index, (name, worth) in enumerate(parts.items(), 1)
    ]
    rows = [
        [
            *("First Name", "Last Name", "SID", "Email", "Sections", "Total Score", "Max Points"),
            *("Status", "Submission ID", "Submission Time", "Lateness (H:M:S)", "View Count"),
            *("Submission Count", *questions),
        ]
    ]
    words = {COMPLETE: "Graded", INCOMPLETE: "Ungraded", UNGRADED: "Ungraded"}
    for standing in standings:
        person = standing.person
        first, last = split_name(person.name if person else "")
        rows.append(
            [
                *(first, last, person.lms_id if person and person.lms_id else standing.student),
                *(person.email if person else "", person.section if person else ""),
                _number(standing.final),
                f"{assignment.total_points:.1f}",
                words.get(standing.status, "Missing"),
                "",
                standing.timestamp,
                _hours(standing.seconds_late),
                *("", ""),
                *(_number(standing.parts.get(part)) for part in parts),
            ]
        )
    return _written(rows)


def split_name(name: str) -> tuple[str, str]:
    """First and last name: "Last, First" at the comma, else the last word is the last name."""
    if "," in name:
        last, first = name.split(",", 1)
        return first.strip(), last.strip()
    first, _, last = name.strip().rpartition(" ")
    return first, last


def _number(points: float | None) -> str:
    return "" if points is None else f"{points:.6f}".rstrip("0").rstrip(".")


def _hours(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest:02d}"


def _written(rows: list[list[str]]) -> str:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\n").writerows([guarded(cell) for cell in row] for row in rows)
    return out.getvalue()
