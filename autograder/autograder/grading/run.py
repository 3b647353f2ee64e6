"""One clean notebook to one result: run, freeze, probe, in that order.

First every cell runs in the sandbox. Then the outputs are frozen: nothing the student's process
emits later reaches a page. Only then do the hidden tests, in this process, call the functions that
were taken right after their cells. A crash costs the task it happens in, not the submission.
"""

from __future__ import annotations

import ast
import asyncio
import copy
import re
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from .. import cells
from ..course import Assignment, Course
from ..intake import parsed
from ..probe import (
    CallLimits,
    HiddenTestsBroken,
    Student,
    StudentDead,
    TaskOutcome,
    TestOutcome,
    run_hidden_tests,
    source_line,
    start_student,
)
from ..results import GRADED, UNGRADED, Result, TaskResult, TestResult, key_at, notebook_text
from ..sandbox import KernelSource, SandboxUnavailable, level_of
from .cellrunner import CellFate, KernelRun, MachineryFailed
from .sanitize import PixelBudget, clean_outputs
from .trial import Trial, worst

MAX_RESTARTS = 8
CALL_WALL_PER_CPU = 4.0
_MISSING_NAME = re.compile(r"name '(\w+)' is not defined")
_MISSING_MODULE = re.compile(r"No module named '([\w.]{1,100})'")
#: A line is named in answers of up to so many: the number of a line can tell what an input was.
MAX_LINES_NAMED = 200
#: Machinery failures are tried once more before a submission is left ungraded.
ATTEMPTS = 2


class Runner:
    """Grades clean notebooks of one assignment in one sandbox."""

    def __init__(
        self,
        sandbox: KernelSource,
        course: Course,
        assignment: Assignment,
        secret: bytes,
        environment: dict[str, Any],
    ) -> None:
        self.sandbox, self.course, self.assignment = sandbox, course, assignment
        self.secret, self.environment = secret, environment

    def run(
        self,
        key: str,
        notebook: NotebookNode,
        repairs: tuple[str, ...],
        trial: Trial | None = None,
    ) -> Result:
        """Grade a notebook; a failure of the machinery leaves it ungraded and says why."""
        reason = ""
        for _ in range(ATTEMPTS):
            started = time.monotonic()
            try:
                attempt = Attempt(self, copy.deepcopy(notebook), trial)
                asyncio.run(attempt.run())
            except (MachineryFailed, SandboxUnavailable) as error:
                reason = f"the grader failed: {error}"
                continue
            except HiddenTestsBroken as error:
                reason = f"the hidden tests are broken: {error}"
                break
            return Result(
                key=key_at(key, level_of(str(self.sandbox.isolation))),
                assignment=self.assignment.id,
                status=GRADED,
                tasks=tuple(attempt.results),
                repairs=repairs,
                notes=tuple(attempt.notes),
                notebook=notebook_text(attempt.notebook),
                compute_seconds=round(attempt.cpu_seconds, 3),
                wall_seconds=round(time.monotonic() - started, 3),
                record={
                    "isolation": str(self.sandbox.isolation),
                    "environment": self.environment,
                    "seeds": attempt.seeds,
                },
            )
        return Result(key, self.assignment.id, UNGRADED, reason=reason, repairs=repairs)


