"""Moodle: fill the grading worksheet that an assignment of Moodle exported.

Moodle reads Grade and the feedback columns back by the number in Identifier ("Participant 42"), and
takes no row whose grade was changed there meanwhile (its assignfeedback_offline).
"""

from __future__ import annotations

import re
from pathlib import Path

from ..course import Assignment, CourseError
from ..standings import Standing
from .sheet import Directory, Filled, Sheet, fill_row, not_in_file

_NUMBER_AT_END = re.compile(r"(\d+)\s*$")


def fill_moodle(
    path: Path, assignment: Assignment, standings: list[Standing], scale: bool = False
) -> Filled:
    """The grading worksheet with final scores in Grade; raises CourseError.

    Rows of people without a final score, and those that Moodle has locked, stay as they are.
    """
    sheet, grade = worksheet(path)
    maximum, open_to_change = sheet.column("Maximum Grade"), sheet.column("Grade can be changed")
    result, seen = Filled(""), set()
    for row, standing in rows_of(sheet, standings):
        if standing.student in seen:
            raise CourseError(f"{path.name} has two rows for {standing.student}.")
        seen.add(standing.student)
        if sheet.cell(row, open_to_change).casefold() == "no":
            result.left.append(f"{standing.student}: Moodle has locked the grade; left")
            continue
        ours = assignment.total_points
        most = sheet.number(row, maximum) or ours
        why = fill_row(sheet, row, grade, standing, most, ours, scale)
        (result.left if why else result.written).append(why or standing.student)
    result.left += not_in_file(standings, seen, path)
    result.text = sheet.text()
    return result


def worksheet(path: Path) -> tuple[Sheet, int]:
    """A grading worksheet and its Grade column; raises CourseError for another file."""
    sheet = Sheet.read(path)
    grade = sheet.column("Grade")
    if grade is None or sheet.column("Identifier") is None:
        raise CourseError(
            f"{path} is no grading worksheet of Moodle in English: its first row lacks Identifier "
            "and Grade. In Moodle, in the assignment: Download grading worksheet."
        )
    return sheet, grade


def rows_of(sheet: Sheet, standings: list[Standing]) -> list[tuple[int, Standing]]:
    """The worksheet's rows that belong to somebody of the class; raises CourseError."""
    people = Directory(standings)
    identifier, number = sheet.column("Identifier"), sheet.column("ID number")
    email, user = sheet.column("Email address"), sheet.column("Username")
    found = []
    for row in range(1, len(sheet.rows)):
        clues = [
            ("lms_id", sheet.cell(row, identifier)),
            ("lms_id", participant(sheet, row)),
            ("lms_id", sheet.cell(row, number)),
            ("student", sheet.cell(row, number)),
            ("student", sheet.cell(row, user)),
            ("email", sheet.cell(row, email)),
        ]
        standing = people.find(f"{sheet.path.name}, line {row + 1}", clues)
        if standing is not None:
            found.append((row, standing))
    return found


def participant(sheet: Sheet, row: int) -> str:
    """The number in a row's Identifier, by which Moodle knows the participant."""
    match = _NUMBER_AT_END.search(sheet.cell(row, sheet.column("Identifier")))
    return match.group(1) if match else ""
