"""The committed example class gets exactly what stands beside it, by both ways of grading."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
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
EXPECTED = tomllib.loads((EXAMPLE / "expected.toml").read_text("utf-8"))
ASSIGNMENT = "01_mean_diff"
PROGRAMS = Path(sys.executable).parent


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    course = load_course(REPOSITORY)
    folder = init(tmp_path_factory.mktemp("example") / "class", course)
    shutil.copytree(EXAMPLE / "submitted", folder.submitted, dirs_exist_ok=True)
    rows = grade_class(folder, course, ASSIGNMENT)
    return course, folder, rows


def tasks_of(folder, row):
    """Scores by task, from the stored result behind a ledger row."""
    import json

    events = [json.loads(line) for line in folder.ledger.read_text("utf-8").splitlines()]
    (event,) = [event for event in events if event["student"] == row.student]
    return event["new"]


def test_the_class_has_everyone_the_course_must_be_able_to_grade():
    assert len(EXPECTED) >= 12
    assert {path.name for path in (EXAMPLE / "submitted").iterdir()} == set(EXPECTED)


@pytest.mark.parametrize("student", sorted(EXPECTED))
def test_each_student_gets_what_is_expected(graded, student):
    _, folder, rows = graded
    expected, row = EXPECTED[student], rows[student]
    assert row.status == expected["status"], row
    assert not row.machinery_failed
    if row.status == "graded":
        assert tasks_of(folder, row) == pytest.approx(expected["tasks"], abs=0.01)
        assert row.score == pytest.approx(expected["total"], abs=0.01)
    else:
        assert expected["reason"] in row.notes[0]
        assert row.score is None


def test_every_student_has_a_feedback_page_without_a_script(graded):
    _, folder, rows = graded
    for student in rows:
        text = (folder.feedback / student / ASSIGNMENT / f"{ASSIGNMENT}.html").read_text("utf-8")
        assert "<script" not in text
        assert "Content-Security-Policy" in text


def test_nothing_secret_stands_in_any_file_that_leaves(graded):
    course, folder, _ = graded
    secrets = Secrets.of(course, course.assignment(ASSIGNMENT))
    canaries = Secrets({}, secrets.canaries)
    for place in (folder.feedback, folder.autograded):
        for path in place.rglob("*.*"):
            if path.is_file():
                assert find_leaks(path.read_text("utf-8"), canaries) == [], path


def test_nbgraders_own_autograde_gives_the_same_scores(graded):
    _, folder, rows = graded
    for result in folder.results.glob("*.json"):
        if Result.from_json(result.read_text("utf-8")).score == 15:
            result.unlink()
    run = subprocess.run(
        [PROGRAMS / "nbgrader", "autograde", ASSIGNMENT, "--student", "bjorn_lindqvist", "--force"],
        cwd=folder.root,
        env={**os.environ, "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    with Gradebook(f"sqlite:///{folder.gradebook}") as gradebook:
        submission = gradebook.find_submission(ASSIGNMENT, "bjorn_lindqvist")
        assert submission.score == rows["bjorn_lindqvist"].score
