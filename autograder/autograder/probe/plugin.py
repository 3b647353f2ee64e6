"""Hidden tests: ordinary pytest files, run in the trusted process against a student's functions.

    @task("mean_difference", weight=1, misconception="Subtract the negative mean, not the positive.")
    def test_points_from_negative_to_positive(student, rng):
        ...

What a run gives is safe to show: names, weights and misconceptions are the author's, the message is
made of fixed words, a known exception name and a line number. No assertion text leaves this module.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from ..course import HiddenTestsBroken
from .client import Student, StudentDead, StudentError

if TYPE_CHECKING:
    import torch

MARKER = "steerlab_task"
# Three of these take most of a second a run for themselves; none is of use here.
WITHOUT = (
    "cacheprovider",
    "unraisableexception",
    "threadexception",
    "faulthandler",
    "terminal",
    "logging",
)
SWITCHES = [
    *(word for name in WITHOUT for word in ("-p", f"no:{name}")),
    "--disable-plugin-autoload",
    "--noconftest",
    "--assert=plain",
    "--capture=sys",
    "--import-mode=importlib",
    "-c",
    os.devnull,
]


@dataclass(frozen=True)
class TestOutcome:
    """One hidden test on one student.

    message: safe to show; "" when an expectation failed (the misconception says it then).
    error: exception type on the student's side; line: its line within the answer cell.
    died: the reason if the student's process died in this test (`StudentDead.reason`), else "".
    """

    __test__ = False  # not a test class, whatever its name

    name: str
    weight: float
    passed: bool
    misconception: str
    message: str = ""
    error: str = ""
    line: int | None = None
    died: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class TaskOutcome:
    """All hidden tests of one task on one student.

    died: the reason if the student's process died in this task: it has to be started anew before
    the next. "wall time" wants a second run alone; "lost" is the machinery's failure, no mark.
    cpu_seconds: what the tests computed here, beside the student's process.
    """

    task: str
    seed: int
    tests: tuple[TestOutcome, ...]  # never empty
    cpu_seconds: float = 0.0

    @property
    def fraction(self) -> float:
        """Share of the weights passed, 0 to 1."""
        return sum(t.weight for t in self.tests if t.passed) / sum(t.weight for t in self.tests)

    @property
    def died(self) -> str:
        return next((test.died for test in self.tests if test.died), "")

    @property
    def died_in(self) -> str:
        """The test in which the process died, or ""."""
        return next((test.name for test in self.tests if test.died), "")

    @property
    def misconceptions(self) -> tuple[str, ...]:
        """What the failed tests suggest, each once, in order."""
        said = (test.misconception for test in self.tests if not test.passed)
        return tuple(dict.fromkeys(text for text in said if text))


def task(name: str, *, weight: float = 1, misconception: str = "") -> pytest.MarkDecorator:
    """Mark a hidden test: the task it scores, its weight in it, what its failure suggests."""
    if weight <= 0:
        raise ValueError(f"A test of {name} has weight {weight:g}: give it more than 0.")
    mark = getattr(pytest.mark, MARKER)
    return mark(name, weight=float(weight), misconception=misconception)


def seed_for(secret: bytes, assignment: str, task_name: str, test_file: Path) -> int:
    """The seed of a task's random inputs, 63 bits: HMAC-SHA256 keyed by the course secret."""
    version = hashlib.sha256(Path(test_file).read_bytes()).hexdigest()
    text = "\0".join((assignment, task_name, version)).encode()
    return int.from_bytes(hmac.digest(secret, text, "sha256")[:8], "big") >> 1


def run_hidden_tests(
    test_file: Path,
    assignment: str,
    tasks: Sequence[str],
    student: Student | Callable[[str], Student],
    secret: bytes,
) -> list[TaskOutcome]:
    """Run the hidden tests of `tasks`, in that order, on one student.

    `student` may be a function from a task's name to the Student to use for it: it is asked before
    each task, and so may start the student's process anew when the task before killed it. What it
    raises is raised from here.

    Raises: HiddenTestsBroken when the file does not import, a task has no test, or a test's set-up
    fails by itself.
    """
    test_file = Path(test_file).resolve()
    if not test_file.is_file():
        raise HiddenTestsBroken(f"There are no hidden tests at {test_file}.")
    seeds = {name: seed_for(secret, assignment, name, test_file) for name in tasks}
    provide = student if not isinstance(student, Student) else lambda _: student
    run = _Run(test_file, tasks, provide, seeds)
    with _pytest_lock, _undisturbed(), _module_kept(test_file):
        pytest.main([*SWITCHES, f"--rootdir={test_file.parent}", str(test_file)], plugins=[run])
        if run.problem is not None:
            raise run.problem
    if len(run.outcomes) != len(tasks):
        raise HiddenTestsBroken(f"The hidden tests in {test_file.name} did not run to their end.")
    return run.outcomes


def run_task(
    test_file: Path, assignment: str, task_name: str, student: Student, secret: bytes
) -> TaskOutcome:
    """Run the hidden tests of one task; otherwise as `run_hidden_tests`."""
    return run_hidden_tests(test_file, assignment, [task_name], student, secret)[0]


