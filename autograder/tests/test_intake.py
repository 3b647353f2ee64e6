"""Intake turns what students hand in into a clean notebook, or refuses it with a reason."""

from __future__ import annotations

import json
import random
import zipfile

import nbformat
import pytest
from autograder.intake import Refused, clean_notebook, parse_notebook, take_in
from autograder.intake.python_source import compiles, newer_python_needed, parsed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_markdown_cell
from toy_course import answer, hand_in, make_toy_course, release, solved

from autograder import cells

DOUBLE = "# graded: 01_toy/double\ndef double(x):\n    return 2 * x\n"


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    return make_toy_course(tmp_path_factory.mktemp("toy") / "course")


def cleaned(course, notebook):
    return clean_notebook(notebook, "01_toy", release(course))


def answers(clean):
    return {
        cells.task(cell): cell.source.strip()
        for cell in clean.notebook.cells
        if cells.role(cell) == cells.ANSWER
    }


def added(clean):
    return [c.source for c in clean.notebook.cells if cells.role(c) == cells.ADDED]


def test_an_untouched_solution_passes_without_a_repair(course):
    clean = cleaned(course, solved(course))
    assert clean.repairs == ()
    assert answers(clean)["double"] == DOUBLE.strip()


def test_every_answer_cell_is_followed_by_its_score_cell_from_the_release(course):
    notebook = solved(course)
    for cell in notebook.cells:
        if cell.source.startswith("# score"):
            cell.source = "# score: 01_toy/double\nprint('full marks please')"
            cell.metadata["nbgrader"]["points"] = 1000
    clean = cleaned(course, notebook)
    roles = [(cells.role(c), cells.task(c)) for c in clean.notebook.cells]
    for task in ("double", "shift"):
        at = roles.index((cells.ANSWER, task))
        score = clean.notebook.cells[at + 1]
        assert roles[at + 1] == (cells.SCORE, task)
        assert score.metadata["nbgrader"]["points"] in (2, 3)
        assert "full marks" not in score.source


def test_outputs_and_metadata_of_the_student_are_dropped(course):
    notebook = solved(course)
    notebook.metadata["widgets"] = {"application/vnd.jupyter.widget-state+json": {"evil": 1}}
    notebook.cells[3].outputs = [nbformat.v4.new_output("stream", text="mine")]
    clean = cleaned(course, notebook)
    assert "widgets" not in clean.notebook.metadata
    assert all(not cell.get("outputs") for cell in clean.notebook.cells)


def test_markers_find_answers_when_ids_and_metadata_are_lost(course):
    notebook = solved(course)
    for cell in notebook.cells:
        cell["id"] = f"{random.getrandbits(32):08x}"
        cell.metadata.clear()
        cell.metadata["colab"] = {"base_uri": "https://localhost:8080/"}
        cell.metadata["outputId"] = "abc"
    assert answers(cleaned(course, notebook)) == answers(cleaned(course, solved(course)))


def test_a_deleted_marker_is_made_good_by_the_cell_id(course):
    notebook = solved(course)
    answer(notebook, "double", "def double(x):\n    return 2 * x\n")
    assert "return 2 * x" in answers(cleaned(course, notebook))["double"]


def test_without_marker_id_and_metadata_the_function_name_decides(course):
    notebook = solved(course)
    answer(notebook, "double", "def double(x):\n    return 2 * x\n")
    for cell in notebook.cells:
        cell["id"], cell.metadata = f"lost-{id(cell)}", nbformat.from_dict({})
    assert "return 2 * x" in answers(cleaned(course, notebook))["double"]


def test_of_two_copies_the_last_that_differs_from_the_release_counts(course):
    notebook = solved(course)
    blank = next(c for c in release(course).cells if c.source.startswith("# graded: 01_toy/double"))
    notebook.cells.append(new_code_cell(DOUBLE.replace("2 * x", "x + x")))
    notebook.cells.append(new_code_cell(blank.source))
    clean = cleaned(course, notebook)
    assert "x + x" in answers(clean)["double"]
    assert any("double" in repair and "last one" in repair for repair in clean.repairs)
    assert not any("NotImplementedError" in source for source in added(clean))


def test_a_deleted_answer_cell_loses_its_own_task_only(course):
    notebook = solved(course)
    notebook.cells = [
        c for c in notebook.cells if not c.source.startswith("# graded: 01_toy/shift")
    ]
    clean = cleaned(course, notebook)
    assert "NotImplementedError" in answers(clean)["shift"]
    assert answers(clean)["double"] == DOUBLE.strip()
    assert any("shift" in repair and "missing" in repair for repair in clean.repairs)


