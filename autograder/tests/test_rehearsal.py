"""No mark is recorded before the course's own solution has full marks under the class's draws."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest
from autograder.cli import main
from autograder.course import Course, CourseFolder
from autograder.grading.grade import Batch, Row
from autograder.grading.regrade import regrade
from autograder.grading.rehearsal import SolutionLosesPoints, SolutionUngraded
from autograder.grading.session import GradingSession
from autograder.grading.workers import Workers
from autograder.init import init
from autograder.intake import take_in
from autograder.probe.plugin import seed_for
from autograder.results import UNGRADED, Result
from autograder.terminal import MACHINERY_FAILED, MEND_FIRST
from nbformat.v4 import new_code_cell
from toy_course import CANARY, HIDDEN_TESTS, hand_in, make_toy_course, release, solved

# A test that is unfair to the solution, too, under about half of all draws; and one that fails itself.
UNFAIR = HIDDEN_TESTS.replace("student.shift(value, 0) ==", "student.shift(value, 0) + seed % 2 ==")
RAISING = HIDDEN_TESTS.replace("value = -(seed % 1000) - 3", "value = None - 3")


@dataclass
class Class:
    """Two students of the toy course, one of whom has everything right."""

    course: Course
    folder: CourseFolder
    workers: Workers

    @property
    def tests(self) -> Path:
        return self.course.hidden_tests("01_toy")

    def batch(self) -> Batch:
        return Batch(self.folder, self.course, "01_toy", self.workers)

    def grade(self) -> dict[str, Row]:
        return {row.student: row for row in self.batch().run()}

    def recorded(self) -> tuple[bool, list[Path]]:
        """The ledger, the results and the pages that there are."""
        kept = [*self.folder.results.glob("*"), *self.folder.feedback.rglob("*.html")]
        return self.folder.ledger.exists(), kept


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    return make_toy_course(tmp_path_factory.mktemp("course"))


@pytest.fixture(scope="module")
def workers(course):
    with Workers(course, course.assignment("01_toy"), (), count=1) as running:
        yield running


@pytest.fixture
def klass(course, workers, tmp_path):
    folder = init(tmp_path / "class", course)
    hand_in(folder.root, "full", solved(course))
    hand_in(folder.root, "none", release(course))
    yield Class(course, folder, workers)
    course.hidden_tests("01_toy").write_text(HIDDEN_TESTS)


def give_secret(klass, odd):
    """A secret under which the draws of `shift` are odd, or even."""
    for number in range(100):
        secret = bytes([number]) * 32
        if seed_for(secret, "01_toy", "shift", klass.tests) % 2 == odd:
            (klass.folder.root / "secret").write_text(secret.hex())
            return
    raise AssertionError("a hundred secrets with draws of one kind")


def test_a_draw_that_is_unfair_to_the_solution_stops_the_class(klass):
    klass.tests.write_text(UNFAIR)
    give_secret(klass, odd=True)
    with pytest.raises(SolutionLosesPoints) as stopped:
        klass.grade()
    said = str(stopped.value)
    assert "shift 2/3 (test_shifts_by_nothing)" in said
    assert str(klass.tests) in said
    assert "\n" not in said
    assert klass.recorded() == (False, [])


def test_the_same_tests_grade_a_class_whose_draws_are_fair(klass):
    klass.tests.write_text(UNFAIR)
    give_secret(klass, odd=False)
    assert {name: row.score for name, row in klass.grade().items()} == {"full": 5, "none": 0}


def test_a_hidden_test_that_raises_in_its_own_lines_costs_nobody_points(klass):
    klass.tests.write_text(RAISING)
    with pytest.raises(SolutionLosesPoints, match=r"double 1/2 \(test_doubles_a_negative_number\)"):
        klass.grade()
    assert klass.recorded() == (False, [])
    klass.tests.write_text(HIDDEN_TESTS)
    assert klass.grade()["full"].score == 5


def test_a_regrade_with_unfair_tests_changes_no_mark(klass):
    klass.grade()
    before = klass.folder.ledger.read_bytes()
    klass.tests.write_text(RAISING)
    with pytest.raises(SolutionLosesPoints):
        list(regrade(klass.batch(), apply=True))
    assert klass.folder.ledger.read_bytes() == before


def test_the_solution_runs_once_for_a_class_and_a_version_of_its_tests(klass, monkeypatch):
    sent = []
    send = Workers.send
    monkeypatch.setattr(
        Workers, "send", lambda self, jobs: (sent.append(sorted(jobs)), send(self, jobs))[1]
    )
    klass.grade()
    assert sent == [[""], ["full", "none"]]
    other = solved(klass.course)
    other.cells[-1].source += "\nOne more word."
    hand_in(klass.folder.root, "late", other)
    klass.grade()
    assert sent[2:] == [["late"]]


def test_the_solution_stands_in_no_list_of_students(klass):
    assert sorted(klass.grade()) == ["full", "none"]
    assert len(list(klass.folder.results.iterdir())) == 1 + 2
    assert {path.name for path in klass.folder.feedback.iterdir()} == {"full", "none"}
    assert klass.folder.ledger.read_text().count("\n") == 2


# Looks for canaries in all that a process may have written to, its own memory included; its own one
# shows that the search works.
SEARCH = """
import os, re
CANARY, found = re.compile(rb"canary-[0-9a-f]{32}"), set()
open("mine.txt", "w").write("canary-" + "a1" * 16)
for top in (os.getcwd(), os.path.expanduser("~"), "/tmp", "/dev/shm", "/var", "/run", "/lab"):
    for folder, folders, files in os.walk(top):
        if not os.access(folder, os.W_OK):  # the course's packages, which are large
            folders.clear()
            continue
        for name in files:
            try: found |= {("file", x) for x in CANARY.findall(open(os.path.join(folder, name), "rb").read())}
            except OSError: pass
