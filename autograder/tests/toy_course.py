"""A course of one tiny assignment, so that tests of the grading path need no language model."""

from __future__ import annotations

import shutil
from pathlib import Path

import nbformat
from autograder.build import build
from autograder.course import Course, CourseFolder, load_course
from autograder.grading.grade import Batch, Row
from autograder.grading.workers import Workers

REPOSITORY = Path(__file__).resolve().parents[2]
CANARY = "canary-0123456789abcdef0123456789abcdef"

COURSE_TOML = """\
[course]
id = "toy"
title = "A toy course"
author_repository = "toy/course"
student_repository = "toy/students"
release = "v1"

[grading]
cell_cpu_seconds = 2
call_cpu_seconds = 2
submission_wall_seconds = 60
preload = ""

[assignments.01_toy]
title = "Toy"

[assignments.01_toy.tasks]
double = 2
shift = 3

[assignments.01_toy.written]
written = 1
"""

SOURCE = f'''\
# %% [markdown]
# # A toy assignment
# Double a number, then shift it.

# %% tags=["install"]
# install steerlab

# %%
import math

OFFSET = 3

# %% nbgrader={{"grade": false, "grade_id": "double", "locked": false, "schema_version": 3, "solution": true, "task": false}}
# graded: 01_toy/double
def double(x):
    """Twice x."""
    ### BEGIN SOLUTION
    # {CANARY}
    twice_of_the_given = x + x
    return twice_of_the_given
    ### END SOLUTION

# %% nbgrader={{"grade": true, "grade_id": "double_score", "locked": true, "points": 0, "schema_version": 3, "solution": false, "task": false}}
# score: 01_toy/double  (hidden tests run here when your work is graded)

# %%
try:
    print("double of 2 is", double(2))
except NotImplementedError as missing:
    print("not written yet:", missing)

# %% nbgrader={{"grade": false, "grade_id": "shift", "locked": false, "schema_version": 3, "solution": true, "task": false}}
# graded: 01_toy/shift
def shift(x, by):
    """x moved by `by` and the course's OFFSET."""
    ### BEGIN SOLUTION
    moved_by_course_offset = x + by + OFFSET
    return moved_by_course_offset
    ### END SOLUTION

# %% nbgrader={{"grade": true, "grade_id": "shift_score", "locked": true, "points": 0, "schema_version": 3, "solution": false, "task": false}}
# score: 01_toy/shift  (hidden tests run here when your work is graded)

# %% tags=["explore"]
print("a long sweep that grading leaves out")
SWEEP = [double(i) for i in range(3)]

# %% tags=["predict"]
answer = 12  # your guess: what is shift(4, 5)?

# %% [markdown] tags=["author"]
# Rubric that nobody but authors may ever read in full length: give a point for any reason.

# %% [markdown] nbgrader={{"grade": true, "grade_id": "written", "locked": false, "points": 0, "schema_version": 3, "solution": true, "task": false}}
# <!-- graded: 01_toy/written -->
# ### BEGIN SOLUTION
# Because a double of a double is four times the thing, as everybody knows by heart.
# ### END SOLUTION
'''

HIDDEN_TESTS = f'''\
"""Hidden tests of the toy assignment. {CANARY}"""
from autograder.probe import task


@task("double", weight=1, misconception="Doubling adds a number to itself.")
def test_doubles_a_positive_number(student, seed):
    value = seed % 1000 + 3
    assert student.double(value) == 2 * value


@task("double", weight=1, misconception="Negative numbers double too.")
def test_doubles_a_negative_number(student, seed):
    value = -(seed % 1000) - 3
    assert student.double(value) == 2 * value


@task("shift", weight=2, misconception="The course's OFFSET belongs to every shift.")
def test_shifts_by_both(student, seed):
    value = seed % 1000
    assert student.shift(value, 7) == value + 10


@task("shift", weight=1, misconception="A shift by nothing still moves by OFFSET.")
def test_shifts_by_nothing(student, seed):
    value = seed % 1000
    assert student.shift(value, 0) == value + 3
'''


def make_toy_course(root: Path) -> Course:
    """A repository with one built assignment; the library is the real one, linked."""
    (root / "solutions").mkdir(parents=True)
    (root / "autograder" / "hidden_tests").mkdir(parents=True)
    (root / "lib").symlink_to(REPOSITORY / "lib")
    (root / "course.toml").write_text(COURSE_TOML)
    (root / "solutions" / "01_toy.py").write_text(SOURCE)
    (root / "autograder" / "hidden_tests" / "test_01_toy.py").write_text(HIDDEN_TESTS)
    course = load_course(root)
    build(course, course.assignment("01_toy"), run=False)
    return course


def solved(course: Course) -> nbformat.NotebookNode:
    """The toy release with both functions written rightly."""
    notebook = release(course)
    answer(notebook, "double", "# graded: 01_toy/double\ndef double(x):\n    return 2 * x\n")
    answer(
        notebook, "shift", "# graded: 01_toy/shift\ndef shift(x, by):\n    return x + by + OFFSET\n"
    )
    return notebook


def release(course: Course) -> nbformat.NotebookNode:
    """The toy release notebook, as a student gets it."""
    return nbformat.read(course.release_notebook("01_toy"), as_version=4)


def answer(notebook: nbformat.NotebookNode, task: str, source: str) -> None:
    """Put a source into the answer cell of a task."""
    cell = next(c for c in notebook.cells if c.source.startswith(f"# graded: 01_toy/{task}"))
    cell.source = source


def hand_in(folder: Path, student: str, notebook: nbformat.NotebookNode | bytes) -> Path:
    """Lay a notebook out as a student's submission."""
    target = folder / "submitted" / student / "01_toy"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    path = target / "01_toy.ipynb"
    content = notebook if isinstance(notebook, bytes) else nbformat.writes(notebook).encode()
    path.write_bytes(content)
    return path


def grade_class(
    folder: CourseFolder, course: Course, assignment_id: str, *, workers: int = 1
) -> dict[str, Row]:
    """Grade what is handed in; each student's row of the table."""
    with Workers(course, course.assignment(assignment_id), (folder.root,), workers) as at_work:
        return {row.student: row for row in Batch(folder, course, assignment_id, at_work).run()}