def test_a_deleted_import_cell_is_put_back(course):
    notebook = solved(course)
    notebook.cells = [c for c in notebook.cells if "OFFSET = 3" not in c.source]
    clean = cleaned(course, notebook)
    assert any("OFFSET = 3" in cell.source for cell in clean.notebook.cells)


def test_an_answer_cell_split_in_two_is_joined_again(course):
    notebook = solved(course)
    at = next(i for i, c in enumerate(notebook.cells) if "graded: 01_toy/double" in c.source)
    notebook.cells[at].source = "# graded: 01_toy/double\ndef double(x):"
    notebook.cells.insert(at + 1, new_code_cell("    return 2 * x"))
    clean = cleaned(course, notebook)
    assert "return 2 * x" in answers(clean)["double"]
    assert any("split" in repair for repair in clean.repairs)


def test_an_answer_turned_into_markdown_is_code_again(course):
    notebook = solved(course)
    at = next(i for i, c in enumerate(notebook.cells) if "graded: 01_toy/double" in c.source)
    notebook.cells[at] = new_markdown_cell(notebook.cells[at].source)
    clean = cleaned(course, notebook)
    cell = next(c for c in clean.notebook.cells if cells.task(c) == "double")
    assert cell.cell_type == "code"
    assert "return 2 * x" in cell.source


def test_shuffled_cells_go_back_into_the_release_order(course):
    notebook = solved(course)
    notebook.cells.reverse()
    clean = cleaned(course, notebook)
    straight = cleaned(course, solved(course))
    assert [c.source for c in clean.notebook.cells] == [c.source for c in straight.notebook.cells]
    assert any("order" in repair for repair in clean.repairs)


def test_cells_that_the_student_added_stay_where_they_were(course):
    notebook = solved(course)
    at = next(i for i, c in enumerate(notebook.cells) if "OFFSET = 3" in c.source)
    notebook.cells.insert(at + 1, new_code_cell("HELPER = 1"))
    clean = cleaned(course, notebook)
    sources = [cell.source for cell in clean.notebook.cells]
    assert sources.index("HELPER = 1") == sources.index("import math\n\nOFFSET = 3") + 1


def test_an_edited_configuration_cell_keeps_the_edit(course):
    notebook = solved(course)
    cell = next(c for c in notebook.cells if "OFFSET = 3" in c.source)
    cell.source = "import math\n\nOFFSET = 4"
    cell["id"] = "lost"
    clean = cleaned(course, notebook)
    assert [c.source for c in clean.notebook.cells if "OFFSET =" in c.source] == [cell.source]


def test_the_renamed_download_of_a_browser_is_taken(course, tmp_path):
    path = hand_in(tmp_path, "ada", solved(course))
    path.rename(path.with_name("01_toy (1).ipynb"))
    clean = take_in(path.parent, "01_toy", release(course))
    assert "01_toy (1).ipynb was taken for 01_toy.ipynb." in clean.repairs


