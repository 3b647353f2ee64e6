"""Run one submission again and say why it has the mark that it has, or what has changed since."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ..course import Course, CourseError, CourseFolder
from ..intake import Refused, take_in
from ..ledger import Ledger
from ..results import GRADED, Result, notebook_digest
from .feedback import task_text
from .session import GradingSession

ROUNDING = 1e-6
_WORDS = {
    "hidden_tests": "the hidden tests",
    "steerlab": "the package steerlab",
    "autograder": "the package autograder",
    "packages": "the installed packages",
    "python": "Python's version",
    "assignment": "the assignment's part of course.toml",
    "limits": "the limits in course.toml",
}


@dataclass
class Explanation:
    """What a second run found.

    recorded, now: scores by task; changed: what is not as it was at the recorded run; differing:
    tests whose outcome is another now, with both outcomes.
    """

    student: str
    recorded: dict[str, float]
    when: str
    now: Result
    changed: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)

    @property
    def reproduced(self) -> bool:
        """Whether the second run gave every task the recorded score."""
        new = {task.task: task.score for task in self.now.tasks}
        return new.keys() == self.recorded.keys() and all(
            abs(new[task] - score) <= ROUNDING for task, score in self.recorded.items()
        )

    def text(self) -> str:
        """The explanation as lines for a terminal."""
        old, new = sum(self.recorded.values()), self.now.score
        lines = [f"{self.student}, recorded {self.when}: {old:g} of {self.now.points:g} points"]
        lines += [task_text(task) for task in self.now.tasks]
        lines += [f"repaired: {repair}" for repair in self.now.repairs]
        lines += [f"noted: {note}" for note in self.now.notes]
        lines += [f"changed since: {what}" for what in self.changed]
        lines += [f"another outcome now: {test}" for test in self.differing]
        if self.reproduced:
            lines.append(f"Run again with the recorded seeds: {new:g}, the same in every task.")
        else:
            why = "see what changed" if self.changed else "nothing changed: a flaky test or answer"
            lines.append(f"Run again: {new:g} instead of {old:g}; {why}.")
        return "\n".join(lines)


def explain(folder: CourseFolder, course: Course, assignment_id: str, student: str) -> Explanation:
    """Run a graded submission again, without the store; raises CourseError.

    The random inputs are the recorded ones as long as the course's secret and the hidden tests are:
    they are derived from these.
    """
    assignment = course.assignment(assignment_id)
    event = Ledger(folder.ledger).standing(student, assignment_id)
    if event is None:
        raise CourseError(f"{student} has no mark in {assignment_id}: grade first.")
    with GradingSession(folder, course, assignment) as session:
        submitted = folder.submitted / student / assignment_id
        try:
            clean = take_in(submitted, assignment_id, session.release)
        except Refused as refusal:
            raise CourseError(f"{submitted} cannot be graded any more: {refusal}") from refusal
        older = session.store.get(event["key"])
        now = session.run(clean)
    if now.status != GRADED:
        raise CourseError(f"{student} could not be run again: {now.reason}")
    changed = _changes(event, older, notebook_digest(clean.notebook), now)
    return Explanation(student, event["new"], event["when"], now, changed, _differing(older, now))


def _changes(event: dict[str, Any], older: Result | None, digest: str, now: Result) -> list[str]:
    changed = []
    if event["notebook"] != digest:
        changed.append("the notebook that was handed in")
    if older is None:
        if event["key"] != now.key:
            changed.append("something else, and the stored result that would tell is gone")
        return changed
    before, after = older.record, now.record
    changed += [
        word
        for name, word in _WORDS.items()
        if before["environment"].get(name) != _as_stored(after["environment"].get(name))
    ]
    if before.get("isolation") != after.get("isolation"):
        changed.append(f"the isolation ({before.get('isolation')}, now {after.get('isolation')})")
    if not changed and before.get("seeds") != after.get("seeds"):
        changed.append("the course's secret, and with it all random inputs")
    return changed


def _as_stored(value: Any) -> Any:
    """A value as JSON gives it back: tuples become lists."""
    if isinstance(value, dict):
        return {key: _as_stored(item) for key, item in value.items()}
    return [_as_stored(item) for item in value] if isinstance(value, list | tuple) else value


def _differing(older: Result | None, now: Result) -> list[str]:
    if older is None:
        return []
    before = {(task.task, test.name): test.passed for task in older.tasks for test in task.tests}
    after = {(task.task, test.name): test.passed for task in now.tasks for test in task.tests}
    word = {True: "passed", False: "failed", None: "not there"}
    return [
        f"{task}, {test}: {word[before.get((task, test))]}, now {word[after.get((task, test))]}"
        for task, test in dict.fromkeys([*before, *after])
        if before.get((task, test)) != after.get((task, test))
    ]
