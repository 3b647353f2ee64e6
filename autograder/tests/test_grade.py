"""The whole path on a toy course: hand in, grade, and look at gradebook, pages and ledger."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from autograder.course import CourseError, open_folder
from autograder.grading.grade import Batch
from autograder.grading.workers import Workers
from autograder.init import init
from autograder.ledger import Ledger
from autograder.probe import seed_for
from autograder.results import GRADED, UNGRADED, Store
from nbformat.v4 import new_code_cell, new_markdown_cell
from nbgrader.api import Gradebook
from toy_course import answer, grade_class, hand_in, make_toy_course, release, solved

DOUBLE = "# graded: 01_toy/double\ndef double(x):\n"
RENAMED = "renamed-and-reversed"
PROGRAMS = Path(sys.executable).parent


def class_of_notebooks(course):
    """Student ids with what each hands in, and the points that it must get."""
    crowd = {"full-marks": (solved(course), 5), "untouched": (release(course), 0)}

    def one(name, points, **answers):
        notebook = solved(course)
        for task, source in answers.items():
            answer(notebook, task, source)
        crowd[name] = (notebook, points)
        return notebook

    one("half-right", 4, double=DOUBLE + "    return abs(2 * x)\n")
    one("process-ends", 3, double="# graded: 01_toy/double\nimport os\nos._exit(0)\n")
    one("call-ends", 3, double=DOUBLE + "    import os\n    os._exit(0)\n")
    one("cell-loops", 3, double=DOUBLE + "    return 0\nwhile True:\n    pass\n")
    one("call-loops", 3, double=DOUBLE + "    while x:\n        pass\n")
    one("not-python", 3, double=DOUBLE + "    return (\n")
    one("forged-number", 3, double=DOUBLE + "    return float('nan')\n")
    one("raises", 3, double=DOUBLE + "    secret = x\n    raise ValueError(f'SECRET {x}')\n")
    keeper = one(
        "keeps-arguments", 3, double="KEPT = []\n" + DOUBLE + "    KEPT.append(x); return 1\n"
    )
    keeper.cells.append(new_code_cell("print('KEPT', KEPT)"))
    writer = one("writes-markdown", 5)
    writer.cells.append(new_markdown_cell("<script>steal()</script> **mine**"))
    writer.cells.append(
        new_code_cell("from IPython.display import HTML\nHTML('<script>steal()</script>shown')")
    )
    sweeper = one("uses-explore-names", 5)
    sweeper.cells.append(new_code_cell("print(SWEEP)"))
    slow = "    import time\n    end = time.process_time() + {}\n    while time.process_time() < end: pass\n"
    one(
        "computes-long",
        5,
        double=DOUBLE + slow.format(0.3) + "    return 2 * x\ndouble(1)\ndouble(2)\n",
    )
    late = one("reuses-a-name", 5)
    late.cells.append(new_code_cell("double = 3"))
    colab = one("back-from-colab", 5)
    colab.cells.insert(
        3, new_code_cell("!pip install numpy\n%pip install torch\nimport google.colab\nprint('on')")
    )
    one(RENAMED, 5).cells.reverse()
    return crowd


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    root = tmp_path_factory.mktemp("graded")
    course = make_toy_course(root / "course")
    folder = init(root / "class", course)
    crowd = class_of_notebooks(course)
    for student, (notebook, _) in crowd.items():
        path = hand_in(folder.root, student, notebook)
        if student == RENAMED:
            path.rename(path.with_name("01_toy (1).ipynb"))
    hand_in(folder.root, "broken-file", b"{ this is no notebook")
    rows = grade_class(folder, course, "01_toy", workers=2)
    return course, folder, crowd, rows


def page(folder, student):
    return (folder.feedback / student / "01_toy" / "01_toy.html").read_text()


def test_every_submission_gets_its_points(graded):
    _, _, crowd, rows = graded
    assert {name: rows[name].score for name in crowd} == {
        name: points for name, (_, points) in crowd.items()
    }


def test_computing_is_told_by_task_for_cells_and_hidden_tests(graded):
    _, folder, _, _ = graded
    event = Ledger(folder.ledger).last("computes-long", "01_toy")
    double, shift = Store(folder.results).get(event["key"]).tasks
    # Its own two calls and the one of the cell below it; then one call in each of the two tests.
    assert 0.85 < double.cell_seconds < 2
    assert 0.55 < double.test_seconds < 1.5
    assert shift.cell_seconds < 0.3
    assert shift.test_seconds < 0.3


def test_a_task_whose_process_ends_has_times_all_the_same(graded):
    _, folder, _, _ = graded
    for student in ("process-ends", "call-ends", "call-loops", "cell-loops"):
        event = Ledger(folder.ledger).last(student, "01_toy")
        for task in Store(folder.results).get(event["key"]).tasks:
            assert task.test_seconds >= 0, (student, task.task)
    loops = Store(folder.results).get(Ledger(folder.ledger).last("call-loops", "01_toy")["key"])
    assert loops.tasks[0].test_seconds > 1.5  # the limit is 2
    assert loops.compute_seconds > loops.tasks[0].test_seconds  # a process that was ended counts


def test_a_broken_file_is_ungraded_with_the_reason_and_no_zero(graded):
    _, folder, _, rows = graded
    row = rows["broken-file"]
    assert (row.status, row.score, row.machinery_failed) == (UNGRADED, None, False)
    assert "JSON cannot be read" in page(folder, "broken-file")


def test_no_submission_failed_for_the_machinery(graded):
    assert not [row for row in graded[3].values() if row.machinery_failed]


def test_nbgraders_gradebook_holds_the_scores(graded):
    _, folder, crowd, _ = graded
    with Gradebook(f"sqlite:///{folder.gradebook}") as gradebook:
        for student, (_, points) in crowd.items():
            submission = gradebook.find_submission("01_toy", student)
            assert submission.score == points, student


def test_feedback_names_the_misconception_and_the_students_own_line(graded):
    _, folder, _, _ = graded
    assert "Negative numbers double too." in page(folder, "half-right")
    text = page(folder, "raises")
    assert "it raised ValueError at line" in text
    assert "raise ValueError" in text


def test_hidden_inputs_reach_no_page(graded):
    course, folder, _, _ = graded
    value = seed_for(folder.secret, "01_toy", "double", course.hidden_tests("01_toy")) % 1000 + 3
    for student in ("keeps-arguments", "raises"):
        for path in (folder.feedback / student).rglob("*"):
            if path.is_file():
                text = path.read_text()
                assert f"KEPT [{value}" not in text
                assert f"SECRET {value}" not in text
    # Only what the visible check cell passed was known when the outputs were frozen.
    assert "KEPT [2]" in page(folder, "keeps-arguments")


def test_no_script_of_a_student_reaches_a_page_or_a_notebook(graded):
    _, folder, _, _ = graded
    assert "shown" in page(folder, "writes-markdown")
    for place in (folder.feedback, folder.autograded):
        for path in (place / "writes-markdown").rglob("*.*"):
            assert "<script>steal" not in path.read_text().replace("HTML(&#39;", "").replace(
                "HTML('<script>", ""
            )
    assert "Content-Security-Policy" in page(folder, "writes-markdown")


def test_pip_and_colab_do_nothing_and_say_so(graded):
    text = page(graded[1], "back-from-colab")
    assert "does nothing in grading" in text
    assert "on" in text


def test_notes_tell_what_the_grader_did(graded):
    rows = graded[3]
    assert any("demonstrations were run too" in n for n in rows["uses-explore-names"].notes)
    assert any("seconds of computing" in n for n in rows["cell-loops"].notes)


def test_every_repair_stands_on_the_students_page(graded):
    notes = graded[3][RENAMED].notes
    assert len(notes) == 2
    told = page(graded[1], RENAMED).replace("&#95;", "_")
    assert "01_toy (1).ipynb was taken for 01_toy.ipynb." in told
    assert "Cells stood in another order than in the assignment; they were put back." in told


def test_equal_notebooks_are_graded_once(graded):
    course, folder, _crowd, _ = graded
    with Workers(course, course.assignment("01_toy"), (folder.root,)) as workers:
        again = {r.student: r.score for r in Batch(folder, course, "01_toy", workers).run()}
        assert workers.sandbox is None
    assert again["full-marks"] == 5
    events = [line for line in folder.ledger.read_text().splitlines() if '"full-marks"' in line]
    assert len(events) == 1


def test_nbgraders_own_autograde_gives_the_same_scores(graded):
    _, folder, crowd, _ = graded
    for result in folder.results.glob("*.json"):
        result.unlink()
    students = ["half-right", "forged-number", "full-marks", "process-ends"]
    run = subprocess.run(
        [PROGRAMS / "nbgrader", "autograde", "01_toy", "--student", "[hfp]*-*", "--force"],
        cwd=folder.root,
        env={**os.environ, "PATH": f"{PROGRAMS}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    with Gradebook(f"sqlite:///{folder.gradebook}") as gradebook:
        for student in students:
            assert gradebook.find_submission("01_toy", student).score == crowd[student][1]


def test_nothing_is_written_into_the_repository(graded):
    course, _, _, _ = graded
    names = {path.name for path in course.repository.iterdir()}
    assert names == {"assignments", "autograder", "course.toml", "lib", "solutions"}


def test_class_data_is_readable_by_its_owner_only(graded):
    folder = graded[1]
    assert folder.root.stat().st_mode & 0o077 == 0
    assert (folder.root / "secret").stat().st_mode & 0o077 == 0


def test_graded_notebooks_are_valid_and_their_scores_finite_and_clamped(graded):
    _, folder, _, _ = graded
    for path in folder.autograded.rglob("*.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        for cell in notebook.cells:
            info = cell.metadata.get("nbgrader", {})
            if info.get("grade") and cell.cell_type == "code":
                (output,) = cell.outputs
                assert 0 <= float(output.data["text/plain"]) <= info["points"]


def test_a_course_folder_inside_the_repository_is_refused(graded):
    course = graded[0]
    with pytest.raises(CourseError, match="outside it"):
        init(course.repository / "class", course)


def test_a_folder_that_is_no_course_folder_says_how_to_make_one(tmp_path):
    with pytest.raises(CourseError, match="autograder init"):
        open_folder(tmp_path)


def test_an_empty_class_says_where_submissions_belong(tmp_path):
    course = make_toy_course(tmp_path / "course")
    folder = init(tmp_path / "class", course)
    with pytest.raises(CourseError, match=r"submitted/<student>/01_toy/01_toy\.ipynb"):
        grade_class(folder, course, "01_toy")


def test_a_configuration_that_leads_past_the_sandbox_is_refused(tmp_path):
    course = make_toy_course(tmp_path / "course")
    folder = init(tmp_path / "class", course)
    hand_in(folder.root, "ada", solved(course))
    config = folder.root / "nbgrader_config.py"
    config.write_text(
        config.read_text().replace("autograder.grading.preprocessor.SandboxExecute", "x")
    )
    with pytest.raises(CourseError, match="does not lead autograding through the sandbox"):
        grade_class(folder, course, "01_toy")


def test_a_gradebook_held_by_another_process_is_named(tmp_path, monkeypatch):
    course = make_toy_course(tmp_path / "course")
    folder = init(tmp_path / "class", course)
    hand_in(folder.root, "ada", solved(course))
    folder.gradebook.write_bytes(b"not a database at all, but long enough to look like one" * 9)
    with pytest.raises(CourseError, match="cannot be opened"):
        grade_class(folder, course, "01_toy")


def test_statuses_are_the_two_words(graded):
    assert {row.status for row in graded[3].values()} == {GRADED, UNGRADED}
