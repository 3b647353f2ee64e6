"""Tests of the hidden tests: the solution gets everything, the release nothing, mistakes lose points.

Each file of `mistakes/<id>/` replaces one graded function of the solution. A wrong one (`EXPECT =
"loses"`) must lose points in its own task and in no other; an unusual right one ("keeps") must lose
none. The kill rate is the share of wrong ones that lost.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from . import cells
from .build import read_source
from .course import Assignment, Course, CourseError
from .intake import clean_notebook
from .results import GRADED, UNGRADED, Result, environment_of, notebook_text
from .work import Job
from .workers import Workers

#: The secret that validation draws inputs from; any will do, a fixed one makes runs comparable.
SECRET = b"validation"
SOLUTION, RELEASE = "the solution", "the release"


@dataclass(frozen=True)
class Mistake:
    """One entry of the mistake bank."""

    path: Path
    title: str
    task: str
    loses: bool
    source: str


@dataclass
class Report:
    """What a validation found."""

    assignment: str
    solution: float = 0.0
    release: float = 0.0
    points: float = 0.0
    killed: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    wrong: int = 0

    @property
    def passed(self) -> bool:
        """Whether everything is as it must be."""
        return not self.problems

    def text(self) -> str:
        """The report as lines for a terminal."""
        rate = f"{len(self.killed)}/{self.wrong}"
        share = f" ({100 * len(self.killed) / self.wrong:.0f}%)" if self.wrong else ""
        lines = [
            f"{self.assignment}: solution {self.solution:g}/{self.points:g}, "
            f"release {self.release:g}/{self.points:g}, wrong answers caught {rate}{share}"
        ]
        return "\n".join(lines + [f"  problem: {problem}" for problem in self.problems])


def read_mistakes(course: Course, assignment: Assignment) -> list[Mistake]:
    """The mistake bank; raises CourseError for an entry that does not say what it is."""
    found = []
    for path in sorted(
        (course.repository / "autograder" / "mistakes" / assignment.id).glob("*.py")
    ):
        text = path.read_text(encoding="utf-8")
        tree = ast.parse(text)
        values = {
            node.targets[0].id: node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and isinstance(node.value, ast.Constant)
        }
        title = (ast.get_docstring(tree) or "").split("\n")[0]
        task, expect = values.get("TASK"), values.get("EXPECT")
        if not title or task not in assignment.tasks or expect not in ("loses", "keeps"):
            raise CourseError(
                f"{path}: needs a docstring, TASK = one of {', '.join(assignment.tasks)}, "
                'and EXPECT = "loses" or "keeps".'
            )
        found.append(Mistake(path, title, str(task), expect == "loses", text))
    return found


def with_answer(notebook: NotebookNode, assignment_id: str, task: str, source: str) -> NotebookNode:
    """A copy of a notebook with another source in one answer cell."""
    changed = copy.deepcopy(notebook)
    for cell in changed.cells:
        if cells.role_of_release_cell(cell) == (cells.ANSWER, task):
            cell.source = f"# graded: {assignment_id}/{task}\n{source}"
    return changed


def validate(
    course: Course, assignment: Assignment, tell: Callable[[str, int], None] = lambda *_: None
) -> Report:
    """Grade the solution, the release and every mistake; see the module's text.

    `tell` is told the name of what was graded last, and how many are to be graded in all.
    """
    solution = read_source(course, assignment)
    release = nbformat.read(course.release_notebook(assignment.id), as_version=4)
    report = Report(assignment.id, points=assignment.automatic_points)
    mistakes = {mistake.path.stem: mistake for mistake in read_mistakes(course, assignment)}
    notebooks = {SOLUTION: solution, RELEASE: release} | {
        name: with_answer(solution, assignment.id, mistake.task, mistake.source)
        for name, mistake in mistakes.items()
    }
    results: dict[str, Result] = {}
    with Workers(course, assignment) as workers:
        workers.send(_jobs(course, assignment, notebooks, release))
        for name, result in workers.results():
            if isinstance(result, Exception):
                result = Result("", assignment.id, UNGRADED, reason=str(result))
            tell(name, len(notebooks))
            results[name] = result
    _check_ends(results[SOLUTION], results[RELEASE], report)
    for name, mistake in mistakes.items():
        _check_mistake(mistake, results[name], report)
    return report


def _jobs(
    course: Course,
    assignment: Assignment,
    notebooks: dict[str, NotebookNode],
    release: NotebookNode,
) -> dict[str, Job]:
    environment = environment_of(course, assignment)
    jobs = {}
    for name, notebook in notebooks.items():
        clean = clean_notebook(notebook, assignment.id, release)
        jobs[name] = Job(
            key="",
            repository=course.repository,
            assignment=assignment.id,
            environment=environment,
            secret=SECRET,
            notebook=notebook_text(clean.notebook),
            repairs=clean.repairs,
        )
    return jobs


def _check_ends(solution: Result, release: Result, report: Report) -> None:
    report.solution, report.release = solution.score, release.score
    for task in solution.tasks:
        if task.score < task.points:
            failed = ", ".join(test.name for test in task.tests if not test.passed)
            report.problems.append(f"the solution loses points in {task.task}: {failed}")
    if solution.status != GRADED:
        report.problems.append(f"the solution was not graded: {solution.reason}")
    if release.score:
        report.problems.append(f"the untouched release gets {release.score:g} points")


def _check_mistake(mistake: Mistake, result: Result, report: Report) -> None:
    label = f"{mistake.path.stem} ({mistake.title})"
    lost = {task.task for task in result.tasks if task.score < task.points}
    report.wrong += mistake.loses
    if result.status != GRADED:
        report.problems.append(f"{label} was not graded: {result.reason}")
    elif mistake.loses and mistake.task not in lost:
        report.problems.append(f"{label} loses nothing in {mistake.task}")
    elif mistake.loses:
        report.killed.append(mistake.path.stem)
    elif lost:
        report.problems.append(f"{label} is right but loses points in {', '.join(sorted(lost))}")
    if others := lost - {mistake.task}:
        report.problems.append(f"{label} loses points elsewhere: {', '.join(sorted(others))}")
