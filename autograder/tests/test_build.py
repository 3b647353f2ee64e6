"""A source becomes a release that gives nothing away, by nbgrader's own generator."""

from __future__ import annotations

import nbformat
import pytest
from autograder.build import BuildError, build, read_source
from autograder.course import CourseError, load_course
from autograder.leaks import Secrets, disguises, find_leaks, token_runs
from hypothesis import given
from hypothesis import strategies as st
from toy_course import CANARY, HIDDEN_TESTS, SOURCE, make_toy_course, release

from autograder import cells


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    return make_toy_course(tmp_path_factory.mktemp("toy") / "course")


def rebuilt(course, tmp_path, source):
    """The same course with another source."""
    root = tmp_path / "other"
    (root / "solutions").mkdir(parents=True)
    for name in ("autograder", "lib", "course.toml"):
        (root / name).symlink_to(course.repository / name)
    (root / "solutions" / "01_toy.py").write_text(source)
    changed = load_course(root)
    build(changed, changed.assignment("01_toy"), run=False)
    return release(changed)


def test_the_release_has_stubs_named_for_their_task(course):
    stubs = [c.source for c in release(course).cells if "NotImplementedError(" in c.source]
    assert len(stubs) == 2
    assert 'raise NotImplementedError("01_toy/double: your code here")' in stubs[0]


def test_points_come_from_course_toml(course):
    points = {
        c.metadata["nbgrader"]["grade_id"]: c.metadata["nbgrader"]["points"]
        for c in release(course).cells
        if "points" in c.metadata.get("nbgrader", {})
    }
    assert points == {"double_score": 2.0, "shift_score": 3.0, "written": 1.0}


def test_predictions_are_blank_and_author_notes_gone(course):
    text = nbformat.writes(release(course))
    assert "answer = None" in text
    assert "Rubric" not in text


def test_nothing_secret_reaches_the_release(course):
    secrets = Secrets.of(course, course.assignment("01_toy"))
    assert find_leaks(nbformat.writes(release(course)), secrets) == []
    assert CANARY in secrets.canaries
    assert {"a hidden test", "an author note", "the solution of double"} <= set(
        secrets.runs.values()
    )


@pytest.mark.parametrize("form", disguises(CANARY))
def test_a_disguised_canary_is_found(course, form):
    secrets = Secrets.of(course, course.assignment("01_toy"))
    assert find_leaks(f'{{"cells": ["some text {form} more"]}}', secrets)


def test_a_pasted_hidden_test_is_found_in_a_notebook(course):
    secrets = Secrets.of(course, course.assignment("01_toy"))
    notebook = release(course)
    notebook.cells[2].source = HIDDEN_TESTS.split('"""')[2]
    assert any("hidden test" in leak for leak in find_leaks(nbformat.writes(notebook), secrets))


def test_a_solution_line_outside_its_region_fails_the_build(course, tmp_path):
    leaky = SOURCE.replace(
        "OFFSET = 3\n",
        "OFFSET = 3\n# Rubric that nobody but authors may ever read in full length\n",
    )
    with pytest.raises(BuildError, match="would leak an author note"):
        rebuilt(course, tmp_path, leaky)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("# graded: 01_toy/shift", "# graded: 01_toy/other", "task shift needs one answer cell"),
        ("# score: 01_toy/shift", "# nothing", "score cell of shift must follow"),
        ("def shift(x, by)", "def move(x, by)", "defines no function shift"),
        ("answer = 12", "guess = 12", "no line `answer"),
        ("<!-- graded: 01_toy/written -->", "nothing", "'written' has no cell"),
    ],
)
def test_a_source_that_breaks_the_rules_is_named(course, tmp_path, old, new, words):
    with pytest.raises(BuildError, match=words):
        rebuilt(course, tmp_path, SOURCE.replace(old, new))


def test_ids_do_not_change_when_another_cell_does(course, tmp_path):
    changed = rebuilt(course, tmp_path, SOURCE.replace("# A toy assignment", "# Another title"))
    before = {cell.id for cell in release(course).cells}
    assert len({cell.id for cell in changed.cells} - before) == 1


def test_building_twice_gives_the_same_bytes(course):
    path = course.release_notebook("01_toy")
    before = path.read_bytes()
    build(course, course.assignment("01_toy"), run=False)
    assert path.read_bytes() == before


def test_an_unknown_assignment_is_named_with_the_known_ones(course):
    with pytest.raises(CourseError, match=r"'02_none': course\.toml has 01_toy"):
        course.assignment("02_none")


def test_the_install_cell_and_badge_name_the_public_repository_only(course):
    text = nbformat.writes(release(course))
    assert "github.com/toy/students@v1" in text
    assert "toy/course" not in text


def test_source_and_release_have_the_same_cells(course):
    source = read_source(course, course.assignment("01_toy"))
    assert [c.id for c in source.cells] == [c.id for c in release(course).cells]
    assert cells.role_of_release_cell(source.cells[4]) == (cells.ANSWER, "double")


@given(st.lists(st.sampled_from(["alpha", "beta", "gamma", "(", "1"]), min_size=8, max_size=30))
def test_layout_does_not_hide_a_run(words):
    one_line, many_lines = " ".join(words), "\n\t".join(words)
    assert list(token_runs(one_line)) == list(token_runs(many_lines))