def test_windows_line_ends_and_a_byte_order_mark_do_no_harm(course, tmp_path):
    text = nbformat.writes(solved(course)).replace("\\n", "\\r\\n")
    path = hand_in(tmp_path, "ada", b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    clean = take_in(path.parent, "01_toy", release(course))
    assert answers(clean) == answers(cleaned(course, solved(course)))


def test_a_zip_file_with_the_notebook_in_it_is_opened(course, tmp_path):
    path = hand_in(tmp_path, "ada", nbformat.writes(solved(course)).encode())
    with zipfile.ZipFile(path.with_name("homework.zip"), "w") as archive:
        archive.write(path, "homework/01_toy.ipynb")
        archive.writestr("__MACOSX/homework/._01_toy.ipynb", b"junk")
    path.unlink()
    clean = take_in(path.parent, "01_toy", release(course))
    assert "The notebook was taken out of homework.zip." in clean.repairs
    assert answers(clean) == answers(cleaned(course, solved(course)))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("01_toy.ipynb", bytes(19_000_000), "a zip bomb"),
        ("01_toy.ipynb", b"0123456789" * 2_100_000, "more than the 20 MB"),
        ("../01_toy.ipynb", b"{}", "leads out of the archive"),
        ("notes.txt", b"{}", "There is no notebook"),
    ],
)
def test_a_bad_zip_file_is_refused_with_the_reason(course, tmp_path, name, content, words):
    with zipfile.ZipFile(tmp_path / "work.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    with pytest.raises(Refused, match=words):
        take_in(tmp_path, "01_toy", release(course))


def test_two_notebooks_of_which_either_could_be_it_are_refused(course, tmp_path):
    for name in ("mine.ipynb", "other.ipynb"):
        (tmp_path / name).write_text(nbformat.writes(solved(course)))
    with pytest.raises(Refused, match=r"Several notebooks.*\(mine\.ipynb, other\.ipynb\)"):
        take_in(tmp_path, "01_toy", release(course))


def test_another_assignments_notebook_is_named(course):
    notebook = solved(course)
    for cell in notebook.cells:
        cell.source = cell.source.replace("01_toy/", "02_other/")
        cell["id"], cell.metadata = f"x-{id(cell)}", nbformat.from_dict({})
    for cell in notebook.cells:
        cell.source = cell.source.replace("def double", "def a").replace("def shift", "def b")
    with pytest.raises(Refused, match="This is the notebook of 02_other"):
        cleaned(course, notebook)


def test_merged_cells_are_taken_apart_at_their_markers(course):
    notebook = solved(course)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    merged = new_code_cell("\n".join(cell.source for cell in code))
    notebook.cells = [merged]
    clean = cleaned(course, notebook)
    straight = answers(cleaned(course, solved(course)))
    assert answers(clean)["double"] == straight["double"]
    assert answers(clean)["shift"].startswith(straight["shift"].split("\n")[0])
    assert "return x + by + OFFSET" in answers(clean)["shift"]
    assert any("merged" in repair for repair in clean.repairs)


def test_a_marker_inside_a_text_cuts_nothing(course):
    notebook = solved(course)
    quoting = DOUBLE + '\nNOTE = """\n# graded: 01_toy/shift\n"""\n'
    answer(notebook, "double", quoting)
    assert answers(cleaned(course, notebook))["double"] == quoting.strip()


def test_an_answer_below_the_untouched_marked_cell_is_graded(course):
    notebook = solved(course)
    at = next(i for i, c in enumerate(notebook.cells) if "graded: 01_toy/double" in c.source)
    notebook.cells[at] = next(c for c in release(course).cells if "01_toy/double" in c.source)
    notebook.cells.insert(at + 2, new_code_cell("def double(x):\n    return x * 2"))
    clean = cleaned(course, notebook)
    assert answers(clean)["double"] == "def double(x):\n    return x * 2"
    assert "double: its answer stood in a cell without its marker." in clean.repairs


def test_a_function_written_into_another_answers_cell_is_graded(course):
    notebook = solved(course)
    blank = next(c for c in release(course).cells if "graded: 01_toy/shift" in c.source)
    answer(notebook, "double", DOUBLE + "\ndef shift(x, by):\n    return x + by + OFFSET\n")
    answer(notebook, "shift", blank.source)
    clean = cleaned(course, notebook)
    assert "return x + by + OFFSET" in answers(clean)["shift"]
    assert any("shift" in repair and "another cell" in repair for repair in clean.repairs)


def test_code_typed_into_a_score_cell_runs_and_scores_nothing(course):
    notebook = solved(course)
    score = next(c for c in notebook.cells if c.source.startswith("# score: 01_toy/double"))
    score.source += "\nHELPER = 3"
    clean = cleaned(course, notebook)
    assert added(clean) == ["HELPER = 3"]
    assert "Code in a score cell was moved into a cell of its own." in clean.repairs


def test_a_large_image_pasted_into_a_text_does_not_refuse_the_notebook(course):
    notebook = solved(course)
    image = "![](data:image/png;base64," + "A" * 400_000 + ")"
    notebook.cells.append(new_markdown_cell("My plot: " + image))
    clean = cleaned(course, parse_notebook(nbformat.writes(notebook).encode()))
    assert added(clean) == ["My plot: ![](a pasted image, left out)"]


def test_an_old_notebook_format_is_read(course, tmp_path):
    old = nbformat.convert(solved(course), 3)
    path = hand_in(tmp_path, "ada", json.dumps(old).encode())
    assert answers(take_in(path.parent, "01_toy", release(course)))["double"] == DOUBLE.strip()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\x89PNG an image \xff", "not UTF-8"),
        (b"PK\x03\x04 a zip file \xff", "no zip file, or a damaged one"),
        (b"{ half a notebook", "JSON cannot be read"),
        (b"[" * 100_000, "JSON cannot be read"),
        (b"[]", "not a notebook"),
        (b'{"nbformat": 4, "cells": 3}', "no cells"),
        (b'{"nbformat": 9, "cells": []}', "format 9"),
        (b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []}', "No graded cell"),
    ],
)
def test_what_is_no_submission_is_refused_with_the_reason(course, tmp_path, content, words):
    path = hand_in(tmp_path, "ada", content)
    with pytest.raises(Refused, match=words):
        take_in(path.parent, "01_toy", release(course))


