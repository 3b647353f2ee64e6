"""Grade every submission of an assignment: intake, run, record.

One student's bad file, endless loop or crash never stops the others. What the machinery cannot do
leaves a submission "ungraded" with the reason, never a zero.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from .course import Course, CourseError, CourseFolder
from .init import add_assignment
from .intake import Clean, Refused, take_in
from .ledger import Ledger
from .record import Recorder
from .results import GRADED, UNGRADED, Result
from .session import GradingSession

#: Submissions that run at once. Each has a sandboxed process of its own; only the hidden tests,
#: which run in this process, take turns.
WORKERS = min(4, os.cpu_count() or 1)


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
        """Grade the submissions, WORKERS at a time, yielding each one's row in the class's order.

        One writer records what is graded while the next are running. Raises SandboxUnavailable,
        before anything is written, where no sandbox can be started.
        """
        with self.session:
            taken = [(student, self._taken_in(path)) for student, path in self.found]
            if any(isinstance(t, Clean) and not self.session.stored(t) for _, t in taken):
                self.session.runner()
            grading = ThreadPoolExecutor(WORKERS, "grader")
            recording = ThreadPoolExecutor(1, "recorder")
            with grading as graders, recording as writer:
                running = [(s, t, graders.submit(self._graded, t)) for s, t in taken]
                for student, clean, future in running:
                    yield writer.submit(self._record, student, clean, future.result()).result()

    def _taken_in(self, path: Path) -> Clean | Exception:
        try:
            return take_in(path, self.assignment.id, self.session.release)
        except Exception as error:
            return error

    def _graded(self, taken: Clean | Exception) -> Result | Exception:
        """Run and test; the machinery's own failure comes back as the exception that it was."""
        if isinstance(taken, Refused):
            return Result("", self.assignment.id, UNGRADED, reason=str(taken))
        if isinstance(taken, Exception):
            return taken
        try:
            return self.session.grade(taken.notebook, taken.repairs)
        except Exception as error:
            return error

    def _record(self, student: str, taken: Clean | Exception, result: Result | Exception) -> Row:
        """Gradebook, pages and ledger of one submission; whatever goes wrong stays with it."""
        if isinstance(result, Exception):
            return self._failed(student, result)
        try:
            if isinstance(taken, Clean) and result.status == GRADED:
                self.recorder.record(student, taken)
            else:
                self.recorder.record_ungraded(student, result.reason)
            self.ledger.append(student, result, reason="grade")
        except Exception as error:
            return self._failed(student, error)
        if result.status != GRADED:
            broke = isinstance(taken, Clean)
            return Row(student, UNGRADED, notes=(result.reason,), machinery_failed=broke)
        notes = result.repairs + result.notes
        seconds = result.wall_seconds
        return Row(student, GRADED, result.score, result.points, notes, seconds=seconds)

    def _failed(self, student: str, error: Exception) -> Row:
        """The machinery's failure: into the log whole, into the table in a line."""
        self.recorder.log.error("%s\n%s", student, "".join(traceback.format_exception(error)))
        first_line = (str(error) or type(error).__name__).splitlines()[0]
        return Row(student, UNGRADED, notes=(first_line,), machinery_failed=True)
