"""`steerlab check` says before hand-in what grading would say after it."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from steerlab.cells import newer_syntax
from steerlab.cli import main
from steerlab.handin import TASKS, check_notebook, course_modules

ID = "01_mean_diff"
COURSE = Path(__file__).parents[2] / "course.toml"


def good_cells():
    cells = [("code", "import torch\nfrom steerlab import load_model\nMODEL = 'tiny'")]
    for task in TASKS[ID]:
        if task == "written":
            cells.append(("markdown", f"<!-- graded: {ID}/written -->\nBecause."))
        else:
            cells.append(("code", f"# graded: {ID}/{task}\ndef {task}(x):\n    return x"))
            cells.append(("code", f"# score: {ID}/{task}"))
    return cells


@pytest.fixture
def notebook(tmp_path):
    """notebook(cells, name) -> path of a notebook with those cells, good ones by default."""

    def write(cells=None, name=f"{ID}.ipynb", extra=()):
        cells = [*(good_cells() if cells is None else cells), *extra]
        raw = [
            {
                "cell_type": kind,
                "source": source.splitlines(keepends=True),
                "metadata": {"tags": tags},
            }
            for kind, source, *tags in cells
        ]
        path = tmp_path / name
        path.write_text(json.dumps({"cells": raw, "nbformat": 4, "nbformat_minor": 5}))
        return path

    return write


def messages(path, level=None):
    return [str(f) for f in check_notebook(path) if level in (None, f.level)]


def test_a_good_notebook_passes(notebook, capsys):
    assert main(["check", str(notebook())]) == 0
    assert capsys.readouterr().out.strip().endswith("nothing stands in the way of grading.")


def test_a_lost_marker_is_named(notebook, capsys):
    cells = [c for c in good_cells() if "graded: 01_mean_diff/steering_mask" not in c[1]]
    assert main(["check", str(notebook(cells))]) == 1
    out = capsys.readouterr().out
    assert (
        "steering_mask is missing: no cell begins with '# graded: 01_mean_diff/steering_mask'"
        in out
    )
    assert "1 to mend" in out


def test_a_notebook_without_any_marker_is_said_so(notebook):
    [finding] = messages(notebook([("code", "x = 1")]))
    assert "no graded cell" in finding


def test_a_missing_written_answer_is_named(notebook):
    [finding] = messages(notebook(good_cells()[:-1]))
    assert "<!-- graded: 01_mean_diff/written -->" in finding


def test_a_duplicated_answer_is_named(notebook):
    copy = ("code", f"# graded: {ID}/mean_difference\ndef mean_difference(x):\n    return 2 * x")
    [finding] = messages(notebook(extra=[copy]))
    assert "mean_difference has 2 answer cells (4, 15); the last one you changed counts" in finding


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def f(:\n    pass", "line 1: not Python"),
        ("import sae_bench_of_somebody", "not in the course environment: sae_bench_of_somebody"),
        ("from google import genai", "not in the course environment: google.genai"),
        ("name = input('who? ')", "input() gets no answer"),
        ("open('/content/drive/MyDrive/x.pt')", "is a file on Colab"),
        (f"# graded: {ID}/steering_vector\nx = 1", "is no task of this assignment"),
    ],
)
def test_what_breaks_in_grading_is_a_problem(notebook, source, words):
    findings = messages(notebook(extra=[("code", source)]), "problem")
    assert len(findings) == 1
    assert words in findings[0]
    assert "cell 15" in findings[0]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("!pip install -q transformer_lens", "does nothing in grading"),
        ("%pip install einops\nimport torch", "does nothing in grading"),
        ("from google.colab import drive", "google.colab does nothing"),
        ("from google import colab", "google.colab does nothing"),
        ("!wget x\ny = 1", "no network"),
        ("MODEL = 'gemma-2-2b-it'", "gives the embedded model"),
    ],
)
def test_what_grading_ignores_is_a_note_and_passes(notebook, source, words, capsys):
    path = notebook(extra=[("code", source)])
    assert words in messages(path, "note")[0]
    assert main(["check", str(path)]) == 0


@pytest.mark.parametrize(
    "source",
    [
        "%matplotlib inline\n%load_ext autoreload\nfiles = %who_ls\ntorch.add?",
        "%%time\nx = 1",
        "%%bash\nif [ 1 ]; then ls; fi",
        "x = (7\n  % 3)\ntext = '''\n!pip install y\n'''",
        "try:\n    import sae_bench_of_somebody\nexcept ImportError:\n    pass",
        "await something()",
        "import json, numpy, sklearn.svm, matplotlib.pyplot as plt, transformer_lens, einops",
        "from __future__ import annotations",
    ],
)
def test_ordinary_notebook_code_passes(notebook, source):
    assert messages(notebook(extra=[("code", source)])) == []


def test_cells_that_grading_leaves_out_cost_nothing(notebook, capsys):
    path = notebook(
        extra=[
            ("code", "import sae_bench_of_somebody", "explore"),
            ("code", "!pip install -q steerlab", "install"),
        ]
    )
    [finding] = messages(path)
    assert finding.startswith("note")
    assert main(["check", str(path)]) == 0


def test_an_unanswered_stub_is_a_note_and_a_renamed_function_a_problem(notebook):
    cells = good_cells()
    stub = f'# graded: {ID}/sentence_residuals\ndef sentence_residuals(m):\n    """Doc."""\n'
    cells[1] = ("code", stub + "    raise NotImplementedError('your code here')")
    cells[3] = (
        "code",
        f"# graded: {ID}/mean_difference\ndef my_difference(a, b):\n    return a - b",
    )
    problem, note = messages(notebook(cells))
    assert "defines no function named mean_difference" in problem
    assert "sentence_residuals is not answered yet" in note


def test_syntax_newer_than_the_oldest_grader_is_a_problem():
    assert newer_syntax("x = f'{1}'") is None
    if sys.version_info >= (3, 12):
        assert "3.12" in str(newer_syntax("type X = int"))
        assert "3.12" in str(newer_syntax("x = f'{d['key']}'"))
        assert "3.12" in str(newer_syntax(r'''x = f"{'\n'.join(y)}"'''))
        assert newer_syntax("""x = f'{d["key"]}' + f"{'a'}" """) is None


def test_a_helper_file_beside_the_notebook_is_not_handed_in(notebook, tmp_path):
    (tmp_path / "my_helpers.py").write_text("x = 1")
    [finding] = messages(notebook(extra=[("code", "import my_helpers")]))
    assert "put its code into the notebook" in finding


def test_another_name_is_noted(notebook):
    assert "under the name 01_mean_diff.ipynb" in messages(notebook(name="Copy (1).ipynb"))[0]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"[1, 2]", b'{"worksheets": []}'])
def test_a_file_that_is_no_notebook_is_a_problem(tmp_path, content, capsys):
    path = tmp_path / f"{ID}.ipynb"
    path.write_bytes(content)
    assert main(["check", str(path)]) == 1
    assert "is not a" in capsys.readouterr().out


def test_no_file_is_wrong_usage(tmp_path, capsys):
    assert main(["check", str(tmp_path / "away.ipynb")]) == 2
    assert "there is no file" in capsys.readouterr().err


def test_without_a_command_the_usage_is_shown(capsys):
    with pytest.raises(SystemExit) as exit_code:
        main([])
    assert exit_code.value.code == 2
    assert "usage: steerlab" in capsys.readouterr().err


def test_the_tasks_are_those_of_the_course_file():
    course = tomllib.loads(COURSE.read_text(encoding="utf-8"))
    for name, assignment in course["assignments"].items():
        assert list(TASKS[name]) == [*assignment["tasks"], *assignment.get("written", {})]


def test_the_course_environment_follows_from_what_steerlab_requires():
    modules = course_modules()
    assert {"torch", "transformer_lens", "numpy", "sklearn", "matplotlib", "tqdm"} <= modules
    assert not {"nbgrader", "pytest", "autograder"} & modules


def test_checking_needs_no_torch():
    code = "import sys, steerlab.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
