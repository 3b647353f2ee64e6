"""Grade every submission of an assignment: intake, run, record, one after the other.

One student's bad file, endless loop or crash never stops the others. What the machinery cannot do
leaves a submission "ungraded" with the reason, never a zero.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from .course import Course, CourseError, CourseFolder
from .init import add_assignment
from .intake import Clean, Refused, take_in
from .ledger import Ledger
from .record import Recorder
from .results import GRADED, UNGRADED, Result
from .sandbox import SandboxUnavailable
from .session import GradingSession


@dataclass(frozen=True)
class Row:
    """One line of the table: a student, the automatic score, and what to know about it."""

    student: str
    status: str
    score: float | None = None
    points: float = 0.0
    notes: tuple[str, ...] = ()
    machinery_failed: bool = False
    seconds: float = 0.0

    @property
    def remark(self) -> str:
        """The status as the table shows it."""
        if self.status == UNGRADED:
            return f"ungraded: {self.notes[0]}"
        count = len(self.notes)
        return "graded" if not count else f"graded, {count} note{'s' if count > 1 else ''}"


def submissions(folder: CourseFolder, assignment_id: str) -> list[tuple[str, Path]]:
    """Students with a submission folder, in order; raises CourseError when there is none."""
    found = [
        (student.name, student / assignment_id)
        for student in sorted(folder.submitted.iterdir() if folder.submitted.is_dir() else [])
        if not student.name.startswith(".") and (student / assignment_id).is_dir()
    ]
    if not found:
        raise CourseError(
            f"No submissions of {assignment_id}: lay them out as {folder.submitted}/<student>/"
            f"{assignment_id}/{assignment_id}.ipynb"
        )
    return found


class Batch:
    """All submissions of one assignment in one course folder."""

    def __init__(self, folder: CourseFolder, course: Course, assignment_id: str) -> None:
        self.assignment = course.assignment(assignment_id)
        self.found = submissions(folder, assignment_id)
        self.session = GradingSession(folder, course, self.assignment)
        add_assignment(folder, course, self.assignment)
        self.recorder = Recorder(folder, assignment_id)
        self.ledger = Ledger(folder.ledger)

    def __len__(self) -> int:
        return len(self.found)

    def run(self) -> Iterator[Row]:
        """Grade one submission after the other, yielding each one's row once it is recorded.

        One writer records a submission while the next is running.
        """
        with self.session, ThreadPoolExecutor(1, "recorder") as writer:
            waiting: Future[Row] | None = None
            for student, path in self.found:
                recorded = writer.submit(self._record, student, *self._graded(path))
                if waiting is not None:
                    yield waiting.result()
                waiting = recorded
            if waiting is not None:
                yield waiting.result()

    def _graded(self, path: Path) -> tuple[Clean | None, Result | Exception]:
        """Intake and run; the machinery's own failure comes back as the exception that it was."""
        try:
            clean = take_in(path, self.assignment.id, self.session.release)
            return clean, self.session.grade(clean.notebook, clean.repairs)
        except Refused as refusal:
            return None, Result("", self.assignment.id, UNGRADED, reason=str(refusal))
        except SandboxUnavailable:
            raise  # nobody can be graded: better one clear line than one a student
        except Exception as error:
            return None, error

    def _record(self, student: str, clean: Clean | None, result: Result | Exception) -> Row:
        """Gradebook, pages and ledger of one submission; whatever goes wrong stays with it."""
        if isinstance(result, Exception):
            return self._failed(student, result)
        try:
            if clean is None or result.status != GRADED:
                self.recorder.record_ungraded(student, result.reason)
            else:
                self.recorder.record(student, clean)
            self.ledger.append(student, result, reason="grade")
        except Exception as error:
            return self._failed(student, error)
        if result.status != GRADED:
            broke = clean is not None
            return Row(student, UNGRADED, notes=(result.reason,), machinery_failed=broke)
        notes = result.repairs + result.notes
        seconds = result.wall_seconds
        return Row(student, GRADED, result.score, result.points, notes, seconds=seconds)

    def _failed(self, student: str, error: Exception) -> Row:
        """The machinery's failure: into the log whole, into the table in a line."""
        self.recorder.log.error("%s\n%s", student, "".join(traceback.format_exception(error)))
        first_line = (str(error) or type(error).__name__).splitlines()[0]
        return Row(student, UNGRADED, notes=(first_line,), machinery_failed=True)
