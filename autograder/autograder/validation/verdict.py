"""What a validation found: which answers lost or kept their points, and which of that is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from ..results import GRADED, Result
from .bank import EQUIVALENT, Mistake, MutantId, survivor_entry
from .mutants import Mutant

#: The share of mutants that must lose points, of those that are not equivalent to the solution.
MUTANTS_KILLED = 0.95
#: From this many draws on, a mutant that always loses is said to need no reason.
DRAWS_THAT_SETTLE = 3


@dataclass
class Report:
    """The figures of one assignment's validation, and everything that is not as it must be.

    tasks: to which it was confined, if any. draws: how many draws right answers, wrong answers and
    mutants were tried under. certain: mutants dropped because they compile to the solution's code;
    equivalent: survivors that no test could tell from it; survivors: all that lost nothing in some
    draw, by label, with their reasons. unsteady: wrong answers whose score depends on the draw: luck
    decides between two students.
    """

    assignment: str
    tasks: list[str] = field(default_factory=list)
    points: float = 0.0
    solution: float = 0.0
    release: float = 0.0
    draws: dict[str, int] = field(default_factory=dict)
    right: int = 0
    kept: list[str] = field(default_factory=list)
    wrong: int = 0
    killed: list[str] = field(default_factory=list)
    unsteady: list[str] = field(default_factory=list)
    mutants_made: int = 0
    mutants: int = 0
    mutants_killed: int = 0
    certain: int = 0
    equivalent: int = 0
    survivors: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether everything is as it must be."""
        return not self.problems

    @property
    def mutation_score(self) -> float:
        """The share of mutants killed, of those that are not equivalent; 1 where there is none."""
        different = self.mutants - self.equivalent
        return self.mutants_killed / different if different else 1.0

    def text(self) -> str:
        """The report as lines for a terminal."""
        draws = self.draws
        only = f", {' and '.join(self.tasks)} alone" if self.tasks else ""
        some = f"{self.mutants} of {self.mutants_made}"
        lines = [
            f"{self.assignment}{only}: {'valid' if self.passed else 'NOT VALID'} ({self.seconds:.0f} s)",
            f"  solution       {self.solution:g}/{self.points:g} in the worst of {draws['right']} "
            f"draws; the untouched release {self.release:g}",
            f"  right answers  {len(self.kept)}/{self.right} keep every point in {draws['right']} draws",
            f"  wrong answers  {len(self.killed)}/{self.wrong} lose points in each of "
            f"{draws['wrong']} draws: kill rate {_percent(len(self.killed), self.wrong)}",
            f"  mutants        {some if self.mutants < self.mutants_made else self.mutants} tried, "
            f"{self.mutants_killed} lose points in each of {draws['mutants']} draws; "
            f"{len(self.survivors)} survive, {self.equivalent} of them equivalent: "
            f"kill rate {_percent(self.mutants_killed, self.mutants - self.equivalent)}",
        ]
        lines += [f"  luck decides    {what}" for what in self.unsteady]
        lines += [f"  problem: {problem}" for problem in self.problems]
        if self.unexplained:
            lines.append("  strengthen the hidden tests, or give a reason in survivors.toml:\n")
            lines += [f"{entry}\n" for entry in self.unexplained]
        return "\n".join(lines)

    def as_json(self) -> dict[str, Any]:
        """All figures, for a file."""
        return asdict(self) | {"passed": self.passed, "mutation_score": self.mutation_score}


def judge_ends(solution: Sequence[Result], release: Sequence[Result], report: Report) -> None:
    """The solution must get every point in all its results, the untouched release none."""
    report.solution = min(result.score for result in solution)
    report.release = max(result.score for result in release)
    _note_ungraded("the solution", solution, report)
    _note_ungraded("the release", release, report)
    for name, failed in _lost(solution).items():
        report.problems.append(f"the solution loses points in {name}: {', '.join(failed)}")
    if report.release:
        report.problems.append(f"the untouched release gets {report.release:g} points")


