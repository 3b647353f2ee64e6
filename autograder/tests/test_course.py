"""course.toml is read whole or refused with the key at fault; the course folder is private."""

from __future__ import annotations

import pytest
from autograder.course import CourseError, create_folder, load_course
from autograder.init import init
from nbgrader.api import Gradebook
from toy_course import COURSE_TOML, make_toy_course


def rewritten(tmp_path, old, new):
    (tmp_path / "autograder").mkdir()
    (tmp_path / "course.toml").write_text(COURSE_TOML.replace(old, new))
    return tmp_path


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('release = "v1"', "", "lacks the key 'release'"),
        ("double = 2", "double = 0", "double = 0.0 must be an identifier with points above 0"),
        ("cell_cpu_seconds", "cell_gpu_seconds", r"\[grading\].*cell_gpu_seconds"),
        ('title = "Toy"', 'title = "Toy"\ndue = 2027-02-01T10:00:00', "with its offset"),
        ("[course]", "[course", "cannot be read"),
    ],
)
def test_a_wrong_course_toml_names_what_is_wrong(tmp_path, old, new, words):
    with pytest.raises(CourseError, match=words):
        load_course(rewritten(tmp_path, old, new))


def test_points_are_those_of_course_toml(tmp_path):
    assignment = load_course(rewritten(tmp_path, "double = 2", "double = 2.5")).assignment("01_toy")
    assert (assignment.automatic_points, assignment.total_points) == (5.5, 6.5)


def test_the_due_date_reaches_the_gradebook_in_utc(tmp_path):
    course = make_toy_course(tmp_path / "course")
    path = course.repository / "course.toml"
    due = 'title = "Toy"\ndue = 2027-02-01T23:59:00+01:00'
    path.write_text(path.read_text().replace('title = "Toy"', due))
    folder = init(tmp_path / "class", load_course(course.repository))
    with Gradebook(f"sqlite:///{folder.gradebook}") as gradebook:
        assert str(gradebook.find_assignment("01_toy").duedate) == "2027-02-01 22:59:00"


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "mine.txt").write_text("mine")
    with pytest.raises(CourseError, match="not empty"):
        create_folder(tmp_path / "class", tmp_path / "repository")
    assert [path.name for path in (tmp_path / "class").iterdir()] == ["mine.txt"]
