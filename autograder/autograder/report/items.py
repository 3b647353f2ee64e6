"""Item statistics: how hard each task and test is, and whether it tells strong work from weak.

Discrimination is the correlation between an item's score and the score on everything else (for a
test, passed or not: the point-biserial correlation). Items that everybody or nobody passes, that
discriminate below LOW, or whose outcome changed on an equal notebook are flagged for a look.
"""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import nbformat

from ..grading.feedback import common_cause
from ..results import Result, TaskResult, notebook_digest
from .evidence import Evidence, tests_digest

LOW = 0.1
#: Below this many graded submissions a correlation is mostly noise, and the report says so.
FEW = 30


@dataclass(frozen=True)
class TaskItem:
    """One task over the class; counts of submissions."""

    task: str
    points: float
    count: int
    full: int
    partly: int
    nothing: int
    blank: int
    mean: float
    discrimination: float | None


@dataclass(frozen=True)
class TestItem:
    """One hidden test over the submissions that attempted its task."""

    __test__ = False
    task: str
    name: str
    hint: str
    count: int
    passed: int
    discrimination: float | None

    @property
    def rate(self) -> float:
        """Share of the attempts that pass, 0 to 1."""
        return self.passed / self.count if self.count else 0.0


@dataclass(frozen=True)
class Misconception:
    """A hint, and how many of the class it was given to."""

    hint: str
    task: str
    count: int
    share: float


@dataclass(frozen=True)
class Flag:
    """Something about a task or test that an author should look at."""

    task: str
    test: str
    reason: str


@dataclass(frozen=True)
class Times:
    """Seconds that submissions took, as the middle one, the slowest tenth's bound, and the most."""

    name: str
    median: float
    ninetieth: float
    most: float


def task_items(evidence: Evidence) -> list[TaskItem]:
    """Statistics of every task of the assignment, in its order."""
    items = []
    for task, points in evidence.assignment.tasks.items():
        rows = [
            (result, entry.blank)
            for entry in evidence.graded
            for result in (entry.result.tasks if entry.result else ())
            if result.task == task
        ]
        scores = [result.score for result, _ in rows]
        rest = [
            entry.result.score - result.score
            for entry in evidence.graded
            if entry.result
            for result in entry.result.tasks
            if result.task == task
        ]
        blank = sum(result.score <= 0 and task in blanks for result, blanks in rows)
        full = sum(score >= points for score in scores)
        nothing = sum(score <= 0 for score in scores) - blank
        items.append(
            TaskItem(
                task,
                points,
                len(rows),
                full,
                len(rows) - full - nothing - blank,
                nothing,
                blank,
                statistics.fmean(scores) if scores else 0.0,
                correlation(scores, rest),
            )
        )
    return items


def test_items(evidence: Evidence) -> list[TestItem]:
    """Statistics of every test that the current hidden tests hold, in their order."""
    outcomes: defaultdict[tuple[str, str], list[tuple[bool, float]]] = defaultdict(list)
    hints: dict[tuple[str, str], str] = {}
    for entry in evidence.graded:
        result = entry.result
        if result is None or tests_digest(result) != evidence.current_tests:
            continue
        worth = {task.task: _worth(task) for task in result.tasks}
        total = sum(sum(tests.values()) for tests in worth.values())
        for task in entry.attempted:
            for test in task.tests:
                key = (task.task, test.name)
                hints[key] = test.hint
                outcomes[key].append((test.passed, total - worth[task.task][test.name]))
    return [
        TestItem(
            task,
            name,
            hints[task, name],
            len(found),
            sum(passed for passed, _ in found),
            correlation([float(passed) for passed, _ in found], [rest for _, rest in found]),
        )
        for (task, name), found in outcomes.items()
    ]


test_items.__test__ = False  # type: ignore[attr-defined]


def _worth(task: TaskResult) -> dict[str, float]:
    """Points that each test of a task earned."""
    weights = sum(test.weight for test in task.tests)
    return {t.name: task.points * t.weight / weights * t.passed for t in task.tests}


def correlation(left: Sequence[float], right: Sequence[float]) -> float | None:
    """Pearson's correlation; None where one side does not vary or there are fewer than three."""
    if len(left) < 3 or _constant(left) or _constant(right):
        return None
    return max(-1.0, min(1.0, statistics.correlation(left, right)))


def _constant(values: Sequence[float]) -> bool:
    return max(values) - min(values) < 1e-9


