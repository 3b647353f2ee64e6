"""The command says in one line what is wrong and how to mend it, and exits accordingly."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from autograder.cli import main
from autograder.init import init
from autograder.terminal import CHECK_FAILED, DONE, MEND_FIRST
from toy_course import SOURCE, hand_in, make_toy_course, solved


@pytest.fixture
def course(tmp_path):
    return make_toy_course(tmp_path / "course")


def said(capsys):
    return capsys.readouterr().err.strip()


def test_init_then_grade_prints_the_table(course, tmp_path, capsys):
    root = tmp_path / "class"
    repository = ["--repository", str(course.repository)]
    assert main([*repository, "init", str(root)]) == DONE
    hand_in(root, "ada", solved(course))
    hand_in(root, "bob", b"broken")
    assert main(["grade", "01_toy", "--course", str(root)]) == DONE
    out = capsys.readouterr().out
    assert "ada" in out
    assert "5/5" in out
    assert "ungraded" in out
    assert "Isolation: full" in out


def test_an_unknown_assignment_is_named(course, tmp_path, capsys):
    folder = init(tmp_path / "class", course)
    assert main(["grade", "02_none", "--course", str(folder.root)]) == MEND_FIRST
    assert said(capsys) == "autograder: Unknown assignment '02_none': course.toml has 01_toy."


def test_an_empty_class_is_named(course, tmp_path, capsys):
    folder = init(tmp_path / "class", course)
    assert main(["grade", "01_toy", "--course", str(folder.root)]) == MEND_FIRST
    assert "No submissions of 01_toy: lay them out as" in said(capsys)


def test_a_folder_that_is_not_there_is_named(tmp_path, capsys):
    assert main(["grade", "01_toy", "--course", str(tmp_path / "none")]) == MEND_FIRST
    assert "does not exist. Make a course folder: autograder init" in said(capsys)


def test_init_twice_changes_nothing(course, tmp_path, capsys):
    folder = init(tmp_path / "class", course)
    before = (folder.root / "secret").read_text()
    repository = ["--repository", str(course.repository)]
    assert main([*repository, "init", str(folder.root)]) == MEND_FIRST
    assert "is a course folder already; nothing was changed" in said(capsys)
    assert (folder.root / "secret").read_text() == before


def test_a_source_that_breaks_the_rules_fails_the_build(course, capsys):
    path = course.repository / "solutions" / "01_toy.py"
    path.write_text(SOURCE.replace("# score: 01_toy/shift", "# lost"))
    assert main(["--repository", str(course.repository), "build", "--no-run"]) == CHECK_FAILED
    assert "the score cell of shift must follow its answer cell" in said(capsys)


def test_missing_bubblewrap_is_named_with_the_command_that_mends_it(
    course, tmp_path, capsys, monkeypatch
):
    folder = init(tmp_path / "class", course)
    hand_in(folder.root, "ada", solved(course))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert main(["grade", "01_toy", "--course", str(folder.root)]) == MEND_FIRST
    assert "sudo apt-get install bubblewrap" in said(capsys)
    assert not list(folder.results.iterdir())
    assert not folder.ledger.exists()


def test_a_broken_course_toml_is_named(course, capsys):
    (course.repository / "course.toml").write_text("[course\n")
    assert main(["--repository", str(course.repository), "build"]) == MEND_FIRST
    assert "course.toml cannot be read" in said(capsys)


def test_help_lists_the_commands():
    program = Path(sys.executable).parent / "autograder"
    run = subprocess.run([program, "--help"], capture_output=True, text=True, check=True)
    for command in ("build", "init", "grade", "demo", "validate"):
        assert command in run.stdout
