"""Grade again with today's tests, show every mark that would change, write only what is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..results import GRADED, Result
from .grade import Batch

#: Scores that differ by less are equal: they are rounded to six decimals when they are stored.
ROUNDING = 1e-6


@dataclass(frozen=True)
class Change:
    """One student's mark: what is recorded, what today's grader gives, and what became of it.

    problem: why there is no new mark. kept: the recorded mark was left, as it is the higher one.
    """

    student: str
    old: dict[str, float] | None
    new: dict[str, float]
    problem: str = ""
    kept: bool = False
    written: bool = False
    machinery_failed: bool = False

    @property
    def tasks(self) -> list[tuple[str, float | None, float | None]]:
        """Tasks whose score differs: name, recorded score, new score."""
        old = self.old or {}
        return [
            (task, old.get(task), self.new.get(task))
            for task in dict.fromkeys([*old, *self.new])
            if abs(old.get(task, -1.0) - self.new.get(task, -1.0)) > ROUNDING
        ]

    @property
    def differs(self) -> bool:
        """Whether the mark would change."""
        return not self.problem and (self.old is None or bool(self.tasks))


def regrade(batch: Batch, apply: bool = False, never_lower: bool = False) -> Iterator[Change]:
    """Each student's change, as it comes. With `apply` those that differ are recorded.

    Hand-given scores, comments and extra credit are nbgrader's and stay. With `never_lower` a mark
    that would fall is left.
    """
    for student, taken, outcome in batch.outcomes(anew=True):
        standing = batch.ledger.standing(student, batch.assignment.id)
        old = standing["new"] if standing else None
        if not isinstance(outcome, Result) or outcome.status != GRADED:
            row = batch.record(student, taken, outcome, "regrade") if apply else None
            reason = outcome.reason if isinstance(outcome, Result) else str(outcome)
            failed = isinstance(outcome, Exception) or bool(row and row.machinery_failed)
            yield Change(student, old, {}, problem=reason, machinery_failed=failed)
            continue
        batch.session.keep(outcome)  # so that --apply after a look need not run it again
        new = {task.task: task.score for task in outcome.tasks}
        change = Change(student, old, new)
        falls = old is not None and sum(new.values()) < sum(old.values()) - ROUNDING
        if never_lower and falls:
            yield Change(student, old, new, kept=True)
        elif apply and (change.differs or (standing and standing["key"] != outcome.key)):
            row = batch.record(student, taken, outcome, "regrade")
            problem = row.notes[0] if row.machinery_failed else ""
            yield Change(student, old, new, problem, False, not problem, row.machinery_failed)
        else:
            yield change
    if apply:
        batch.settle()
