"""Grade every submission of an assignment: intake, run, record.

One student's bad file, endless loop or crash never stops the others. What the machinery cannot do
leaves a submission "ungraded" with the reason, never a zero.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from .course import Course, CourseError, CourseFolder
from .intake import Clean, Refused, take_in
from .ledger import Ledger
from .results import GRADED, UNGRADED, Result
from .session import ISOLATION, GradingSession
from .work import Job
from .workers import Workers

if TYPE_CHECKING:
    from .record import Recorder


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
    """All submissions of one assignment in one course folder, graded on `workers`."""

    def __init__(
        self, folder: CourseFolder, course: Course, assignment_id: str, workers: Workers
    ) -> None:
        self.assignment = course.assignment(assignment_id)
        self.found = submissions(folder, assignment_id)
        self.session = GradingSession(folder, course, self.assignment)
        self.workers = workers
        self.ledger = Ledger(folder.ledger)
        self.isolation = ISOLATION
        self.recorder: Recorder

    def __len__(self) -> int:
        return len(self.found)

    def run(self) -> Iterator[Row]:
        """Grade the submissions, many at once, yielding each one's row as soon as it is recorded.

        This process alone writes. Raises SandboxUnavailable or CourseError before anything is
        written, where no worker can be started; WorkersGone when they leave midway.
        """
        taken: dict[str, Clean | Exception] = {}
        known: dict[str, Result | Exception] = {}
        jobs: dict[str, Job] = {}
        for student, path in self.found:
            taken[student] = clean = self._taken_in(path)
            if (result := self._known(clean)) is not None:
                known[student] = result
            elif isinstance(clean, Clean):
                self.workers.launch()
                jobs[student] = self.session.job(clean)
        with self.session:
            self._open_gradebook()
            if jobs:
                self.workers.send(jobs)
                self.isolation = self.workers.isolation
            for student, result in known.items():
                yield self._record(student, taken[student], result)
            for student, result in self.workers.results():
                if isinstance(result, Result):
                    self.session.keep(result)
                yield self._record(student, taken[student], result)

    def _open_gradebook(self) -> None:
        # Imported here: nbgrader takes seconds, in which the workers can start.
        from .init import add_assignment
        from .record import Recorder

        self.recorder = Recorder(self.session.folder, self.assignment.id)
        add_assignment(self.session.folder, self.session.course, self.assignment)

    def _taken_in(self, path: Path) -> Clean | Exception:
        try:
            return take_in(path, self.assignment.id, self.session.release)
        except Exception as error:
            return error

    def _known(self, taken: Clean | Exception) -> Result | Exception | None:
        """What needs no worker: a refusal, the machinery's own failure, or a stored result."""
        if isinstance(taken, Refused):
            return Result("", self.assignment.id, UNGRADED, reason=str(taken))
        return taken if isinstance(taken, Exception) else self.session.stored(taken)

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
