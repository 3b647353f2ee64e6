"""A toy class in which hostile notebooks are graded, each beside a good one."""

from __future__ import annotations

import copy
import os
import secrets
import shutil
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from autograder.course import Course, CourseFolder
from autograder.grading.feedback import graded_notebook
from autograder.grading.record import Recorder
from autograder.grading.run import Runner, check_tests
from autograder.grading.session import GradingSession
from autograder.grading.work import sandbox_settings
from autograder.init import init
from autograder.intake import Clean, Refused, take_in
from autograder.ledger import Ledger
from autograder.results import GRADED, UNGRADED, Result
from autograder.sandbox import KernelSource, Limits, Sandbox
from autograder.sandbox.zygote import TORCH_ALONE
from kernel_notebook import Notebook
from nbformat.v4 import new_code_cell, new_markdown_cell
from nbgrader.api import Gradebook
from toy_course import CANARY, answer, hand_in, make_toy_course, solved

from .attack import FULL_MARKS, Attack, Inside, Naive, Otherwise, Patched, Trace
from .leaving import bytes_of, class_files
from .weakened import Weakened, grade_naively, weakened_sandbox

ASSIGNMENT = "01_toy"
GOOD = "zoe"
#: Small, so that reaching a limit costs little.
LIMITS = Limits(cpu_seconds=60, memory_bytes=3 << 30, disk_bytes=24 << 20, processes=24)
MARKER = "# graded: 01_toy/double\n"


def planted() -> str:
    """A new canary."""
    return f"canary-{secrets.token_hex(16)}"


class ClassFolder:
    """A course folder, and what writes into it."""

    def __init__(self, root: Path, course: Course, stack: ExitStack) -> None:
        self.folder: CourseFolder = init(root, course)
        assignment = course.assignment(ASSIGNMENT)
        self.session = stack.enter_context(GradingSession(self.folder, course, assignment))
        self.recorder = Recorder(self.folder, ASSIGNMENT)
        self.ledger = Ledger(self.folder.ledger)

    def record(self, student: str, clean: Clean | None, result: Result) -> None:
        """Result, gradebook, graded notebook, feedback page, ledger: as a batch does."""
        if clean is not None and result.status == GRADED:
            self.session.keep(result)
            self.recorder.record(student, clean)
        else:
            self.recorder.record_ungraded(student, result.reason)
        self.ledger.append(student, result, reason="grade")

    def marks(self, student: str) -> float:
        """The automatic score that the gradebook has."""
        with Gradebook(f"sqlite:///{self.folder.gradebook}") as gradebook:
            return float(gradebook.find_submission(ASSIGNMENT, student).score)

    def page(self, student: str) -> str:
        """The feedback page."""
        return self.recorder.feedback_page(student).read_text()


