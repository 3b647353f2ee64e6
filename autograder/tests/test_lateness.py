"""Late or not, and what it costs: due date, grace, extension, rate and cap."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from autograder.collecting.attempts import Attempts, Delivery
from autograder.collecting.late_penalty import settle
from autograder.collecting.lateness import (
    LATE,
    NO_DUE_DATE,
    ON_TIME,
    UNKNOWN,
    duration,
    penalty,
    timing,
)
from autograder.course import Assignment, CourseError, HandingIn, load_course
from autograder.init import init
from hypothesis import given
from hypothesis import strategies as st
from nbgrader.api import Gradebook
from nbgrader.preprocessors import AssignLatePenalties
from toy_course import COURSE_TOML, make_toy_course
from traitlets.config import PyFileConfigLoader

DUE = datetime(2027, 2, 1, 23, 59, tzinfo=timezone(timedelta(hours=1)))
TOY = Assignment("01_toy", "Toy", {"double": 2, "shift": 3}, {"written": 1}, due=str(DUE))
RULES = HandingIn(grace_minutes=30, late_penalty_per_day=0.1, late_max=0.25)


def test_the_due_minute_is_on_time_and_so_is_the_grace():
    for minutes in (-600, 0, 30):
        assert timing(DUE + timedelta(minutes=minutes), TOY, RULES).status == ON_TIME
    late = timing(DUE + timedelta(minutes=31), TOY, RULES)
    assert (late.status, late.seconds_late) == (LATE, 31 * 60)


def test_zones_are_minded():
    assert timing(datetime(2027, 2, 1, 22, 59, tzinfo=UTC), TOY, HandingIn()).status == ON_TIME
    assert timing(datetime(2027, 2, 1, 23, 0, tzinfo=UTC), TOY, HandingIn()).status == LATE


def test_an_unknown_time_is_never_on_time():
    assert timing(None, TOY, RULES).status == UNKNOWN
    assert timing(None, replace(TOY, due=None), RULES).status == NO_DUE_DATE


def test_an_extension_moves_the_due_date():
    moment = DUE + timedelta(hours=47)
    assert timing(moment, TOY, RULES, timedelta(hours=48)).status == ON_TIME
    later = timing(moment + timedelta(hours=5), TOY, RULES, timedelta(hours=48))
    assert later.seconds_late == 4 * 3600


@pytest.mark.parametrize(
    ("hours", "points"), [(0, 0), (0.5, 0), (0.6, 1), (24, 1), (24.1, 2), (49, 2.5), (900, 2.5)]
)
def test_each_day_that_has_begun_costs_up_to_the_cap(hours, points):
    assert penalty(hours * 3600, 10, RULES) == points


@given(st.floats(0, 1e7), st.floats(0, 1e7), st.floats(0, 100), st.floats(0, 1), st.floats(0, 1))
def test_later_never_costs_less_nor_more_than_there_is(early, late, points, rate, most):
    rules = HandingIn(late_penalty_per_day=rate, late_max=most)
    early, late = sorted((early, late))
    assert 0 <= penalty(early, points, rules) <= penalty(late, points, rules)
    assert penalty(late, points, rules) <= points * most + 1e-6


def test_durations_read_well():
    assert [duration(s) for s in (1, 60, 3601, 90_000, 172_800)] == [
        "1 min",
        "1 min",
        "1 h 1 min",
        "1 d 1 h",
        "2 d",
    ]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("late_penalty_per_day = 10", "late_penalty_per_day = 10 must be a number from 0 to 1"),
        ("grace_minutes = true", "grace_minutes = True must be"),
        ('late_max = "half"', "late_max = 'half' must be"),
        ('attempts = "first"', 'attempts is "last" or "best"'),
        ("groups = 1", "groups true or false"),
    ],
)
def test_a_wrong_rule_names_the_key(tmp_path, line, words):
    (tmp_path / "autograder").mkdir()
    text = COURSE_TOML.replace('title = "Toy"', f'title = "Toy"\n{line}')
    (tmp_path / "course.toml").write_text(text)
    with pytest.raises(CourseError, match=words):
        load_course(tmp_path)


def test_a_course_without_rules_takes_nothing(tmp_path):
    (tmp_path / "autograder").mkdir()
    (tmp_path / "course.toml").write_text(COURSE_TOML)
    rules = load_course(tmp_path).handing_in("01_toy")
    assert rules == HandingIn()
    assert penalty(1e6, 10, rules) == 0


@pytest.fixture
def graded(tmp_path):
    """A course folder whose gradebook has a score for ada, two and a half days late, and for ben."""
    course = make_toy_course(tmp_path / "course")
    path = course.repository / "course.toml"
    rules = f'title = "Toy"\ndue = {DUE.isoformat()}\nlate_penalty_per_day = 0.1\nlate_max = 0.5'
    path.write_text(path.read_text().replace('title = "Toy"', rules))
    course = load_course(course.repository)
    folder = init(tmp_path / "class", course)
    attempts = Attempts(folder, course, "01_toy")
    moment = DUE + timedelta(days=2, hours=12)
    attempts.add("ada", Delivery({"01_toy.ipynb": b"a"}, "zip", "ada", moment, moment.isoformat()))
    attempts.add("ben", Delivery({"01_toy.ipynb": b"b"}, "zip", "ben"))
    with Gradebook(folder.database, course.id) as gradebook:
        for student in ("ada", "ben"):
            gradebook.add_student(student)
            gradebook.add_submission("01_toy", student)
            notebook = gradebook.find_submission_notebook("01_toy", "01_toy", student)
            for grade in notebook.grades:
                grade.auto_score = grade.max_score
        gradebook.db.commit()
    return folder, course


def row(folder, course, student):
    with Gradebook(folder.database, course.id) as gradebook:
        found = gradebook.find_submission("01_toy", student)
        return found.score, found.late_submission_penalty, found.timestamp, found.extension


def test_the_penalty_stands_apart_from_the_score(graded):
    folder, course = graded
    assert settle(folder, course, "01_toy") == 1
    score, taken, time, _ = row(folder, course, "ada")
    assert (score, round(taken, 6)) == (6, 1.8)  # three days begun, a tenth of six points each
    assert time == datetime(2027, 2, 4, 10, 59)
    assert row(folder, course, "ben") == (6, 0, None, None)
    assert settle(folder, course, "01_toy") == 0


def test_an_extension_in_the_roster_reaches_the_gradebook(graded):
    folder, course = graded
    settle(folder, course, "01_toy")
    (folder.root / "roster.csv").write_text("id,extension_hours\nada,72\nben,\n")
    settle(folder, course, "01_toy")
    score, taken, _, extension = row(folder, course, "ada")
    assert (score, taken, extension) == (6, 0, timedelta(hours=72))


def test_an_extension_that_was_given_in_nbgrader_stays(graded):
    folder, course = graded
    (folder.root / "roster.csv").write_text("id,extension_hours\nada,\n")
    with Gradebook(folder.database, course.id) as gradebook:
        gradebook.grant_extension("01_toy", "ada", days=5)
    settle(folder, course, "01_toy")
    assert row(folder, course, "ada")[1:4:2] == (0, timedelta(days=5))


def test_nbgraders_own_step_takes_the_same_penalty(graded):
    folder, course = graded
    settle(folder, course, "01_toy")
    with Gradebook(folder.database, course.id) as gradebook:
        found = gradebook.find_submission_notebook("01_toy", "01_toy", "ada")
        found.late_submission_penalty = None
        gradebook.db.commit()
    config = PyFileConfigLoader("nbgrader_config.py", path=str(folder.root)).load_config()
    step = AssignLatePenalties(config=config)
    told = {"notebook": "01_toy", "assignment": "01_toy", "student": "ada"}
    from nbformat.v4 import new_notebook

    step.preprocess(new_notebook(), {"nbgrader": {**told, "db_url": folder.database}})
    assert round(row(folder, course, "ada")[1], 6) == 1.8


def test_no_due_date_takes_nothing(graded):
    folder, course = graded
    settle(folder, course, "01_toy")
    with Gradebook(folder.database, course.id) as gradebook:
        gradebook.update_or_create_assignment("01_toy", duedate=None)
    settle(folder, course, "01_toy")
    assert row(folder, course, "ada")[1] == 0
