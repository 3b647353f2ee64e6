"""Mutated notebooks, taken in and graded: every score is exactly what the mutation says."""

from __future__ import annotations

from copy import deepcopy

import pytest
from autograder.intake import take_in
from autograder.intake.python_source import compiles, definition, same_code, without_cell_magic
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from toy_course import answer, make_toy_course, release, solved

from autograder import cells
from benchmarks.intake import Examination, grade
from benchmarks.notebook_mutations import (
    ALL,
    DESTROYING,
    PRESERVING,
    Mutant,
    draft_of,
    each_mutant,
    mutants,
    plain_file,
)

MUTANTS = 220


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    return make_toy_course(tmp_path_factory.mktemp("toy") / "course")


@pytest.fixture(scope="module")
def original(course):
    """The toy notebook with one answer right and one half right."""
    notebook = solved(course)
    half = "# graded: 01_toy/double\ndef double(x):\n    size = abs(x)\n    return size + size\n"
    answer(notebook, "double", half)
    return draft_of("01_toy", notebook, release(course))


@pytest.fixture(scope="module")
def examination(course, original, tmp_path_factory):
    found = Examination(original, release(course), tmp_path_factory.mktemp("in"))
    each_mutant(original, MUTANTS, seed=7, act=found.take)
    return found


def test_no_mutant_crashes_intake_or_is_refused(examination):
    assert len(examination.seconds) == MUTANTS
    assert examination.crashes == []
    assert examination.refused == []


def test_kept_answers_are_the_students_own_code(examination):
    assert examination.changed_answers == []


def test_taking_in_twice_is_taking_in_once(examination):
    assert examination.not_idempotent == []


def test_the_mutants_use_most_of_what_people_do(examination):
    used = {name for seen in examination.seen for name in seen.mutant.operators}
    assert len(used) > 0.8 * len(ALL)
    assert any(seen.mutant.lost for seen in examination.seen)


def test_every_score_is_exactly_what_the_mutation_says(course, examination, tmp_path):
    results = grade(course, "01_toy", examination.clean, tmp_path / "class")
    base = {task.task: task.score for task in results[examination.untouched].tasks}
    assert base == {"double": 1, "shift": 3}
    examination.compare(results)
    assert examination.wrong_scores == []
    assert examination.silent_zeros == []


@pytest.mark.parametrize("operator", [*PRESERVING, *DESTROYING], ids=lambda one: one.__name__)
def test_each_operator_on_an_answer_does_what_its_list_says(course, original, tmp_path, operator):
    @settings(max_examples=8, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def check(data):
        draft = deepcopy(original)
        draft.hit = {"shift"}
        operator(draft, "shift", data.draw)
        lost = frozenset({"shift"} if operator in DESTROYING else ())
        content = plain_file(draft, data.draw)
        mutant = Mutant({"01_toy.ipynb": content}, (operator.__name__,), lost)
        (tmp_path / "01_toy.ipynb").write_bytes(content)
        clean = take_in(tmp_path, "01_toy", release(course))
        assert keeps(clean, "shift") != bool(lost), mutant

    check()


def keeps(clean, task):
    """Whether the answer cell defines the function that the original has."""
    (cell,) = (
        c for c in clean.notebook.cells if (cells.role(c), cells.task(c)) == (cells.ANSWER, task)
    )
    right = "def shift(x, by):\n    return x + by + OFFSET"
    runs = compiles(without_cell_magic(cell.source))
    return runs and same_code(definition(cell.source, task) or "", right)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_is_done_a_task_that_is_kept_keeps_its_function(
    course, original, tmp_path_factory, data
):
    mutant = data.draw(mutants(original))
    found = Examination(original, release(course), tmp_path_factory.mktemp("one"))
    found.take(mutant)
    assert found.crashes == []
    assert found.refused == []
    assert found.changed_answers == []
    assert found.not_idempotent == []