class Arena:
    """A course, the class folder at risk, another for controls, and a sandbox for each."""

    def __init__(self, root: Path, stack: ExitStack) -> None:
        self.stack, self.root = stack, root
        self.scratch = root / "leaving"
        self.scratch.mkdir()
        self.canaries = {name: planted() for name in ("input", "gradebook", "student", "secret")}
        self.canaries["test"] = CANARY
        self.secrets = list(self.canaries.values())
        self.course = make_toy_course(root / "course")
        self._plant_hidden_input()
        self.real = ClassFolder(root / "class", self.course, stack)
        self.decoy = ClassFolder(root / "control", self.course, stack)
        self.assignment = self.course.assignment(ASSIGNMENT)
        # What other students handed in, and what the gradebook knows, is worth stealing.
        self.good = solved(self.course)
        self.good.cells.append(new_markdown_cell(f"My own thoughts: {self.canaries['student']}"))
        for one in (self.real, self.decoy):
            hand_in(one.folder.root, GOOD, self.good)
            with Gradebook(f"sqlite:///{one.folder.gradebook}") as gradebook:
                gradebook.update_or_create_student(GOOD, last_name=self.canaries["gradebook"])
        self.hits: list[bytes] = []
        self.port = int(self._listen(socket.AF_INET, ("127.0.0.1", 0))[1])
        self._listen(socket.AF_UNIX, f"\0steerlab-arena-{self.port}")
        for one in (self.real, self.decoy):
            self._listen(socket.AF_UNIX, os.fspath(one.folder.root / "s"))

    def open(self) -> None:
        """Start both sandboxes, and grade the good submission."""
        settings = sandbox_settings(self.course, self.assignment, self.root)
        # One attack is a tensor: to import PyTorch would take what time its cell has.
        self.strict = Sandbox(replace(settings, limits=LIMITS, preload=TORCH_ALONE))
        self.stack.callback(self.strict.stop)
        self.strict.launch()
        decoy_course = self.root / "control-course"
        shutil.copytree(self.course.repository, decoy_course, symlinks=True)
        for folder in (self.decoy.folder.root, decoy_course):
            open_to_all(folder)
        shown = {self.real.folder.root: self.decoy.folder.root}
        shown[self.course.repository] = decoy_course
        secret = self.canaries["secret"]
        os.environ["COURSE_SECRET"] = secret
        self.stack.callback(os.environ.pop, "COURSE_SECRET", None)
        weak = weakened_sandbox(self.strict, shown, self.root, secret)
        self.weak = self.stack.enter_context(weak)
        check_tests(self.course.hidden_tests(ASSIGNMENT), self.assignment)
        self.strict.start()
        self.weak.start()
        self.good_clean = take_in(
            self.real.folder.submitted / GOOD / ASSIGNMENT, ASSIGNMENT, self.real.session.release
        )
        good = self.grade_good(self.strict)
        for one in (self.real, self.decoy):
            key = one.session.key(self.good_clean.notebook)
            one.record(GOOD, self.good_clean, replace(good, key=key))
        open_to_all(self.decoy.folder.root)

    def _plant_hidden_input(self) -> None:
        """A hidden test whose input is a canary, so that a leak of it is plain to see."""
        path = self.course.hidden_tests(ASSIGNMENT)
        test = f'''

@task("double", weight=1, misconception="Text doubles too.")
def test_doubles_text(student):
    text = "{self.canaries["input"]}"
    assert student.double(text) == text + text
'''
        path.write_text(path.read_text() + test)

    def _listen(self, family: int, address: Any) -> Any:
        """A server of the instructor's machine, which notes what it is sent; its address."""
        server = socket.socket(family)
        server.bind(address)
        server.listen(8)
        self.stack.callback(server.close)
        self.stack.callback(server.shutdown, socket.SHUT_RDWR)

        def serve() -> None:
            while True:
                try:
                    with server.accept()[0] as caller:
                        self.hits.append(caller.recv(1000))
                        caller.sendall(b"hello from the host")
                except OSError:
                    return

        threading.Thread(target=serve, daemon=True).start()
        return server.getsockname()

    def runner(self, source: KernelSource) -> Runner:
        """A runner of this course in any sandbox."""
        session = self.real.session
        secret = self.real.folder.secret
        return Runner(source, self.course, self.assignment, secret, session.environment)

    def grade_good(self, source: KernelSource) -> Result:
        """The good submission, graded anew."""
        clean = self.good_clean
        return self.runner(source).run(self.real.session.key(clean.notebook), clean.notebook, ())

    def submission(self, attack: Attack, folder: ClassFolder) -> Path:
        """Hand the attack in; returns its folder."""
        notebook = solved(self.course)
        answer(notebook, "double", MARKER + self.filled(attack.double))
        if attack.first:
            notebook.cells.insert(0, new_code_cell(self.filled(attack.first)))
        if attack.last:
            notebook.cells.append(new_code_cell(self.filled(attack.last)))
        if attack.edit:
            attack.edit(notebook)
        path = hand_in(folder.folder.root, attack.name, notebook).parent
        if attack.files:
            attack.files(self, path)
        return path

    def filled(self, source: str) -> str:
        """An attack's source with what the attacker has found out about the machine."""
        facts = {
            "@CLASS@": os.fspath(self.real.folder.root),
            "@COURSE@": os.fspath(self.course.repository),
            "@PORT@": str(self.port),
            "@PID@": str(os.getpid()),
        }
        for name, value in facts.items():
            source = source.replace(name, value)
        return source

    def defended(self, attack: Attack) -> Trace:
        """Grade an attack as the product does, with a good submission at the same time."""
        path = self.submission(attack, self.real)
        with (
            pytest.MonkeyPatch.context() as patch,
            self.neighbour(attack, self.strict) as neighbour,
        ):
            if attack.both:
                attack.both(patch)
            trace = self._graded(attack, path, self.strict, self.real)
            trace.neighbour = neighbour
            trace.seen["gained"] = attack.gained(trace)
        return trace

    def control(self, attack: Attack) -> Trace:
        """Grade it with the one defence off; what it gained is in `seen`."""
        path = self.submission(attack, self.decoy)
        off = attack.off
        source: KernelSource = Weakened(self.weak)
        if isinstance(off, Inside):
            source = Weakened(self.weak, off.walls, off.limits)
        if isinstance(off, Otherwise):
            return Trace(None, path, seen={"gained": off.stock(self, attack)})
        with pytest.MonkeyPatch.context() as patch, self.neighbour(attack, source) as neighbour:
            if attack.both:
                attack.both(patch)
            if isinstance(off, Patched):
                off.patch(patch)
                source = self.strict
            if isinstance(off, Naive):
                trace = self._naive(path, off)
            else:
                trace = self._graded(attack, path, source, self.decoy)
            trace.neighbour = neighbour
            trace.seen["gained"] = attack.gained(trace)
        return trace

    def _graded(
        self, attack: Attack, path: Path, source: KernelSource, folder: ClassFolder
    ) -> Trace:
        root = folder.folder.root
        self.hits.clear()
        beside = folder is self.real
        try:
            clean = take_in(path, ASSIGNMENT, folder.session.release)
        except Refused as refusal:
            folder.record(attack.name, None, Result("", ASSIGNMENT, UNGRADED, str(refusal)))
            return Trace(None, root, page=lambda: folder.page(attack.name))
        with ThreadPoolExecutor(2) as pool:
            runner = self.runner(source)
            good = pool.submit(self.grade_good, source) if beside else None
            key = folder.session.key(clean.notebook)
            result = pool.submit(runner.run, key, clean.notebook, clean.repairs).result()
        seen: dict[str, Any] = {"good": good.result().score if good else FULL_MARKS}
        seen |= {"hits": list(self.hits), "log": (source.folder / "log").read_text()}
        if beside:
            folder.record(attack.name, clean, result)
        score = result.score if result.status == GRADED else None
        trace = Trace(score, root, result=result, seen=seen)
        if result.status == GRADED:
            before = nbformat.reads(result.notebook, as_version=4)
            trace.notebook = graded_notebook(result, before, folder.session.release)
        trace.page = lambda: self._page(attack, clean, result, folder)
        return trace

    def _page(self, attack: Attack, clean: Clean, result: Result, folder: ClassFolder) -> str:
        """The feedback page; a control's is made when somebody looks."""
        if folder is self.decoy:
            folder.record(attack.name, clean, result)
        return folder.page(attack.name)

    def _naive(self, path: Path, off: Naive) -> Trace:
        clean = take_in(path, ASSIGNMENT, self.decoy.session.release)
        notebook = copy.deepcopy(clean.notebook)
        worth = self.assignment.tasks
        canary = self.canaries["input"]
        score = grade_naively(self.strict, notebook, worth, off.tests, canary)
        return Trace(score, self.decoy.folder.root, notebook)

    @contextmanager
    def neighbour(self, attack: Attack, source: KernelSource) -> Iterator[Any]:
        """A second student's kernel: started before the attack, or when it is asked to run code."""
        running: list[Notebook] = []

        def run(code: str) -> str:
            if not running:
                running.append(Notebook(source))
            if running[0].provisioner.control.poll() is not None:
                return "gone"
            return running[0].run(code).text

        if attack.neighbour == "before":
            running.append(Notebook(source))
        try:
            yield run
        finally:
            for notebook in running:
                notebook.close()

    def leaving(self, student: str) -> str:
        """Every byte that leaves the grader about one student, its ledger and logs included."""
        folder = self.real.folder
        places = [folder.feedback / student, folder.autograded / student]
        files = [path for place in places for path in place.rglob("*") if path.is_file()]
        files += [folder.ledger, *(folder.root / "logs").rglob("*.log")]
        files += list(self.strict.folder.glob("log"))
        return _text_of(files)

    def leaving_together(self) -> str:
        """Every byte that leaves about the class as it is now.

        The report with names and similar pairs, all tables and LMS files, the packed pages (but the
        good student's own, which holds her own text), and what the commands that made them print.
        """
        return _text_of(class_files(self.real.folder, ASSIGNMENT, self.scratch))


def _text_of(files: list[Path]) -> str:
    return "\n".join(bytes_of(path, GOOD).decode("utf-8", "replace") for path in files)


def open_to_all(folder: Path) -> None:
    """Let the sandbox's own user read and write: not its rights are what a control tries."""
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o777 if path.is_dir() else 0o666)


def processes_named(word: str) -> list[psutil.Process]:
    """Processes of this machine with a word in their command line."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if any(word in part for part in process.info["cmdline"] or ()):
            found.append(process)
    return found
