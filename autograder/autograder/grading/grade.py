"""Grade every submission of an assignment: intake, run, record.

One student's bad file, endless loop or crash never stops the others. What the machinery cannot do
leaves a submission "ungraded" with the reason, never a zero.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..collecting.choice import Choice, Outcome
from ..course import Course, CourseError, CourseFolder
from ..intake import Clean, Refused, take_in
from ..ledger import Ledger
from ..results import GRADED, UNGRADED, Result, notebook_digest
from ..sandbox import SandboxUnavailable
from .session import GradingSession
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


#: What a student's row says whose mark was made by an older grader.
OLDER = (
    "graded before the hidden tests, packages or settings were changed; "
    "`--regrade` shows what would be different"
)


class Batch:
    """All submissions of one assignment in one course folder, graded on `workers`."""

    def __init__(
        self, folder: CourseFolder, course: Course, assignment_id: str, workers: Workers
    ) -> None:
        self.assignment = course.assignment(assignment_id)
        self.found = submissions(folder, assignment_id)
        self.choice = Choice(folder, course, assignment_id, self.found)
        allow_weaker = workers.settings.allow_weaker
        self.session = GradingSession(folder, course, self.assignment, allow_weaker)
        self.workers = workers
        self.ledger = Ledger(folder.ledger)
        self.isolation = "as recorded with each result"  # until a sandbox starts
        self._recorder: Recorder | None = None

    def __len__(self) -> int:
        return len(self.found)

    def run(self) -> Iterator[Row]:
        """Grade what has no mark yet, many at once, yielding each row as soon as it is recorded.

        This process alone writes. A mark that was given to the very same notebook stays, whatever
        has changed since. Raises CourseError or SandboxUnavailable before anything is written,
        where nothing can be graded; WorkersGone when the workers leave midway.
        """
        for student, taken, outcome in self.outcomes():
            if isinstance(outcome, Result) and self._is_recorded(student, outcome):
                if self.session.store.get(outcome.key) is None:  # somebody has emptied the store
                    self.session.keep(outcome)
                self._note_choice(student)
                yield self._row(taken, outcome, student)
            else:
                yield self.record(student, taken, outcome, reason="grade")
        self.settle()

    def _note_choice(self, student: str) -> None:
        """Keep which attempt counts, and what the others got, so that none is run again."""
        for result in self.choice.note(student):
            self.session.keep(result)

    def settle(self) -> None:
        """Bring times and late penalties in the gradebook up to date with what was recorded."""
        from ..collecting.late_penalty import settle

        settle(self.session.folder, self.session.course, self.assignment.id)

    def outcomes(self, anew: bool = False) -> Iterator[Outcome]:
        """What each submission gets, as it comes: student, clean notebook, result.

        A recorded mark of the same notebook is taken as it is, unless `anew`: then what this
        grader gives. A failure of the machinery comes as the exception that it was. Of a student's
        attempts the one that counts is given.
        """
        return self.choice.settled(self._outcomes(anew))

    def _outcomes(self, anew: bool) -> Iterator[Outcome]:
        """What each attempt gets, under its name."""
        taken: dict[str, Clean | Exception] = {}
        known: dict[str, Result | Exception] = {}
        jobs: dict[str, Job] = {}
        for name, path in self.choice.found:
            taken[name] = clean = self._taken_in(path)
            if (result := self._known(self.choice.student(name), clean, anew)) is not None:
                known[name] = result
            elif isinstance(clean, Clean):
                self.workers.launch()
                jobs[name] = self.session.job(clean)
        with self.session:
            _ = self.recorder  # nbgrader takes seconds to import, in which the workers can start
            if jobs:
                self.session.rehearse(self._run_alone)
                self.workers.send(jobs)
                jobs.clear()  # each holds a notebook's text: let them go as they are graded
                self.isolation = self.workers.isolation
            for name, result in known.items():
                yield name, taken[name], result
            for name, result in self._results():
                yield name, taken[name], result

    def _run_alone(self, clean: Clean) -> Result:
        """The result of one notebook while nothing else is out; what the machinery failed at is in it.

        Raises CourseError and SandboxUnavailable, which say how to mend it.
        """
        self.workers.send({"": self.session.job(clean)})
        [(_, result)] = self._results()
        if isinstance(result, SandboxUnavailable):
            raise result
        if isinstance(result, Exception):
            reason = f"the grader failed: {one_line(result)}"
            return Result("", self.assignment.id, UNGRADED, reason=reason)
        return result

    def _results(self) -> Iterator[tuple[str, Result | Exception]]:
        """What the workers give, as it comes; raises what would happen to everyone."""
        for name, result in self.workers.results():
            if isinstance(result, CourseError):
                raise result
            if isinstance(result, Result) and not self.session.accepts(result):
                result = SandboxUnavailable(
                    f"A worker graded at the level {result.record['isolation']}: mend it, or "
                    "allow it with --allow-weaker-sandbox."
                )
            yield name, result

    def record(
        self, student: str, taken: Clean | Exception, outcome: Result | Exception, reason: str
    ) -> Row:
        """Store, gradebook, pages and ledger of one submission; what goes wrong stays with it."""
        if isinstance(outcome, Exception):
            return self._failed(student, outcome)
        try:
            self.session.keep(outcome)
            self._note_choice(student)
            digest = ""
            if isinstance(taken, Clean) and outcome.status == GRADED:
                digest = notebook_digest(taken.notebook)
                self.recorder.record(student, taken)
            elif self.ledger.standing(student, self.assignment.id) is None:
                self.recorder.record_ungraded(student, outcome.reason)
            self.ledger.append(student, outcome, reason, digest)
        except Exception as error:
            return self._failed(student, error)
        return self._row(taken, outcome, student)

    @property
    def recorder(self) -> Recorder:
        """Who writes into the gradebook; opened with the first question."""
        if self._recorder is None:
            # Imported here: nbgrader takes seconds.
            from ..init import add_assignment
            from .record import Recorder

            self._recorder = Recorder(self.session.folder, self.assignment.id)
            add_assignment(self.session.folder, self.session.course, self.assignment)
        return self._recorder

    def _taken_in(self, path: Path) -> Clean | Exception:
        try:
            return take_in(path, self.assignment.id, self.session.release)
        except Exception as error:
            return error

    def _known(
        self, student: str, taken: Clean | Exception, anew: bool
    ) -> Result | Exception | None:
        """What needs no worker: a refusal, the machinery's own failure, or a stored result."""
        if isinstance(taken, Refused):
            return Result("", self.assignment.id, UNGRADED, reason=str(taken))
        if isinstance(taken, Exception):
            return taken
        standing = self.ledger.standing(student, self.assignment.id)
        same = standing is not None and standing["notebook"] == notebook_digest(taken.notebook)
        older = self.session.store.get(standing["key"]) if standing and same else None
        if older is not None and not anew and self.session.accepts(older):
            return replace(older, repairs=taken.repairs)
        return self.session.stored(taken)

    def _is_recorded(self, student: str, result: Result) -> bool:
        """Whether this very result stands in ledger and gradebook, so that nothing is left to do."""
        standing = self.ledger.standing(student, self.assignment.id)
        return (
            result.status == GRADED
            and standing is not None
            and standing["key"] == result.key
            and self.recorder.has(student)
        )

    def _row(self, taken: Clean | Exception, result: Result, student: str) -> Row:
        if result.status != GRADED:
            broke = isinstance(taken, Clean)
            return Row(student, UNGRADED, notes=(result.reason,), machinery_failed=broke)
        notes = result.repairs + result.notes
        if isinstance(taken, Clean) and result.key not in self.session.keys(taken.notebook):
            notes += (OLDER,)
        seconds = result.wall_seconds
        return Row(student, GRADED, result.score, result.points, notes, seconds=seconds)

    def _failed(self, student: str, error: Exception) -> Row:
        """The machinery's failure: into the log whole, into the table in a line."""
        self.recorder.log.error("%s\n%s", student, "".join(traceback.format_exception(error)))
        return Row(student, UNGRADED, notes=(one_line(error),), machinery_failed=True)


def one_line(error: Exception) -> str:
    """An exception in the one line that a table has room for."""
    return (str(error) or type(error).__name__).splitlines()[0]
