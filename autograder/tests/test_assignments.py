"""Every assignment that ships: generated from its source, and free of what students must not see.

Whether its hidden tests tell right from wrong, `make check` says.
"""

from __future__ import annotations

import nbformat
import pytest
from autograder.build import generate_release, read_source
from autograder.course import load_course
from autograder.leaks import Secrets, find_leaks
from autograder.validation.bank import read_mistakes

COURSE = load_course()
ASSIGNMENTS = list(COURSE.assignments.values())
IDS = [assignment.id for assignment in ASSIGNMENTS]


@pytest.fixture(params=ASSIGNMENTS, ids=IDS)
def assignment(request):
    return request.param


def released(assignment):
    return nbformat.read(COURSE.release_notebook(assignment.id), as_version=4)


def test_the_release_is_the_one_that_its_source_makes(assignment):
    made = generate_release(read_source(COURSE, assignment), assignment)
    assert [c.source for c in made.cells] == [c.source for c in released(assignment).cells]
    assert [c.metadata for c in made.cells] == [c.metadata for c in released(assignment).cells]


def test_the_executed_solution_is_the_one_that_its_source_makes(assignment):
    solution = nbformat.read(COURSE.solution_notebook(assignment.id), as_version=4)
    source = read_source(COURSE, assignment)
    assert [c.source for c in solution.cells] == [c.source for c in source.cells]
    failed = [
        output
        for cell in solution.cells
        for output in cell.get("outputs", [])
        if output.output_type == "error"
    ]
    assert not failed
    assert any(
        "image/png" in o.get("data", {}) for c in solution.cells for o in c.get("outputs", [])
    )


def test_nothing_of_a_solution_hidden_test_or_author_note_reaches_the_release(assignment):
    secrets = Secrets.of(COURSE, assignment)
    assert secrets.canaries, "plant a canary in the solutions and hidden tests"
    assert find_leaks(nbformat.writes(released(assignment)), secrets) == []


def test_every_graded_function_plants_a_canary(assignment):
    source = COURSE.solution_source(assignment.id).read_text("utf-8")
    assert source.count("canary-") >= len(assignment.tasks)


def test_points_add_up_to_20_with_14_to_16_automatic(assignment):
    assert assignment.total_points == 20
    assert 14 <= assignment.automatic_points <= 16


def test_the_mistake_bank_is_large_enough(assignment):
    mistakes = read_mistakes(COURSE, assignment)
    assert sum(mistake.loses for mistake in mistakes) >= 12
    assert sum(not mistake.loses for mistake in mistakes) >= 3
    assert {mistake.task for mistake in mistakes} == set(assignment.tasks)


def test_released_cells_hold_no_output(assignment):
    assert not [c for c in released(assignment).cells if c.get("outputs")]
