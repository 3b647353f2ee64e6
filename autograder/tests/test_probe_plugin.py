"""Running hidden tests: what counts, what is the machinery's failure, what may be shown."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from autograder.probe import (
    HiddenTestsBroken,
    Student,
    run_hidden_tests,
    run_task,
    seed_for,
    task,
)
from autograder.sandbox import Sandbox
from kernel_notebook import Notebook

SECRET = b"course secret"
STUDENT = """
# graded: 01/double
def double(x): return x * 2
def wrong(x):
    return x * 3
def raises(x):
    raise KeyError(x)
def dies(x):
    import os; os._exit(1)
"""
HEAD = "import torch\nfrom autograder.probe import task\n"
HIDDEN = (
    HEAD
    + """
LOADED = []

@task("double", weight=3, misconception="Multiply by two.")
def test_doubles(student, rng):
    print("printed by a test")
    x = torch.randn(3, generator=rng)
    assert torch.equal(student.double(x), 2 * x), "hidden input 12345"

@task("double", misconception="Keep the shape.")
def test_keeps_the_shape(student, seed):
    assert student.wrong(seed % 7 + 1) == 0, "hidden input 12345"

@task("raises", misconception="Look at the keys.")
def test_raises(student):
    student.raises("hidden input 12345")

@task("dies")
def test_dies(student):
    student.dies(1)

@task("dies")
def test_after_death(student):
    student.double(1)

@task("uses result")
def test_uses_the_result(student):
    assert student.double(1).shape == (3,)
