"""A trial: one notebook, scored under several secrets in the same process, the worst draw kept.

Grading draws a task's random inputs once, from the course's secret. Testing the hidden tests needs
many draws of a notebook whose cells need to run only once, often of one task, and wants a function
that never ends stopped early.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..course import Limits
from ..results import TaskResult


@dataclass(frozen=True)
class Trial:
    """What a trial changes in how a notebook is scored; plain data.

    secrets: the hidden tests run once under each. tasks: those that are tested; () for all.
    call_seconds: CPU seconds of one call, where the course's limit is longer.
    """

    secrets: tuple[bytes, ...]
    tasks: tuple[str, ...] = ()
    call_seconds: float | None = None

    def points(self, tasks: dict[str, float]) -> dict[str, float]:
        """The points of the tasks that are tested."""
        return {
            task: worth for task, worth in tasks.items() if not self.tasks or task in self.tasks
        }

    def limits(self, limits: Limits) -> Limits:
        """The course's limits with this trial's own; each draw has a submission's wall time."""
        wall = limits.submission_wall_seconds * len(self.secrets)
        call = min(limits.call_cpu_seconds, self.call_seconds or limits.call_cpu_seconds)
        return replace(limits, submission_wall_seconds=wall, call_cpu_seconds=call)


def worst(draws: Sequence[Sequence[TaskResult]]) -> list[TaskResult]:
    """Each task's lowest score among the draws; its note says in how many of them it lost."""
    kept = []
    for results in zip(*draws, strict=True):
        lowest = min(results, key=lambda result: result.score)
        lost = sum(result.score < result.points for result in results)
        kept.append(replace(lowest, note=f"lost in {lost} of {len(results)} draws"))
    return kept