def misconceptions(evidence: Evidence) -> list[Misconception]:
    """Hints by how many attempts they were given to, the most frequent first.

    A task that failed as a whole for one reason (it raised, crashed, or never answered) tells
    nothing about what its author misunderstood, and is left to `causes`.
    """
    given: Counter[tuple[str, str]] = Counter()
    attempts: Counter[str] = Counter()
    for entry in evidence.graded:
        for task in entry.attempted:
            attempts[task.task] += 1
            if common_cause(task) is None:
                failed = {test.hint for test in task.tests if test.hint and not test.passed}
                given.update((task.task, hint) for hint in failed)
    ranked = sorted(given.items(), key=lambda item: (-item[1], item[0]))
    return [
        Misconception(hint, task, count, count / attempts[task]) for (task, hint), count in ranked
    ]


def causes(evidence: Evidence) -> list[tuple[str, str, int]]:
    """Why whole tasks gave nothing to judge: `(task, cause, submissions)`, the most frequent first."""
    found: Counter[tuple[str, str]] = Counter()
    for entry in evidence.graded:
        for task in entry.attempted:
            if (cause := common_cause(task)) is not None:
                # The student's own line is no statistic, and it can be recognised.
                found[task.task, cause.split(" at line ")[0]] += 1
    ranked = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    return [(task, cause, count) for (task, cause), count in ranked]


def flags(evidence: Evidence, tasks: list[TaskItem], tests: list[TestItem]) -> list[Flag]:
    """Tasks and tests to look at, the unsteady ones first."""
    found = [
        Flag(task, test, f"gave different outcomes on an equal notebook ({count} notebooks)")
        for (task, test), count in sorted(unsteady(evidence).items())
    ]
    for item in tasks:
        if item.count and item.full == item.count:
            found.append(Flag(item.task, "", "everybody has full marks"))
        elif item.count and item.full == 0:
            found.append(Flag(item.task, "", "nobody has full marks"))
        found += _weak(item.task, "", item.discrimination)
    for test in tests:
        if test.count and test.passed in (0, test.count):
            who = "everybody who tried" if test.passed else "nobody who tried"
            found.append(Flag(test.task, test.name, f"{who} passes it"))
        found += _weak(test.task, test.name, test.discrimination)
    return found


def _weak(task: str, test: str, discrimination: float | None) -> list[Flag]:
    if discrimination is None or discrimination >= LOW:
        return []
    if discrimination < 0:
        reason = (
            f"weak submissions do better on it than strong ones ({discrimination:.2f})".replace(
                "-", "−"
            )
        )
    else:
        reason = f"hardly tells strong submissions from weak ones ({discrimination:.2f})"
    return [Flag(task, test, reason)]


def unsteady(evidence: Evidence) -> dict[tuple[str, str], int]:
    """Tests, and tasks as a whole, that scored one notebook differently: how many notebooks."""
    seen: defaultdict[tuple[str, ...], defaultdict[tuple[str, str], set[object]]]
    seen = defaultdict(lambda: defaultdict(set))
    for result in evidence.stored:
        group = ("stored", _content(result), tests_digest(result))
        for task in result.tasks:
            for test in task.tests:
                seen[group][task.task, test.name].add(test.passed)
    for event in evidence.events:
        scores = event.get("new")
        if event.get("key") and isinstance(scores, dict):
            for task_name, score in scores.items():
                seen["recorded", str(event["key"])][str(task_name), ""].add(round(score, 6))
    counted: Counter[tuple[str, str]] = Counter()
    for outcomes in seen.values():
        counted.update(item for item, values in outcomes.items() if len(values) > 1)
    return dict(counted)


def _content(result: Result) -> str:
    return notebook_digest(nbformat.reads(result.notebook, as_version=4))


def times(evidence: Evidence) -> list[Times]:
    """Computing and elapsed seconds of the graded submissions."""
    results = [entry.result for entry in evidence.graded if entry.result]
    columns = {
        "computing (CPU)": [result.compute_seconds for result in results],
        "elapsed, tests included": [result.wall_seconds for result in results],
    }
    return [
        Times(name, statistics.median(values), ninetieth(values), max(values))
        for name, values in columns.items()
        if values
    ]


def ninetieth(values: Sequence[float]) -> float:
    """The value that nine in ten do not exceed."""
    if len(values) < 2:
        return values[0]
    return statistics.quantiles(values, n=10, method="inclusive")[-1]