def judge_mistake(mistake: Mistake, results: Sequence[Result], report: Report) -> None:
    """A wrong answer must lose in each result, in its own task alone; a right one in none."""
    report.right += not mistake.loses
    report.wrong += mistake.loses
    if _note_ungraded(mistake.label, results, report):
        return
    lost = _lost(results)
    kept = sum(mistake.task not in _lost([result]) for result in results)
    if mistake.loses and kept:
        draws = f"{kept} of {len(results)} draws"
        report.problems.append(f"{mistake.label} loses nothing in {mistake.task} under {draws}")
    elif mistake.loses:
        report.killed.append(mistake.path.stem)
        if unsteady := _unsteady(mistake, results):
            report.unsteady.append(unsteady)
    elif lost:
        where = "; ".join(f"{task}: {', '.join(failed)}" for task, failed in lost.items())
        report.problems.append(f"{mistake.label} is right but loses points in {where}")
    else:
        report.kept.append(mistake.path.stem)
    if mistake.loses and (others := sorted(lost.keys() - {mistake.task})):
        report.problems.append(f"{mistake.label} loses points elsewhere: {', '.join(others)}")


def judge_mutant(
    mutant: Mutant, results: Sequence[Result], reason: str | None, report: Report
) -> None:
    """A mutant must lose in each result, or have a reason."""
    report.mutants += 1
    if _note_ungraded(mutant.label, results, report):
        return
    survived = sum(not _lost([result]) for result in results)
    if not survived:
        report.mutants_killed += 1
        if reason is not None and report.draws["mutants"] >= DRAWS_THAT_SETTLE:
            report.problems.append(
                f"survivors.toml explains a mutant that does lose points, {mutant.label}; "
                "remove the entry"
            )
        return
    report.survivors[mutant.label] = reason or ""
    if reason is None:
        draws = f"{survived} of {len(results)} draws"
        report.problems.append(f"a mutant survives under {draws}: {mutant.label}")
        report.unexplained.append(survivor_entry(mutant.id, ""))
    elif reason.startswith(EQUIVALENT):
        report.equivalent += 1


def judge_mutants(unknown: Sequence[MutantId], report: Report) -> None:
    """Enough of an assignment's must lose; `unknown` are reasons for mutants that there are not."""
    whole = report.mutants == report.mutants_made and not report.tasks
    if whole and report.mutation_score < MUTANTS_KILLED:
        report.problems.append(
            f"only {100 * report.mutation_score:.1f}% of the mutants that differ from the solution "
            f"lose points; at least {100 * MUTANTS_KILLED:.0f}% must"
        )
    report.problems += [
        f"survivors.toml explains a mutant that there is not: {task}, {operator}: `{line}` -> "
        f"`{becomes}`; remove the entry"
        for task, operator, line, becomes, _ in unknown
    ]


def _note_ungraded(label: str, results: Sequence[Result], report: Report) -> bool:
    """Whether the machinery failed for any of these; the report says why."""
    failed = [result.reason for result in results if result.status != GRADED]
    if failed:
        report.problems.append(f"{label} was not graded: {failed[0]}")
    return bool(failed)


def _unsteady(mistake: Mistake, results: Sequence[Result]) -> str:
    """Which scores a wrong answer gets, and the tests that decide, where the draw matters."""
    scores: list[float] = []
    failed: list[set[str]] = []
    for task in (t for result in results for t in result.tasks if t.task == mistake.task):
        scores.append(round(task.score, 6))
        failed.append({test.name for test in task.tests if not test.passed})
    if len(set(scores)) < 2:
        return ""
    deciding = sorted(failed[0].union(*failed) - failed[0].intersection(*failed))
    each = ", ".join(f"{score:g} in {scores.count(score)}" for score in sorted(set(scores)))
    return f"{mistake.label} gets {each} draws: {', '.join(deciding)}"


def _lost(results: Sequence[Result]) -> dict[str, list[str]]:
    """Tasks that lost points in any of these results, with the tests that failed."""
    lost: dict[str, list[str]] = {}
    for result in results:
        for task in result.tasks:
            if task.score < task.points:
                failed = [test.name for test in task.tests if not test.passed]
                kept = lost.setdefault(task.task, [])
                kept += [name for name in failed or [task.note] if name not in kept]
    return lost


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}%".replace(".0%", "%") if whole else "-"
