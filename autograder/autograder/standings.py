"""Where each person of the class stands in one assignment: nbgrader's gradebook, read once.

Hand-given scores, extra credit and late penalties are nbgrader's. A total that still waits for a
person is no number, and neither is a submission that could not be graded.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nbgrader.api import Gradebook, MissingEntry
from sqlalchemy.exc import SQLAlchemyError

from .collecting.roster import Person, read_roster
from .course import Assignment, Course, CourseError, CourseFolder
from .gradebook import unreachable
from .ledger import Ledger

COMPLETE, INCOMPLETE = "complete", "incomplete"
UNGRADED, MISSING = "ungraded", "missing"


@dataclass(frozen=True)
class Standing:
    """One person's points in one assignment.

    parts: points by task and written question, None where one still waits. raw: their sum;
    penalty: what lateness takes off; final: what counts, never below 0. raw and final are None
    unless the status is "complete". why: the reason of the other statuses.
    """

    student: str
    status: str
    person: Person | None = None
    parts: dict[str, float | None] = field(default_factory=dict)
    penalty: float = 0.0
    why: str = ""
    timestamp: str = ""
    seconds_late: float = 0.0

    @property
    def raw(self) -> float | None:
        """All points before the late penalty."""
        if self.status != COMPLETE:
            return None
        return round(sum(points or 0.0 for points in self.parts.values()), 6)

    @property
    def final(self) -> float | None:
        """Points after the late penalty."""
        return None if self.raw is None else max(0.0, round(self.raw - self.penalty, 6))

    def automatic(self, assignment: Assignment) -> float | None:
        """Points of the functions alone, before any penalty; None where there are none yet."""
        found = [self.parts[task] for task in assignment.tasks if task in self.parts]
        if self.status in (UNGRADED, MISSING) or any(points is None for points in found):
            return None
        return round(sum(points or 0.0 for points in found), 6)


def standings(folder: CourseFolder, course: Course, assignment: Assignment) -> list[Standing]:
    """Everybody on the roster, in the gradebook or among the submissions; raises CourseError."""
    roster = {person.id: person for person in people(folder)}
    ledger = Ledger(folder.ledger)
    found: dict[str, Standing] = {}
    try:
        with Gradebook(folder.database, course.id) as gradebook:
            gradebook.find_assignment(assignment.id)
            students = [student.id for student in gradebook.students]
            for submission in gradebook.assignment_submissions(assignment.id):
                found[submission.student_id] = _standing(submission, assignment, ledger, roster)
    except MissingEntry as error:
        raise CourseError(
            f"The gradebook of {folder.root} does not know {assignment.id}. "
            f"Grade first: autograder grade {assignment.id}"
        ) from error
    except SQLAlchemyError as error:
        raise unreachable(folder.database, error) from error
    handed_in = _handed_in(folder.submitted, assignment.id)
    for student in sorted({*students, *roster, *handed_in} - found.keys()):
        person = roster.get(student)
        if student in handed_in:
            why = "handed in and not graded yet"
            found[student] = Standing(student, UNGRADED, person, why=why)
        else:
            found[student] = Standing(student, MISSING, person, why="nothing was handed in")
    return [found[student] for student in sorted(found)]


def people(folder: CourseFolder) -> list[Person]:
    """The roster's people; none where the course folder has no roster."""
    return read_roster(folder) if (folder.root / "roster.csv").is_file() else []


def _handed_in(submitted: Path, assignment_id: str) -> set[str]:
    folders: Iterable[Path] = submitted.iterdir() if submitted.is_dir() else ()
    return {path.name for path in folders if (path / assignment_id).is_dir()}


def _standing(
    submission: Any, assignment: Assignment, ledger: Ledger, roster: dict[str, Person]
) -> Standing:
    """One row of nbgrader's gradebook."""
    student = str(submission.student_id)
    grades = [grade for notebook in submission.notebooks for grade in notebook.grades]
    parts = {_part(grade.name, assignment): _points(grade) for grade in grades}
    waiting = [part for part, points in parts.items() if points is None]
    last = ledger.last(student, assignment.id)
    by_hand = bool(grades) and all(grade.manual_score is not None for grade in grades)
    never_graded = ledger.standing(student, assignment.id) is None and last is not None
    if not by_hand and (never_graded or len(waiting) == len(parts)):
        why = str(last["why"]) if last and last["why"] else "not graded yet"
        return Standing(student, UNGRADED, roster.get(student), why=why)
    common: dict[str, Any] = {
        "person": roster.get(student),
        "parts": parts,
        "penalty": float(submission.late_submission_penalty or 0.0),
        "timestamp": submission.timestamp.isoformat(" ") if submission.timestamp else "",
        "seconds_late": _seconds_late(submission),
    }
    if waiting:
        why = f"waits for a person to grade {', '.join(waiting)}"
        return Standing(student, INCOMPLETE, why=why, **common)
    return Standing(student, COMPLETE, **common)


def _seconds_late(submission: Any) -> float:
    """Seconds after the person's own due date; nbgrader fails on an extension of no due date."""
    return float(submission.total_seconds_late) if submission.assignment.duedate else 0.0


def _part(name: str, assignment: Assignment) -> str:
    """The task that a score cell belongs to; a written question's cell has its own name."""
    task = name.removesuffix("_score")
    return task if task in assignment.tasks else name


def _points(grade: Any) -> float | None:
    """A grade's points with extra credit; None while a person has to look at it."""
    if grade.needs_manual_grade or (grade.auto_score is None and grade.manual_score is None):
        return None
    return float(grade.score)