"""
)


@pytest.fixture
def student(sandbox: Sandbox) -> Iterator[Student]:
    notebook = start(sandbox)
    yield notebook.student()
    notebook.close()


def start(sandbox: Sandbox) -> Notebook:
    notebook = Notebook(sandbox)
    notebook.run(STUDENT)
    notebook.take("double", "wrong", "raises", "dies")
    return notebook


@pytest.fixture
def hidden(tmp_path: Path) -> Path:
    path = tmp_path / "hidden" / "test_01.py"
    path.parent.mkdir()
    path.write_text(HIDDEN)
    return path


def test_weights_give_partial_credit_and_misconceptions_are_named(hidden, student):
    (outcome,) = run_hidden_tests(hidden, "01", ["double"], student, SECRET)
    assert outcome.fraction == 0.75
    assert outcome.misconceptions == ("Keep the shape.",)
    assert [test.passed for test in outcome.tests] == [True, False]


def test_nothing_of_the_expectation_or_the_input_is_in_an_outcome(hidden, student, capsys):
    outcomes = run_hidden_tests(hidden, "01", ["double", "raises"], student, SECRET)
    shown = repr(outcomes) + "".join(capsys.readouterr())
    assert "12345" not in shown
    assert "printed by a test" not in shown
    assert outcomes[1].tests[0].message == "it raised KeyError at line 6"
    assert outcomes[1].tests[0].error == "KeyError"


def test_a_death_costs_its_task_and_the_next_gets_a_new_process(hidden, sandbox):
    started: list[Notebook] = []
    alive: list[Student] = []

    def provide(name: str) -> Student:
        if not alive or alive[-1].dead is not None:
            started.append(start(sandbox))
            alive.append(started[-1].student())
        return alive[-1]

    died, after = run_hidden_tests(hidden, "01", ["dies", "double"], provide, SECRET)
    assert (died.fraction, died.died, died.died_in) == (0, "exited", "test_dies")
    assert (after.fraction, after.died) == (0.75, "")
    assert len(started) == 2
    for notebook in started:
        notebook.close()


def test_a_result_of_the_wrong_kind_loses_the_test_quietly(hidden, student):
    outcome = run_task(hidden, "01", "uses result", student, SECRET)
    assert outcome.fraction == 0
    assert outcome.tests[0].message == ""


def test_random_inputs_are_the_same_for_everybody_and_change_with_what_they_depend_on(hidden):
    seed = seed_for(SECRET, "01", "double", hidden)
    assert seed == seed_for(SECRET, "01", "double", hidden)
    others = {
        seed_for(b"other", "01", "double", hidden),
        seed_for(SECRET, "02", "double", hidden),
        seed_for(SECRET, "01", "raises", hidden),
    }
    hidden.write_text(HIDDEN + "\n")
    others.add(seed_for(SECRET, "01", "double", hidden))
    assert len(others | {seed}) == 5
    torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import nonexistent_module", "does not import.*nonexistent_module"),
        ("def test_x(: pass", "does not import"),
        ("1 / 0", "does not import.*ZeroDivisionError"),
        ("", "no test for the task double"),
        (HEAD + "@task('other')\ndef test_a(student): pass", "no test for the task double"),
        (HEAD + "def test_a(student): pass", "names no task"),
        (
            HEAD + "import pytest\n@task('double')\ndef test_a(student): pytest.skip('not now')",
            "test_a skips",
        ),
        (
            HEAD
            + "import pytest\n@pytest.fixture\ndef broken(): raise OSError\n"
            + "@task('double')\ndef test_a(student, broken): pass",
            "test_a: its setup raised OSError",
        ),
        (
            HEAD + "@task('double')\ndef test_a(student, no_such_fixture): pass",
            "test_a: its setup raised",
        ),
        (
            HEAD + "import pytest\n@task('double')\ndef test_a(student): pytest.exit('bye')",
            "calls pytest.exit",
        ),
    ],
)
def test_broken_hidden_tests_give_nobody_a_mark(hidden, student, source, said):
    hidden.write_text(source)
    with pytest.raises(HiddenTestsBroken, match=said):
        run_hidden_tests(hidden, "01", ["double"], student, SECRET)


def test_missing_hidden_tests_are_named(tmp_path, student):
    with pytest.raises(HiddenTestsBroken, match=r"no hidden tests at .*test_gone\.py"):
        run_hidden_tests(tmp_path / "test_gone.py", "01", ["double"], student, SECRET)


def test_nothing_is_written_beside_the_tests_and_nothing_stays_imported(hidden, student):
    (hidden.parent / "conftest.py").write_text("raise RuntimeError('a conftest nobody asked for')")
    before = {path: path.read_bytes() for path in hidden.parent.rglob("*")}
    run_hidden_tests(hidden, "01", ["double"], student, SECRET)
    assert {path: path.read_bytes() for path in hidden.parent.rglob("*")} == before
    assert "test_01" not in sys.modules


def test_a_test_file_is_imported_once_for_all_students_and_again_when_it_changes(hidden, student):
    counting = HEAD + (
        "import os\nos.environ['IMPORTS'] = os.environ.get('IMPORTS', '') + 'x'\n"
        "@task('double')\ndef test_a(student): assert student.double(1) == 2\n"
    )
    os.environ["IMPORTS"] = ""
    for source, imports in ((counting, "x"), (counting, "x"), (counting + "#", "xx")):
        hidden.write_text(source)
        assert run_task(hidden, "01", "double", student, SECRET).fraction == 1
        assert os.environ["IMPORTS"] == imports
    del os.environ["IMPORTS"]


def test_two_files_of_one_name_are_not_confused(tmp_path, student):
    for folder, factor in (("a", 2), ("b", 3)):
        path = tmp_path / folder / "test_01.py"
        path.parent.mkdir()
        path.write_text(
            HEAD + f"@task('double')\ndef test_a(student): assert student.double(1) == {factor}"
        )
    fractions = [
        run_task(tmp_path / folder / "test_01.py", "01", "double", student, SECRET).fraction
        for folder in ("a", "b", "a")
    ]
    assert fractions == [1, 0, 1]


def test_the_graders_own_pytest_settings_do_not_reach_the_hidden_tests(
    hidden, student, monkeypatch
):
    monkeypatch.setenv("PYTEST_ADDOPTS", "--no-such-option")
    assert run_task(hidden, "01", "double", student, SECRET).fraction == 0.75
    assert os.environ["PYTEST_ADDOPTS"] == "--no-such-option"


def test_a_weight_must_be_positive():
    with pytest.raises(ValueError, match="give it more than 0"):
        task("double", weight=0)


def test_the_seed_is_recorded_with_the_outcome(hidden, student):
    outcome = run_task(hidden, "01", "double", student, SECRET)
    assert outcome.seed == seed_for(SECRET, "01", "double", hidden)
    assert hashlib.sha256(hidden.read_bytes()).hexdigest() not in repr(outcome)