def test_a_symbolic_link_is_never_followed(course, tmp_path):
    secret = tmp_path / "gradebook.db"
    secret.write_text("marks")
    path = hand_in(tmp_path, "ada", solved(course))
    (path.parent / "more.txt").symlink_to(secret)
    with pytest.raises(Refused, match="symbolic link"):
        take_in(path.parent, "01_toy", release(course))


def test_an_oversized_notebook_is_refused_before_it_is_parsed(course, tmp_path):
    path = hand_in(tmp_path, "ada", b" " * 20_000_001)
    with pytest.raises(Refused, match="Clear the notebook's outputs"):
        take_in(path.parent, "01_toy", release(course))


def test_an_empty_folder_says_what_to_hand_in(course, tmp_path):
    with pytest.raises(Refused, match=r"Hand in 01_toy\.ipynb"):
        take_in(tmp_path, "01_toy", release(course))


def test_syntax_of_a_newer_python_is_not_the_students_error(course):
    notebook = solved(course)
    answer(
        notebook, "double", "# graded: 01_toy/double\ndef double[T](x: T) -> T:\n    return 2 * x\n"
    )
    with pytest.raises(Refused, match=r"needs Python 3\.12"):
        cleaned(course, notebook)
    assert newer_python_needed("def f(:\n  pass") is None


@pytest.mark.parametrize("line", ["!ls", "listing = !ls", "%time 1 + 1"])
def test_a_cell_of_a_thousand_shell_lines_costs_the_grader_nothing(course, line, monkeypatch):
    def read_anew(*_):
        pytest.fail("IPython reads such a cell anew for each of its lines")

    monkeypatch.setattr(
        "IPython.core.inputtransformer2.TransformerManager.transform_cell", read_anew
    )
    assert not compiles(f"{line}\n" * 1000)
    assert parsed(f"{line}\n" * 1000) is None


def test_a_cell_that_ipython_gives_up_on_is_kept_and_parses_as_nothing(course):
    notebook = solved(course)
    notebook.cells.append(new_code_cell("!ls\n" * 1000))
    clean = cleaned(course, notebook)
    assert any(source.count("!ls") == 1000 for source in added(clean))


def test_intake_of_a_clean_notebook_changes_nothing(course):
    first = cleaned(course, solved(course))
    second = cleaned(course, parse_notebook(nbformat.writes(first.notebook).encode()))
    assert second.repairs == ()
    assert [c.source for c in second.notebook.cells] == [c.source for c in first.notebook.cells]
    assert [cells.role(c) for c in second.notebook.cells] == [
        cells.role(c) for c in first.notebook.cells
    ]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_intake_is_idempotent_on_mangled_notebooks(course, data):
    notebook = solved(course)
    for _ in range(data.draw(st.integers(0, 6))):
        at = data.draw(st.integers(0, len(notebook.cells) - 1))
        action = data.draw(
            st.sampled_from(["delete", "duplicate", "move", "blank", "add", "strip"])
        )
        if action == "delete" and len(notebook.cells) > 1:
            del notebook.cells[at]
        elif action == "duplicate":
            notebook.cells.insert(at, nbformat.from_dict(dict(notebook.cells[at])))
        elif action == "move":
            cell = notebook.cells.pop(at)
            notebook.cells.insert(data.draw(st.integers(0, len(notebook.cells))), cell)
        elif action == "blank":
            notebook.cells[at].source = ""
        elif action == "add":
            notebook.cells.insert(at, new_code_cell(data.draw(st.text(max_size=40))))
        else:
            notebook.cells[at].metadata = nbformat.from_dict({})
            notebook.cells[at]["id"] = f"lost-{at}"
    try:
        first = cleaned(course, parse_notebook(nbformat.writes(notebook).encode()))
    except Refused:
        return
    second = cleaned(course, parse_notebook(nbformat.writes(first.notebook).encode()))
    assert [c.source for c in second.notebook.cells] == [c.source for c in first.notebook.cells]
    assert [c.get("id") for c in second.notebook.cells] == [
        c.get("id") for c in first.notebook.cells
    ]