in_memory = "canary-" + "b2" * 16
memory = open("/proc/self/mem", "rb", 0)
for line in open("/proc/self/maps"):
    span, rights, *_ = line.split()
    if rights.startswith("rw"):
        try:
            first, last = (int(end, 16) for end in span.split("-"))
            memory.seek(first)
            found |= {("memory", x) for x in CANARY.findall(memory.read(last - first))}
        except OSError: pass
print(sorted({(where, x.decode()[::-1]) for where, x in found}))
"""


def test_a_student_finds_nothing_of_the_solution_that_ran_before(klass):
    searching = solved(klass.course)
    searching.cells.append(new_code_cell(SEARCH))
    hand_in(klass.folder.root, "searching", searching)
    klass.grade()
    page = (klass.folder.autograded / "searching" / "01_toy" / "01_toy.ipynb").read_text()
    found = set(re.findall(r"'(file|memory)', '([0-9a-f]{32})-yranac'", page))
    assert {("file", "1a" * 16), ("memory", "2b" * 16)} <= found
    assert CANARY.removeprefix("canary-")[::-1] not in page


def test_nbgraders_own_commands_are_stopped_too(klass):
    klass.tests.write_text(RAISING)
    session = GradingSession(klass.folder, klass.course, klass.course.assignment("01_toy"))
    submission = klass.folder.submitted / "full" / "01_toy"
    with session, pytest.raises(SolutionLosesPoints):
        session.grade(take_in(submission, "01_toy", session.release))
    assert klass.recorded() == (False, [])


def test_a_solution_that_the_machinery_cannot_grade_stops_the_class(klass, monkeypatch):
    broken = Result("", "01_toy", UNGRADED, reason="the grader failed: no sandbox")
    monkeypatch.setattr(Workers, "send", lambda *_: None)
    monkeypatch.setattr(Workers, "results", lambda _: iter([("", broken)]))
    with pytest.raises(SolutionUngraded, match="the grader failed: no sandbox") as stopped:
        klass.grade()
    assert stopped.value.exit_code == MACHINERY_FAILED
    monkeypatch.setattr(Workers, "results", lambda _: iter([("", KeyError("gone\nsecond line"))]))
    with pytest.raises(SolutionUngraded, match="the grader failed: 'gone"):
        klass.grade()
    assert klass.recorded() == (False, [])


def test_the_command_says_it_in_one_sentence_and_ends_with_2(klass, capsys):
    klass.tests.write_text(RAISING)
    words = ["grade", "01_toy", "--course", str(klass.folder.root), "--workers", "1"]
    assert main(words) == MEND_FIRST
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("autograder: ")]
    assert line.startswith("autograder: The course's own solution of 01_toy loses points here")
    assert "Nothing was recorded." in line