class Attempt:
    """One attempt at one notebook: its kernel, its outputs, its notes and task results."""

    def __init__(self, runner: Runner, notebook: NotebookNode, trial: Trial | None = None) -> None:
        self.runner, self.notebook = runner, notebook
        self.trial = trial or Trial((runner.secret,))
        self.limits = self.trial.limits(runner.course.limits)
        self.deadline = time.monotonic() + self.limits.submission_wall_seconds
        self.kernel: KernelRun | None = None
        self.student: Student
        self.fatal: set[int] = set()
        self.stopped: set[int] = set()  # the course's own cells that were ended for their time
        self.with_explore = False
        self.frozen = False
        self.restarts = 0
        self.cpu_seconds = 0.0
        self.delay_seconds = 0.0  # of kernels that are gone: others had the processors
        self.notes: list[str] = []
        self.results: list[TaskResult] = []
        self.seeds: dict[str, int] = {}  # of each task's random inputs

    async def run(self) -> None:
        """Run the cells, freeze their outputs, probe the functions."""
        try:
            await self._run_cells()
            self._freeze()
            await self._probe()
        finally:
            await self._stop_kernel()

    async def _run_cells(self) -> None:
        """All cells; once more with the `explore` cells where leaving them out broke something."""
        while True:
            missing = await self._one_pass(self.notebook)
            if missing and not self.with_explore:
                self.with_explore = True
                self.notes.append(
                    f"Your cells use {missing}, which a demonstration cell defines: "
                    "the demonstrations were run too."
                )
                self._clear_outputs()
                continue
            return

    async def _one_pass(self, notebook: NotebookNode) -> str | None:
        """Run in order in a fresh kernel; after a death again, without the cell that brought it."""
        while True:
            await self._fresh_kernel(notebook)
            died_at = None
            missing = None
            for index in self._planned(notebook):
                fate = await self._execute(notebook, index)
                missing = missing or self._hidden_by_us(fate)
                if fate.fatal:
                    died_at = index
                    break
            if died_at is None:
                return missing
            self.fatal.add(died_at)
            self.restarts += 1
            if self.restarts > MAX_RESTARTS:
                self.notes.append("The Python process ended too often; the rest was not run.")
                await self._fresh_kernel(notebook)
                return None

    def _planned(self, notebook: NotebookNode) -> list[int]:
        """Indices of the cells to run: the graded path, all that the student added, no install."""
        roles = {cells.ANSWER, cells.AUTHOR, cells.ADDED}
        if self.with_explore:
            roles.add(cells.EXPLORE)
        return [
            index
            for index, cell in enumerate(notebook.cells)
            if cell.cell_type == "code"
            and cells.role(cell) in roles
            and index not in self.fatal | self.stopped
        ]

    async def _execute(self, notebook: NotebookNode, index: int) -> CellFate:
        cell = notebook.cells[index]
        kernel = self._kernel()
        if self._seconds_left() <= 0:
            return CellFate("skipped")
        fate = await kernel.execute(cell, index, self._seconds_left())
        if fate.reason and cells.role(cell) == cells.AUTHOR:
            # A check that waited for an endless answer: in a new process it would wait again.
            self.stopped.add(index)
        taken = CellFate("ok")
        if not fate.fatal and cells.role(cell) == cells.ANSWER:
            taken = await kernel.take(str(cells.task(cell)), cell)
        for reason in (fate.reason, taken.reason):
            if reason and not self.frozen:
                self.notes.append(f"A cell was ended by the grader: {reason}.")
        return taken if taken.fatal else fate

    def _hidden_by_us(self, fate: CellFate) -> str | None:
        """The name that is missing because a demonstration cell was left out, if that is the cause."""
        found = _MISSING_NAME.search(fate.error_text) if fate.error_name == "NameError" else None
        if not found:
            return None
        skipped = [cell.source for cell in self.notebook.cells if cells.role(cell) == cells.EXPLORE]
        return found.group(1) if any(found.group(1) in bound_names(s) for s in skipped) else None

    def _freeze(self) -> None:
        """Sanitise what the cells put out; from here on nothing is added to it."""
        pixels = PixelBudget()
        for cell in self.notebook.cells:
            if cell.cell_type != "code":
                continue
            for output in cell.outputs:
                self._note_output(output)
            cell.outputs = clean_outputs(cell.outputs, pixels)
        self.notes = list(dict.fromkeys(self.notes))
        self.frozen = True

    def _note_output(self, output: Any) -> None:
        """The one note that is taken from a student's output: which module is missing."""
        if output.get("output_type") != "error" or output.get("ename") != "ModuleNotFoundError":
            return
        if found := _MISSING_MODULE.search(str(output.get("evalue"))):
            self.notes.append(f"Not in the course environment: {found.group(1)}.")

    async def _probe(self) -> None:
        """Score all tasks; where there are several secrets, keep the worst draw."""
        points = self.trial.points(self.runner.assignment.tasks)
        first = await self._start_student()
        if first is None:
            note = "Not tested: your notebook's process ends itself after the last cell."
            self.results = [
                TaskResult(task, worth, 0.0, note=note) for task, worth in points.items()
            ]
            return
        self.student = first
        draws = [await self._score(points, secret) for secret in self.trial.secrets]
        self.results = draws[0] if len(draws) == 1 else worst(draws)

    async def _score(self, points: dict[str, float], secret: bytes) -> list[TaskResult]:
        """Hidden tests, task by task; the process is made anew when a task has ended it."""
        loop = asyncio.get_running_loop()
        results = []

        def student_for(task: str) -> Student:
            return asyncio.run_coroutine_threadsafe(self._living_student(), loop).result()

        for outcome in await self._test(list(points), student_for, secret):
            if outcome.died == "wall time":
                # Wall time is a backstop: it counts only when it is hit a second time.
                (outcome,) = await self._test([outcome.task], student_for, secret)
            if outcome.died == "lost":
                raise MachineryFailed(f"the sandbox went away while {outcome.task} was tested")
            self.seeds[outcome.task] = outcome.seed
            results.append(self._task_result(outcome, points[outcome.task]))
        return results

    async def _test(
        self, tasks: list[str], student_for: Callable[[str], Student], secret: bytes
    ) -> list[TaskOutcome]:
        runner = self.runner
        tests = runner.course.hidden_tests(runner.assignment.id)
        return await asyncio.to_thread(
            run_hidden_tests, tests, runner.assignment.id, tasks, student_for, secret
        )

    async def _living_student(self) -> Student:
        """The student's process, made anew if it has died and may still be; else the dead one."""
        if self.student.dead is not None and await self._run_again():
            self.student = await self._start_student() or self.student
        return self.student

    async def _run_again(self) -> bool:
        """Run the same cells in a new kernel, throwing their outputs away; False after too many."""
        self.restarts += 1
        if self.restarts > MAX_RESTARTS or self._seconds_left() <= 0:
            return False
        await self._one_pass(copy.deepcopy(self.notebook))
        return True

    async def _start_student(self) -> Student | None:
        """Begin to probe the kernel that has run the cells; None if none outlives them."""
        while True:
            try:
                return self._serving(self._kernel())
            except StudentDead as dead:
                if dead.reason == "lost":
                    raise MachineryFailed("the sandbox went away before the tests") from dead
                if not await self._run_again():
                    return None

    def _serving(self, kernel: KernelRun) -> Student:
        seconds = self.limits.call_cpu_seconds
        limits = CallLimits(
            cpu_seconds=seconds,
            wall_seconds=CALL_WALL_PER_CPU * seconds,
            all_seconds=max(1.0, self._seconds_left()),
        )
        return start_student(kernel.client.kc, kernel.provisioner, limits)

    def _task_result(self, outcome: TaskOutcome, points: float) -> TaskResult:
        tests = tuple(
            TestResult(
                name=test.name,
                weight=test.weight,
                passed=test.passed,
                hint=test.misconception,
                detail=self._detail(outcome.task, test),
            )
            for test in outcome.tests
        )
        return TaskResult(outcome.task, points, round(points * outcome.fraction, 6), tests)

    def _detail(self, task: str, test: TestOutcome) -> str:
        """What a failed test may show: the exception's type and the student's own line."""
        if test.passed or not test.message:
            return ""
        answers = [c for c in self.notebook.cells if cells.role(c) == cells.ANSWER]
        source = next((c.source for c in answers if cells.task(c) == task), "")
        short = len(source.splitlines()) <= MAX_LINES_NAMED
        line = source_line(source, test.line) if short else None
        if line is None:
            # The number is the student's word; where no such line is, it could be anything.
            return test.message.split(" at line ")[0]
        return f"{test.message}: {line.strip()[:200]}"

    def _seconds_left(self) -> float:
        """Wall time that the submission still has; what others took from it is given back."""
        delayed = self.delay_seconds + (self.kernel.delay_seconds if self.kernel else 0.0)
        return self.deadline + delayed - time.monotonic()

    async def _fresh_kernel(self, notebook: NotebookNode) -> None:
        await self._stop_kernel()
        limit = self.limits.cell_cpu_seconds
        self.kernel = KernelRun(self.runner.sandbox, notebook, limit)
        await self.kernel.start()
        usage = await self.kernel.provisioner.usage()
        self.kernel.cpu_at_start = usage.cpu_seconds if usage is not None else 0.0

    async def _stop_kernel(self) -> None:
        if self.kernel is None:
            return
        usage = await self.kernel.provisioner.usage()
        if usage is not None:
            self.cpu_seconds += usage.cpu_seconds - self.kernel.cpu_at_start
            self.kernel.delay_seconds = usage.delay_seconds
        self.delay_seconds += self.kernel.delay_seconds
        await self.kernel.close()
        self.kernel = None

    def _kernel(self) -> KernelRun:
        assert self.kernel is not None
        return self.kernel

    def _clear_outputs(self) -> None:
        for cell in self.notebook.cells:
            if cell.cell_type == "code":
                cell.outputs = []


def check_tests(tests: Path, assignment: Assignment) -> None:
    """Import the hidden tests, and all that they import, before the first student waits for it.

    Raises HiddenTestsBroken where they do not import or leave a task out.
    """

    class Reached(Exception):
        pass

    def nobody(task: str) -> Student:
        raise Reached

    with suppress(Reached):
        run_hidden_tests(tests, assignment.id, list(assignment.tasks), nobody, b"")


def bound_names(source: str) -> set[str]:
    """Names that a cell assigns, imports or defines."""
    tree = parsed(source)
    if tree is None:
        return set()
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.alias):
            names.add((node.asname or node.name).split(".")[0])
    return names
