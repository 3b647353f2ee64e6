"""Canvas: fill one assignment's column of the gradebook that Canvas exported.

Canvas reads the file back by its header ("Student", "ID", …) and the number behind the column's
title, and a person by ID, else SIS User ID, else SIS Login ID (its GradebookImporter).
"""

from __future__ import annotations

import re
from pathlib import Path

from ..course import Assignment, CourseError
from ..standings import Standing
from .sheet import Directory, Filled, Sheet, fill_row, not_in_file

_CANVAS_ID = re.compile(r"\s*\(\d+\)\s*$")
_FIXED = {"student", "lastname", "firstname", "id", "section", "integration id", "root account"}
_EXCUSED = "EX"


def fill_canvas(
    path: Path,
    assignment: Assignment,
    standings: list[Standing],
    column: str | None = None,
    scale: bool = False,
) -> Filled:
    """The exported gradebook with final scores in the assignment's column; raises CourseError.

    Rows of people without a final score, and those marked EX (excused), stay as they are.
    """
    sheet = Sheet.read(path)
    identity = {
        name: sheet.column(name) for name in ("Student", "ID", "SIS User ID", "SIS Login ID")
    }
    if identity["ID"] is None or not {identity["Student"], sheet.column("LastName")} - {None}:
        raise CourseError(
            f"{path} is no gradebook of Canvas: its first row lacks Student and ID. In Canvas: "
            "Grades, Export, Export Entire Gradebook."
        )
    target = _target(sheet, assignment, column)
    most = _points_possible(sheet, target)
    people, result = Directory(standings), Filled("")
    seen: set[str] = set()
    for row in range(1, len(sheet.rows)):
        clues = [
            ("lms_id", sheet.cell(row, identity["ID"])),
            ("lms_id", sheet.cell(row, identity["SIS User ID"])),
            ("student", sheet.cell(row, identity["SIS User ID"])),
            ("lms_id", sheet.cell(row, identity["SIS Login ID"])),
            ("student", sheet.cell(row, identity["SIS Login ID"])),
            ("email", sheet.cell(row, identity["SIS Login ID"])),
        ]
        standing = people.find(f"{path.name}, line {row + 1}", clues)
        if standing is None:
            continue
        if standing.student in seen:
            raise CourseError(f"{path.name} has two rows for {standing.student}.")
        seen.add(standing.student)
        if sheet.cell(row, target).upper() == _EXCUSED:
            result.left.append(f"{standing.student}: excused in Canvas (EX); left")
            continue
        ours = assignment.total_points
        why = fill_row(sheet, row, target, standing, most or ours, ours, scale)
        (result.left if why else result.written).append(why or standing.student)
    result.left += not_in_file(standings, seen, path)
    result.text = sheet.text()
    return result


def _target(sheet: Sheet, assignment: Assignment, wanted: str | None) -> int:
    """The assignment's column: the one named, else the one whose title is its id or title."""
    titles = {
        index: _CANVAS_ID.sub("", header).strip()
        for index, header in enumerate(sheet.rows[0])
        if header.strip().casefold() not in _FIXED and not header.strip().startswith("SIS ")
    }
    if wanted is not None:
        whole = {index: sheet.rows[0][index].strip() for index in titles}
        found = [i for i in titles if wanted.strip() in (titles[i], whole[i])]
        asked = f"a column {wanted!r}"
    else:
        names = {_plain(assignment.id), _plain(assignment.title)}
        found = [index for index, title in titles.items() if _plain(title) in names]
        asked = f"one column named {assignment.id} or {assignment.title!r}"
    if len(found) != 1:
        raise CourseError(
            f"{sheet.path} has not {asked}. Name one with --column: "
            f"{', '.join(title for title in titles.values() if title)}."
        )
    return found[0]


def _plain(title: str) -> str:
    return re.sub(r"[\W_]+", " ", title).strip().casefold()


def _points_possible(sheet: Sheet, target: int) -> float | None:
    """What Canvas counts the assignment as; None where the file does not say."""
    for row in range(1, min(4, len(sheet.rows))):
        if "points possible" in sheet.cell(row, 0).casefold():
            if "read only" in sheet.cell(row, target).casefold():
                raise CourseError(
                    f"The column {sheet.rows[0][target]!r} is one that Canvas computes (read only)."
                )
            return sheet.number(row, target)
    return None
