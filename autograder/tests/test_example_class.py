"""The committed example class gets exactly what stands beside it, by both ways of grading."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tomllib
from functools import cache
from pathlib import Path

import pytest
from autograder.course import load_course
from autograder.init import init
from autograder.leaks import Secrets, find_leaks
from autograder.results import Result
from nbgrader.api import Gradebook
from toy_course import grade_class

REPOSITORY = Path(__file__).resolve().parents[2]
EXAMPLE = REPOSITORY / "autograder" / "example_class"
EXPECTED = {
    path.stem: tomllib.loads(path.read_text("utf-8")) for path in sorted(EXAMPLE.glob("*.toml"))
}
SUBMISSIONS = [(assignment, student) for assignment in EXPECTED for student in EXPECTED[assignment]]
PROGRAMS = Path(sys.executable).parent
ALWAYS = "02_toy_sae"  # `make demo` grades the first one's class, and `make check` everybody's


def material(*parameters):
    """One set of parameters, whose first is an assignment."""
    marks = [] if parameters[0] == ALWAYS else [pytest.mark.check]
    return pytest.param(*parameters, marks=marks)


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """The graded class of an assignment; a function, so that each is graded once and on demand."""
    course = load_course(REPOSITORY)
    folder = init(tmp_path_factory.mktemp("example") / "class", course)
    shutil.copytree(EXAMPLE / "submitted", folder.submitted, dirs_exist_ok=True)

    @cache
    def rows_of(assignment):
        return grade_class(folder, course, assignment)

    return course, folder, rows_of


def tasks_of(folder, assignment, student):
    """Scores by task, from the ledger."""
    events = [json.loads(line) for line in folder.ledger.read_text("utf-8").splitlines()]
    (event,) = [e for e in events if (e["student"], e["assignment"]) == (student, assignment)]
    return event["new"]


def test_the_class_has_everyone_the_course_must_be_able_to_grade():
    assert len(EXPECTED["01_mean_diff"]) >= 12
    handed_in = {(path.parent.name, path.parents[1].name) for path in EXAMPLE.rglob("*.ipynb")}
    assert handed_in == set(SUBMISSIONS)


def test_every_built_assignment_has_example_submissions():
    assert set(EXPECTED) == set(load_course(REPOSITORY).assignments)
    assert all(len(students) >= 5 for students in EXPECTED.values())


def test_the_committed_class_is_the_one_that_its_script_makes(tmp_path):
    run = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from make import *; write_class(Path(sys.argv[1]))",
            str(tmp_path / "class"),
        ],
        cwd=EXAMPLE,
        check=False,
    )
    assert run.returncode == 0
    for path in (EXAMPLE / "submitted").rglob("*.ipynb"):
        made = tmp_path / "class" / path.relative_to(EXAMPLE / "submitted")
        assert made.read_bytes() == path.read_bytes(), f"{path}: run example_class/make.py"


@pytest.mark.parametrize(("assignment", "student"), [material(*pair) for pair in SUBMISSIONS])
def test_each_student_gets_what_is_expected(graded, assignment, student):
    _, folder, rows_of = graded
    expected, row = EXPECTED[assignment][student], rows_of(assignment)[student]
    assert row.status == expected["status"], row
    assert not row.machinery_failed
    if row.status == "graded":
        assert tasks_of(folder, assignment, student) == pytest.approx(expected["tasks"], abs=0.01)
        assert row.score == pytest.approx(expected["total"], abs=0.01)
    else:
        assert expected["reason"] in row.notes[0]
        assert row.score is None


@pytest.mark.parametrize("assignment", [material(assignment) for assignment in EXPECTED])
def test_every_student_has_a_feedback_page_without_a_script(graded, assignment):
    _, folder, rows_of = graded
    for student in rows_of(assignment):
        text = (folder.feedback / student / assignment / f"{assignment}.html").read_text("utf-8")
        assert "<script" not in text
        assert "Content-Security-Policy" in text


@pytest.mark.parametrize("assignment", [material(assignment) for assignment in EXPECTED])
def test_nothing_secret_stands_in_any_file_that_leaves(graded, assignment):
    course, folder, rows_of = graded
    secrets = Secrets.of(course, course.assignment(assignment))
    canaries = Secrets({}, secrets.canaries)
    assert rows_of(assignment)
    for place in (folder.feedback, folder.autograded):
        for path in place.rglob("*.*"):
            if path.is_file() and path.parent.name == assignment:
                assert find_leaks(path.read_text("utf-8"), canaries) == [], path


@pytest.mark.check  # test_grade.py does the same with a course that needs no model
def test_nbgraders_own_autograde_gives_the_same_scores(graded):
    _, folder, rows_of = graded
    assignment, student = "01_mean_diff", "bjorn_lindqvist"
    row = rows_of(assignment)[student]
    for result in folder.results.glob("*.json"):
        if Result.from_json(result.read_text("utf-8")).score == 15:
            result.unlink()
    run = subprocess.run(
        [PROGRAMS / "nbgrader", "autograde", assignment, "--student", student, "--force"],
        cwd=folder.root,
        env={**os.environ, "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    with Gradebook(f"sqlite:///{folder.gradebook}") as gradebook:
        assert gradebook.find_submission(assignment, student).score == row.score
