"""Which attempts a batch grades, and which of a student's attempts counts.

Where `course.toml` says `attempts = "last"`, that is decided by time and only what lies in
`submitted/` is graded. Where it says "best", every attempt is graded, and the one with the most points
after its late penalty counts; of equals, the later.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from ..course import Course, CourseFolder
from ..intake import Clean
from ..results import GRADED, Result
from .attempts import Attempt, Attempts
from .lateness import penalty

#: A name, the clean notebook or why there is none, and the result or the machinery's failure.
Outcome = tuple[str, Clean | Exception, Result | Exception]


class Choice:
    """Spreads students into attempts before grading, and brings them together after it."""

    def __init__(
        self,
        folder: CourseFolder,
        course: Course,
        assignment_id: str,
        submitted: list[tuple[str, Path]],
    ) -> None:
        self.attempts = Attempts(folder, course, assignment_id)
        self.points = course.assignment(assignment_id).total_points
        self.found: list[tuple[str, Path]] = []
        self._of: dict[str, tuple[str, Attempt | None]] = {}
        self._best: dict[str, int] = {}
        self._results: dict[str, list[Result]] = {}
        for student, path in submitted:
            for name, place, attempt in self._spread(student, path):
                self.found.append((name, place))
                self._of[name] = (student, attempt)

    def _spread(self, student: str, path: Path) -> Iterator[tuple[str, Path, Attempt | None]]:
        if self.attempts.rules.attempts == "best" and self.attempts.of(student):
            self.attempts.adopt(student)
            for attempt in self.attempts.of(student):
                place = self.attempts.path(student, attempt.number)
                yield f"{student}, attempt {attempt.number}", place, attempt
        else:
            yield student, path, None

    def student(self, name: str) -> str:
        """Whose attempt a name stands for."""
        return self._of[name][0]

    def settled(self, outcomes: Iterable[Outcome]) -> Iterator[Outcome]:
        """One outcome a student, under the student's name, once all attempts of theirs are in."""
        waiting = Counter(student for student, _ in self._of.values())
        arrived: dict[str, list[Outcome]] = {}
        for outcome in outcomes:
            student = self.student(outcome[0])
            arrived.setdefault(student, []).append(outcome)
            if len(arrived[student]) == waiting[student]:
                yield self._decided(student, arrived.pop(student))

    def _decided(self, student: str, outcomes: list[Outcome]) -> Outcome:
        """The best outcome; a failure of the machinery, which might have been the best, goes first."""
        for _, taken, result in outcomes:
            if isinstance(result, Exception):
                return student, taken, result
        name, taken, result = max(outcomes, key=self._worth)
        attempt = self._of[name][1]
        if attempt is None or not isinstance(result, Result):
            return student, taken, result
        self._best[student] = attempt.number
        self._results[student] = [r for _, _, r in outcomes if isinstance(r, Result)]
        if len(outcomes) > 1 and isinstance(taken, Clean):
            note = f"Attempt {attempt.number} of {len(outcomes)} counts: it has the most points."
            taken = Clean(taken.notebook, (*taken.repairs, note))
            result = replace(result, repairs=taken.repairs)
        return student, taken, result

    def _worth(self, outcome: Outcome) -> tuple[float, int]:
        name, _, result = outcome
        student, attempt = self._of[name]
        if attempt is None or not isinstance(result, Result) or result.status != GRADED:
            return -1.0, attempt.number if attempt else 0
        late = self.attempts.timing(student, attempt).seconds_late
        taken_off = penalty(late, self.points, self.attempts.rules)
        return max(0.0, result.score - taken_off), attempt.number

    def note(self, student: str) -> list[Result]:
        """Keep the decision, and lay the attempt that counts out; the results of all attempts."""
        if (number := self._best.get(student)) is not None:
            self.attempts.choose(student, number)
        return self._results.pop(student, [])