class _Run:
    """The pytest plugin of one run: offers the fixtures, runs task by task, keeps the outcomes."""

    def __init__(
        self,
        test_file: Path,
        tasks: Sequence[str],
        provide: Callable[[str], Student],
        seeds: dict[str, int],
    ) -> None:
        self.test_file = test_file
        self.tasks = tasks
        self.provide = provide
        self.seeds = seeds
        self.outcomes: list[TaskOutcome] = []
        self.problem: BaseException | None = None
        self._student: Student | None = None
        self._task = ""
        self._tests: list[TestOutcome] = []

    @pytest.fixture(name="student")
    def student_fixture(self) -> Student:
        assert self._student is not None
        return self._student

    @pytest.fixture(name="seed")
    def seed_fixture(self) -> int:
        return self.seeds[self._task]

    @pytest.fixture(name="rng")
    def rng_fixture(self) -> torch.Generator:
        import torch  # here: a course that needs no tensor need not wait for it

        return torch.Generator().manual_seed(self.seeds[self._task])

    def pytest_configure(self, config: pytest.Config) -> None:
        config.addinivalue_line("markers", f"{MARKER}(name, weight, misconception): a hidden test")
        # Nobody reads the source around a failure, and finding it takes a third of a run.
        config.option.tbstyle = "line"

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            lines = [line for line in str(report.longrepr).splitlines() if line.strip()]
            last = lines[-1] if lines else "no reason given"
            self.problem = HiddenTestsBroken(f"{self.test_file.name} does not import: {last}")

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        if self.problem is None:
            try:
                self._run_tasks(session.items)
            except pytest.exit.Exception:
                self.problem = HiddenTestsBroken(f"{self.test_file.name} calls pytest.exit.")
            except BaseException as error:
                self.problem = error
        return True

    def _run_tasks(self, items: Sequence[pytest.Item]) -> None:
        by_task: dict[str, list[pytest.Item]] = {name: [] for name in self.tasks}
        for item in items:
            mark = item.get_closest_marker(MARKER)
            if mark is None:
                raise HiddenTestsBroken(f"{self.test_file.name}: {item.name} names no task.")
            by_task.setdefault(mark.args[0], []).append(item)
        for name in self.tasks:
            if not by_task[name]:
                raise HiddenTestsBroken(f"{self.test_file.name} has no test for the task {name}.")
        for name in self.tasks:
            self._task, self._tests = name, []
            self._student = self.provide(name)
            started = time.thread_time()
            for item in by_task[name]:
                item.ihook.pytest_runtest_protocol(item=item, nextitem=None)
                if self.problem is not None:
                    raise self.problem
                if self._student.dead is None:
                    self._release()
            computed = round(time.thread_time() - started, 4)
            outcome = TaskOutcome(name, self.seeds[name], tuple(self._tests), computed)
            self.outcomes.append(outcome)

    def _release(self) -> None:
        try:
            assert self._student is not None
            self._student.release()
        except StudentDead:
            return  # the next call says so

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[Any]
    ) -> Iterator[None]:
        report: Any = yield
        error = call.excinfo.value if call.excinfo is not None else None
        if report.when == "call" or (error is not None and isinstance(error, StudentError)):
            if report.outcome == "skipped":
                self.problem = HiddenTestsBroken(f"{self._where(item)} skips: nothing is scored.")
            self._tests.append(self._outcome(item, error, call.duration))
        elif error is not None:
            self.problem = HiddenTestsBroken(
                f"{self._where(item)}: its {report.when} raised {type(error).__name__}."
            )
        return report

    def _where(self, item: pytest.Item) -> str:
        return f"{self.test_file.name}, {item.name}"

    def _outcome(self, item: pytest.Item, error: BaseException | None, took: float) -> TestOutcome:
        mark = item.get_closest_marker(MARKER)
        assert mark is not None
        known = error if isinstance(error, StudentError) else None
        return TestOutcome(
            name=item.name,
            weight=mark.kwargs["weight"],
            passed=error is None,
            misconception=mark.kwargs["misconception"],
            message=str(known) if known is not None else "",
            error=known.type_name if known is not None else "",
            line=known.line if known is not None else None,
            died=known.reason if isinstance(known, StudentDead) else "",
            seconds=round(took, 4),
        )


_pytest_lock = threading.Lock()  # pytest replaces sys.stdout while it runs
_modules: dict[
    Path, tuple[str, ModuleType]
] = {}  # by test file: its digest, and what it imported as


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Keep pytest from the grader's own pytest settings, and from writing beside the tests."""
    names = ("PYTEST_ADDOPTS", "PYTEST_PLUGINS", "PYTEST_CURRENT_TEST")
    taken = {name: os.environ.pop(name) for name in names if name in os.environ}
    written, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    try:
        yield
    finally:
        sys.dont_write_bytecode = written
        os.environ.update(taken)


@contextmanager
def _module_kept(test_file: Path) -> Iterator[None]:
    """Import an unchanged test file once for all students, so that what it loads stays loaded."""
    digest = hashlib.sha256(test_file.read_bytes()).hexdigest()
    name = test_file.stem
    other = sys.modules.pop(name, None)
    if test_file in _modules and _modules[test_file][0] == digest:
        sys.modules[name] = _modules[test_file][1]
    try:
        yield
        _modules[test_file] = (digest, sys.modules[name])  # not where the import failed
    finally:
        sys.modules.pop(name, None)
        if other is not None:
            sys.modules[name] = other
