"""Tests of the hidden tests: right answers keep every point under every draw, wrong ones never do.

`validate` grades the solution, the untouched release, the mistake bank (`bank.py`) and the automatic
mutants of the solution (`mutants.py`), each under many draws of the hidden tests' random inputs.

What must keep its points is probed draw after draw in one process. What must lose them gets a new
process for each draw, so that nothing that it leaves behind can make the next draw fail.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

import nbformat
from nbformat import NotebookNode

from .. import cells
from ..course import Assignment, Course, CourseError
from ..grading.rehearsal import solution_of
from ..grading.trial import Trial
from ..grading.work import Job
from ..grading.workers import Workers
from ..intake import clean_notebook
from ..results import UNGRADED, Result, environment_of, notebook_text
from .bank import Mistake, read_mistakes, read_survivors, survivors_file
from .mutants import Mutant, mutants_of, sample
from .slices import put_answer, slice_for
from .verdict import Report, judge_ends, judge_mistake, judge_mutant, judge_mutants

SOLUTION, RELEASE, SLICE = "the solution", "the release", "the solution's cell"
#: Draws that one process sees: enough to share its start, few enough to keep all workers busy.
DRAWS_TOGETHER = 10
#: A call of a mutant may take this many times the CPU time of all the solution's calls for the task.
PATIENCE, LEAST_SECONDS = 3.0, 1.0


@dataclass(frozen=True)
class Plan:
    """How much to try.

    seeds: draws of the solution and of right answers; wrong_seeds: of wrong answers; mutant_seeds:
    of mutants. mutants: how many of them, None for all. elsewhere: whether to look for points that
    an entry of the bank loses in other tasks, too; it takes the whole notebook. tasks: whose tests
    are tested, () for all.
    """

    seeds: int = 100
    wrong_seeds: int = 20
    mutant_seeds: int = 3
    mutants: int | None = None
    elsewhere: bool = True
    tasks: tuple[str, ...] = ()


QUICK = Plan(seeds=2, wrong_seeds=1, mutant_seeds=1, mutants=20, elsewhere=False)

#: Grades jobs and gives each one's name and result, in any order.
Grade = Callable[[Mapping[str, Job]], Iterator[tuple[str, Result | Exception]]]
Subject = str | Mistake | Mutant


@dataclass(frozen=True)
class Case:
    """One notebook to grade, under some draws.

    whole: the whole notebook, every task; otherwise the cells that `task` needs, and it alone.
    """

    subject: Subject
    draws: range
    whole: bool = True
    task: str = ""
    source: str = ""


def validate(
    course: Course,
    assignment: Assignment,
    plan: Plan = QUICK,
    tell: Callable[[str, int], None] = lambda *_: None,
    count: int | None = None,
    allow_weaker: bool = False,
) -> Report:
    """Carry out a plan on local workers, `count` of them (default: one for each core).

    allow_weaker: less than full isolation will do; these notebooks are the course's own.
    `tell` is told what was graded last, and how many are to be graded in all. Raises CourseError
    for a bank or a source that cannot be read, SandboxUnavailable.
    """
    with Workers(course, assignment, count=count, allow_weaker=allow_weaker) as workers:
        workers.launch()  # it starts while the mutants are made

        def grade(jobs: Mapping[str, Job]) -> Iterator[tuple[str, Result | Exception]]:
            workers.send(jobs)
            yield from workers.results()

        return Validation(course, assignment, plan).run(grade, tell)


@dataclass
class Validation:
    """One validation: what is to be graded, and what came of it."""

    course: Course
    assignment: Assignment
    plan: Plan
    results: dict[Subject, list[Result]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        course, assignment = self.course, self.assignment
        self.environment = environment_of(course, assignment)
        release = nbformat.read(course.release_notebook(assignment.id), as_version=4)
        self.solution = solution_of(course, assignment, release).notebook
        self.release = clean_notebook(release, assignment.id, release).notebook
        chosen = self.plan.tasks or tuple(assignment.tasks)
        self.points = sum(assignment.tasks[task] for task in chosen)
        self.mistakes = [m for m in read_mistakes(course, assignment) if m.task in chosen]
        reasons = read_survivors(survivors_file(course, assignment))
        if self.plan.tasks:
            reasons = {mutant: why for mutant, why in reasons.items() if mutant[0] in chosen}
        self.reasons = reasons
        self.answers = {
            str(cells.task(cell)): cell.source
            for cell in self.solution.cells
            if cells.role(cell) == cells.ANSWER and cells.task(cell) in chosen
        }
        self.mutants: list[Mutant] = []
        self.certain = 0  # mutants that compile to the solution's own code
        for task, answer in self.answers.items():
            found, dropped = mutants_of(task, answer)
            self.mutants += found
            self.certain += dropped
        self.tried = sample(self.mutants, self.plan.mutants)
        self.sliced: dict[str, bool] = {}  # by task: whether a cut-down notebook serves
        self.call_seconds: dict[str, float] = {}

    def run(self, grade: Grade, tell: Callable[[str, int], None] = lambda *_: None) -> Report:
        """Grade everything; what must hold, and whether it does."""
        started = time.monotonic()
        first, then = list(self._ends()), [*self._bank(), *self._mutants()]
        total = len(first) + len(then)
        self._grade(first, grade, lambda what: tell(what, total))
        self._learn_from_slices()
        self._grade(then, grade, lambda what: tell(what, total))
        report = Report(self.assignment.id, list(self.plan.tasks), self.points)
        report.draws = {
            "right": self.plan.seeds,
            "wrong": self.plan.wrong_seeds,
            "mutants": self.plan.mutant_seeds,
        }
        report.mutants_made, report.certain = len(self.mutants), self.certain
        judge_ends(self.results[SOLUTION], self.results[RELEASE], report)
        for mistake in self.mistakes:
            judge_mistake(mistake, self.results[mistake], report)
        for mutant in self.tried:
            judge_mutant(mutant, self.results[mutant], self.reasons.get(mutant.id), report)
        known = {mutant.id for mutant in self.mutants}
        judge_mutants([key for key in self.reasons if key not in known], report)
        report.seconds = round(time.monotonic() - started, 1)
        return report

    def _ends(self) -> Iterator[Case]:
        """The solution, the release, and each answer of the solution with only what it needs."""
        for draws in together(range(self.plan.seeds)):
            yield Case(SOLUTION, draws)
        yield Case(RELEASE, range(1))
        for task, answer in self.answers.items():
            yield Case(f"{SLICE} {task}", range(1), False, task, answer)

    def _bank(self) -> Iterator[Case]:
        begin = int(self.plan.elsewhere)
        for mistake in self.mistakes:
            task, source = mistake.task, mistake.source
            if self.plan.elsewhere:
                yield Case(mistake, range(1), True, task, source)
            if mistake.loses:
                parts = [range(i, i + 1) for i in range(begin, self.plan.wrong_seeds)]
            else:
                parts = together(range(begin, self.plan.seeds))
            yield from (Case(mistake, draws, False, task, source) for draws in parts)

    def _mutants(self) -> Iterator[Case]:
        for draw in range(self.plan.mutant_seeds):
            for mutant in self.tried:
                yield Case(mutant, range(draw, draw + 1), False, mutant.task, mutant.source)

    def _grade(self, cases: list[Case], grade: Grade, tell: Callable[[str], None]) -> None:
        named = {str(number): case for number, case in enumerate(cases)}
        for name, result in grade({name: self._job(case) for name, case in named.items()}):
            subject = named[name].subject
            if isinstance(result, CourseError):
                raise result  # it says what to mend, once for all
            if isinstance(result, Exception):
                result = Result("", self.assignment.id, UNGRADED, reason=str(result))
            self.results.setdefault(subject, []).append(result)
            tell(subject if isinstance(subject, str) else subject.task)

    def _job(self, case: Case) -> Job:
        mutant = isinstance(case.subject, Mutant)
        whole = self.plan.tasks if isinstance(case.subject, str) else ()
        trial = Trial(
            secrets=tuple(f"validation {draw}".encode() for draw in case.draws),
            tasks=whole if case.whole else (case.task,),
            call_seconds=self.call_seconds.get(case.task) if mutant else None,
        )
        return Job(
            key="",
            repository=self.course.repository,
            assignment=self.assignment.id,
            environment=self.environment,
            secret=b"",
            notebook=notebook_text(self._notebook(case)),
            repairs=(),
            trial=trial,
        )

    def _notebook(self, case: Case) -> NotebookNode:
        if case.subject == RELEASE:
            return self.release
        if not case.source:
            return self.solution
        if case.whole or not self.sliced.get(case.task, True):
            return put_answer(self.solution, case.task, self._marked(case))
        return slice_for(self.solution, case.task, self._marked(case))

    def _marked(self, case: Case) -> str:
        """The answer under its task's marker."""
        marker = f"# graded: {self.assignment.id}/{case.task}\n"
        return case.source if case.source.startswith(marker) else marker + case.source

    def _learn_from_slices(self) -> None:
        """Where the solution's cell cannot do with what it names, whole notebooks are run."""
        for task in self.answers:
            (result,) = self.results.pop(f"{SLICE} {task}")
            self.sliced[task] = bool(result.tasks) and result.score == result.points
            if self.sliced[task]:
                self.call_seconds[task] = max(LEAST_SECONDS, PATIENCE * result.compute_seconds)


def together(draws: range) -> list[range]:
    """Draws in portions for one process each."""
    return [draws[i : i + DRAWS_TOGETHER] for i in range(0, len(draws), DRAWS_TOGETHER)]
