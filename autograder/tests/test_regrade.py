"""A mark that was given stays until somebody asks for another, and can be explained."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from autograder.course import CourseError, load_course
from autograder.grading.explain import explain
from autograder.grading.grade import OLDER, Batch
from autograder.grading.regrade import regrade
from autograder.grading.workers import Workers
from autograder.init import init
from autograder.results import environment_of
from nbgrader.api import Gradebook
from toy_course import HIDDEN_TESTS, answer, hand_in, make_toy_course, release, solved

DOUBLE = "# graded: 01_toy/double\ndef double(x):\n"
PROGRAM = Path(sys.executable).parent / "autograder"
# Whoever doubles only positive numbers loses more by these tests, whoever fails shift gains.
OTHER_TESTS = HIDDEN_TESTS.replace(
    '@task("double", weight=1, misconception="Negative', '@task("double", weight=3, misconception="'
).replace("assert student.shift(value, 0) == value + 3", "assert student.shift(value, 0) < 10**6")


class Class:
    """A class of three that is graded, then looked at again with other hidden tests."""

    def __init__(self, root: Path) -> None:
        self.course = make_toy_course(root / "course")
        self.folder = init(root / "class", self.course)
        for student, notebook in self.notebooks().items():
            hand_in(self.folder.root, student, notebook)
        private = (self.folder.root,)
        self.workers = Workers(self.course, self.course.assignment("01_toy"), private, count=1)

    def notebooks(self):
        half = solved(self.course)
        answer(half, "double", DOUBLE + "    return abs(2 * x)\n")
        return {"full": solved(self.course), "half": half, "none": release(self.course)}

    def batch(self) -> Batch:
        return Batch(self.folder, load_course(self.course.repository), "01_toy", self.workers)

    def marks(self) -> dict[str, float]:
        with Gradebook(f"sqlite:///{self.folder.gradebook}") as gradebook:
            return {s.student_id: s.score for s in gradebook.assignment_submissions("01_toy")}

    def change_the_tests(self, text: str) -> None:
        self.course.hidden_tests("01_toy").write_text(text)


@pytest.fixture(scope="module")
def klass(tmp_path_factory):
    made = Class(tmp_path_factory.mktemp("regrade"))
    with made.workers:
        rows = {row.student: row.score for row in made.batch().run()}
        assert rows == {"full": 5, "half": 4, "none": 0}
        grade_by_hand(made.folder, "half")
        yield made


def grade_by_hand(folder, student):
    with Gradebook(f"sqlite:///{folder.gradebook}") as gradebook:
        notebook = gradebook.find_submission_notebook("01_toy", "01_toy", student)
        written = next(grade for grade in notebook.grades if grade.name == "written")
        written.manual_score, written.extra_credit = 1.0, 0.5
        written.needs_manual_grade = False
        comment = next(c for c in notebook.comments if c.name == "double")
        comment.manual_comment = "Well argued."
        gradebook.db.commit()


def hand_given(folder, student):
    with Gradebook(f"sqlite:///{folder.gradebook}") as gradebook:
        notebook = gradebook.find_submission_notebook("01_toy", "01_toy", student)
        written = next(grade for grade in notebook.grades if grade.name == "written")
        comment = next(c for c in notebook.comments if c.name == "double")
        return written.manual_score, written.extra_credit, comment.manual_comment


@pytest.fixture
def other_tests(klass):
    klass.change_the_tests(OTHER_TESTS)
    yield klass
    klass.change_the_tests(HIDDEN_TESTS)


def test_grading_again_does_nothing_where_nothing_changed(klass):
    before = klass.folder.ledger.read_bytes()
    pages = {p: p.stat().st_mtime_ns for p in klass.folder.feedback.rglob("*.html")}
    assert {row.student: row.score for row in klass.batch().run()} == {
        "full": 5,
        "half": 4,
        "none": 0,
    }
    assert klass.folder.ledger.read_bytes() == before
    assert pages == {p: p.stat().st_mtime_ns for p in klass.folder.feedback.rglob("*.html")}


def test_an_emptied_store_is_filled_again_and_no_mark_is_touched(klass):
    before = klass.folder.ledger.read_bytes()
    stored = {path.name for path in klass.folder.results.iterdir()}
    shutil.rmtree(klass.folder.results)
    assert len(list(klass.batch().run())) == 3
    assert {path.name for path in klass.folder.results.iterdir()} == stored
    assert klass.folder.ledger.read_bytes() == before


def test_a_mark_is_explained_by_running_it_again(klass):
    found = explain(klass.folder, klass.course, "01_toy", "half")
    assert found.reproduced
    assert found.changed == found.differing == []
    assert "Negative numbers double too." in found.text()
    assert "the same in every task" in found.text()


def test_a_student_without_a_mark_is_named(klass):
    with pytest.raises(CourseError, match="nobody has no mark in 01_toy"):
        explain(klass.folder, klass.course, "01_toy", "nobody")


def test_other_tests_change_no_mark_that_was_given(other_tests):
    rows = {row.student: row for row in other_tests.batch().run()}
    assert rows["half"].score == 4
    assert OLDER in rows["half"].notes
    assert other_tests.marks()["half"] == 5.5  # with what was given by hand


def test_a_mark_that_is_not_reproduced_names_what_changed(other_tests):
    found = explain(
        other_tests.folder, load_course(other_tests.course.repository), "01_toy", "half"
    )
    assert not found.reproduced
    assert found.changed == ["the hidden tests"]
    assert "3.5 instead of 4; see what changed" in found.text()


def test_a_regrade_shows_what_would_change_and_writes_nothing(other_tests):
    before = other_tests.folder.ledger.read_bytes(), other_tests.marks()
    changes = {change.student: change for change in regrade(other_tests.batch())}
    assert changes["half"].tasks == [("double", 1.0, 0.5)]
    assert [name for name, change in changes.items() if change.differs] == ["half"]
    assert (other_tests.folder.ledger.read_bytes(), other_tests.marks()) == before


def test_never_lower_leaves_the_higher_mark(other_tests):
    changes = {c.student: c for c in regrade(other_tests.batch(), apply=True, never_lower=True)}
    assert changes["half"].kept
    assert not changes["half"].written
    assert other_tests.marks()["half"] == 5.5


def test_an_applied_regrade_keeps_what_was_given_by_hand(tmp_path_factory, klass):
    # In a class of its own on the same workers: what is applied stays applied.
    applied = Class(tmp_path_factory.mktemp("applied"))
    applied.workers = klass.workers
    list(applied.batch().run())
    grade_by_hand(applied.folder, "half")
    applied.change_the_tests(OTHER_TESTS)
    changes = {c.student: c for c in regrade(applied.batch(), apply=True)}
    assert changes["half"].written
    assert applied.marks()["half"] == 3.5 + 1 + 0.5
    assert hand_given(applied.folder, "half") == (1.0, 0.5, "Well argued.")
    events = [json.loads(line) for line in applied.folder.ledger.read_text().splitlines()]
    last = [event for event in events if event["student"] == "half"][-1]
    assert (last["reason"], last["old"]["double"], last["new"]["double"]) == ("regrade", 1.0, 0.5)


def test_hidden_tests_that_do_not_import_stop_the_batch_and_change_nothing(klass):
    before = klass.folder.ledger.read_bytes(), klass.marks()
    klass.change_the_tests("import nowhere_to_be_found\n")
    try:
        with pytest.raises(CourseError, match=r"test_01_toy\.py does not import: .*nowhere"):
            list(regrade(klass.batch(), apply=True))
    finally:
        klass.change_the_tests(HIDDEN_TESTS)
    assert (klass.folder.ledger.read_bytes(), klass.marks()) == before


def test_a_batch_that_was_killed_goes_on_where_it_was(tmp_path):
    course = make_toy_course(tmp_path / "course")
    folder = init(tmp_path / "class", course)
    for index in range(6):
        notebook = solved(course)
        answer(notebook, "double", DOUBLE + f"    return 2 * x  # {index}\n")
        hand_in(folder.root, f"student-{index}", notebook)
    command = [PROGRAM, "grade", "01_toy", "--course", folder.root, "--workers", "1"]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 240
    while not folder.ledger.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    first.send_signal(signal.SIGKILL)
    first.wait()
    done = folder.ledger.read_text().count("\n")
    assert 1 <= done < 6
    second = subprocess.run(command, capture_output=True, text=True, check=False)
    assert second.returncode == 0, second.stderr
    with Gradebook(f"sqlite:///{folder.gradebook}") as gradebook:
        submissions = gradebook.assignment_submissions("01_toy")
        assert {s.student_id: s.score for s in submissions} == {
            f"student-{index}": 5 for index in range(6)
        }
    events = [json.loads(line)["student"] for line in folder.ledger.read_text().splitlines()]
    assert sorted(events) == [f"student-{index}" for index in range(6)]


def test_regrade_options_go_together(klass, capsys):
    from autograder.cli import main

    where = ["--course", os.fspath(klass.folder.root)]
    assert main(["grade", "01_toy", *where, "--apply"]) == 2
    assert "--apply and --never-lower go with --regrade" in capsys.readouterr().err


def test_moving_a_due_date_runs_nobody_again(klass):
    assignment = klass.course.assignment("01_toy")
    moved = replace(assignment, due="2030-01-01T00:00:00+00:00", title="Another", minutes=5)
    worth_more = replace(assignment, tasks={**assignment.tasks, "double": 7})
    assert environment_of(klass.course, moved) == environment_of(klass.course, assignment)
    assert environment_of(klass.course, worth_more) != environment_of(klass.course, assignment)
