"""`autograder new` makes an assignment that works from the first minute, or changes nothing."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import nbformat
import pytest
import torch
from autograder.cli import main
from autograder.course import CourseError, load_course
from autograder.leaks import Secrets
from autograder.new import new
from autograder.terminal import CHECK_FAILED, DONE, MEND_FIRST
from autograder.validation.bank import read_mistakes, read_survivors, survivors_file

from autograder import cells

REPOSITORY = Path(__file__).resolve().parents[2]
ID = "08_my_topic"
TASK = "coefficient_at_dose"


def scratch_repository(root: Path, *, whole: bool = False) -> Path:
    """A copy of the repository with no more than making an assignment needs; whole: than running it."""
    (root / "autograder").mkdir(parents=True)
    shutil.copyfile(REPOSITORY / "course.toml", root / "course.toml")
    shutil.copyfile(REPOSITORY / "pyproject.toml", root / "pyproject.toml")
    library = "lib/steerlab" if whole else "lib/steerlab/checks"
    leave = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / library, root / library, ignore=leave)
    for name in ("__init__.py", "handin.py"):
        shutil.copyfile(REPOSITORY / "lib/steerlab" / name, root / "lib/steerlab" / name)
    if whole:
        package = "autograder/autograder"
        shutil.copytree(REPOSITORY / package, root / package, ignore=leave)
        shutil.copyfile(REPOSITORY / "lib/pyproject.toml", root / "lib/pyproject.toml")
    return root


def everything(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else b""
        for path in root.rglob("*")
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A repository in which the command has made an assignment and `build` its release."""
    root = scratch_repository(tmp_path_factory.mktemp("new") / "course")
    here = ["--repository", str(root)]
    assert main([*here, "new", ID, "--title", 'Doses, "in short"']) == DONE
    assert main([*here, "build", "--no-run", ID]) == DONE
    return load_course(root)


@pytest.fixture
def untouched(tmp_path):
    return scratch_repository(tmp_path / "course")


def test_the_course_has_the_assignment_and_every_line_it_had_before(made):
    before = (REPOSITORY / "course.toml").read_text("utf-8")
    after = (made.repository / "course.toml").read_text("utf-8")
    assert after.startswith(before)
    assignment = made.assignment(ID)
    assert assignment.title == 'Doses, "in short"'
    assert (assignment.automatic_points, assignment.total_points) == (15, 20)


def test_the_release_has_every_kind_of_cell_and_keeps_the_secrets(made):
    release = nbformat.read(made.release_notebook(ID), as_version=4)
    roles = {cells.role_of_release_cell(cell) for cell in release.cells}
    assert {(cells.ANSWER, TASK), (cells.SCORE, TASK), (cells.WRITTEN, "written")} <= roles
    assert {(cells.INSTALL, None), (cells.EXPLORE, None)} <= roles
    assert any("predict" in cells.tags(cell) for cell in release.cells)
    text = nbformat.writes(release)
    assert "<details>" in text
    assert "check_coefficient_at_dose(coefficient_at_dose)" in text
    assert "canary" not in text
    assert "Rubric" not in text
    assert f'raise NotImplementedError(\\"{ID}/{TASK}: your code here\\")' in text


def test_every_secret_carries_a_canary_of_its_own_course(made, untouched):
    secrets = Secrets.of(made, made.assignment(ID))
    (canary,) = secrets.canaries
    bank = (made.repository / "autograder" / "mistakes" / ID).glob("*")
    assert all(canary in path.read_text("utf-8") for path in bank)
    new(load_course(untouched), ID)
    assert canary not in (untouched / "solutions" / f"{ID}.py").read_text("utf-8")


def test_the_mistake_bank_has_wrong_and_unusual_right_answers(made):
    mistakes = read_mistakes(made, made.assignment(ID))
    assert sum(mistake.loses for mistake in mistakes) >= 2
    assert sum(not mistake.loses for mistake in mistakes) >= 1
    assert read_survivors(survivors_file(made, made.assignment(ID)))


def test_steerlab_check_knows_the_tasks(made):
    tree = ast.parse((made.repository / "lib/steerlab/handin.py").read_text("utf-8"))
    table = next(node for node in tree.body if isinstance(node, ast.AnnAssign))
    tasks = ast.literal_eval(table.value)
    raw = tomllib.loads((made.repository / "course.toml").read_text("utf-8"))["assignments"]
    assert list(tasks) == list(raw)
    assert tasks[ID] == (*raw[ID]["tasks"], *raw[ID]["written"])


def test_the_made_files_keep_the_house_style(made):
    places = ["solutions", "lib", f"autograder/hidden_tests/test_{ID}.py", "autograder/mistakes"]
    for words in (["check"], ["format", "--check"]):
        ruff = [sys.executable, "-m", "ruff", *words, "--no-cache", *places]
        run = subprocess.run(ruff, cwd=made.repository, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stdout + run.stderr


def namespace_of(path: Path) -> dict:
    found: dict = {"__name__": "of_the_skeleton"}
    exec(compile(path.read_text("utf-8"), str(path), "exec"), found)
    return found


def test_the_visible_check_finds_each_wrong_answer_wrong_and_each_right_one_right(made):
    check = namespace_of(made.repository / "lib/steerlab/checks/my_topic.py")[f"check_{TASK}"]
    for mistake in read_mistakes(made, made.assignment(ID)):
        function = namespace_of(mistake.path)[TASK]
        if mistake.loses:
            with pytest.raises(AssertionError, match=TASK):
                check(function)
        else:
            check(function)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnknownMarkWarning")  # the mark of `task`
def test_each_wrong_answer_fails_a_hidden_test_and_no_right_one_does(made, monkeypatch):
    class Refused(Exception):
        type_name = "ValueError"

    hidden = namespace_of(made.hidden_tests(ID)) | {"StudentError": Refused}
    tests = [value for name, value in hidden.items() if name.startswith("test_")]
    for test in tests:
        monkeypatch.setitem(test.__globals__, "StudentError", Refused)

    def failed_by(function) -> int:
        class Student:
            @staticmethod
            def coefficient_at_dose(*arguments):
                try:
                    return function(*(getattr(a, "clone", lambda a=a: a)() for a in arguments))
                except ValueError as error:
                    raise Refused from error

        failures = 0
        for test in tests:
            try:
                test(Student, torch.Generator().manual_seed(7))
            except AssertionError:
                failures += 1
        return failures

    for mistake in read_mistakes(made, made.assignment(ID)):
        assert bool(failed_by(namespace_of(mistake.path)[TASK])) == mistake.loses, mistake.label


def test_the_leak_that_the_author_guide_shows_is_found(made, tmp_path, capsys):
    root = tmp_path / "course"
    shutil.copytree(made.repository, root)
    source = root / "solutions" / f"{ID}.py"
    hint = "would cancel in a mean"
    text = source.read_text("utf-8")
    assert text.count(hint) == 1
    source.write_text(
        text.replace(hint, f"{hint}: so take `dose * typical_length / vector.norm()`")
    )
    before = everything(root)
    assert main(["--repository", str(root), "build", "--no-run", ID]) == CHECK_FAILED
    guide = (REPOSITORY / "docs" / "author-guide.md").read_text("utf-8")
    assert f"```\n{capsys.readouterr().err}```" in guide
    assert everything(root) == before


@pytest.mark.parametrize(
    "bad",
    ["8_topic", "08-topic", "08_Topic", "08_", "08_a__b", "../08_a", "08_class", "08_" + "a" * 60],
)
def test_an_id_that_is_none_is_refused(untouched, bad, capsys):
    before = everything(untouched)
    assert main(["--repository", str(untouched), "new", bad]) == MEND_FIRST
    assert "as in 08_my_topic" in capsys.readouterr().err
    assert everything(untouched) == before


@pytest.mark.parametrize(
    ("taken", "words"), [("01_mean_diff", "already"), ("01_other", "take another, such as 08")]
)
def test_an_id_or_number_that_is_taken_is_refused(untouched, taken, words, capsys):
    before = everything(untouched)
    assert main(["--repository", str(untouched), "new", taken]) == MEND_FIRST
    assert words in capsys.readouterr().err
    assert everything(untouched) == before


@pytest.mark.parametrize(
    "left",
    [
        f"solutions/{ID}.py",
        f"assignments/{ID}/{ID}.ipynb",
        f"autograder/hidden_tests/test_{ID}.py",
        f"autograder/mistakes/{ID}/mine.py",
        "lib/steerlab/checks/my_topic.py",
    ],
)
def test_a_file_that_was_left_over_is_named_and_kept(untouched, left):
    path = untouched / left
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("somebody's work")
    before = everything(untouched)
    with pytest.raises(CourseError, match="is there already, although"):
        new(load_course(untouched), ID)
    assert everything(untouched) == before


def test_tasks_that_were_left_over_are_named(untouched):
    handin = untouched / "lib/steerlab/handin.py"
    text = handin.read_text("utf-8")
    handin.write_text(
        text.replace('    "01_mean_diff": (', f'    "{ID}": (),\n    "01_mean_diff": (', 1)
    )
    before = everything(untouched)
    with pytest.raises(CourseError, match=r"TASKS in .* has 08_my_topic already"):
        new(load_course(untouched), ID)
    assert everything(untouched) == before


@pytest.mark.parametrize("stroke", range(1, 13))
def test_whatever_stops_it_half_way_leaves_nothing_behind(untouched, monkeypatch, stroke):
    before = everything(untouched)
    strokes = 0

    def counted(real):
        def stumbling(*words, **more):
            nonlocal strokes
            strokes += 1
            if strokes == stroke:
                raise KeyboardInterrupt if stroke % 2 else OSError(28, "No space left on device")
            return real(*words, **more)

        return stumbling

    monkeypatch.setattr(Path, "write_text", counted(Path.write_text))
    monkeypatch.setattr(os, "replace", counted(os.replace))
    with pytest.raises((KeyboardInterrupt, CourseError)) as stopped:
        new(load_course(untouched), ID)
    if stopped.type is CourseError:
        assert "No space left on device" in str(stopped.value)
        assert "nothing was changed" in str(stopped.value)
    assert everything(untouched) == before


def test_a_title_of_two_lines_is_refused(untouched):
    with pytest.raises(CourseError, match="one line of text"):
        new(load_course(untouched), ID, "One\nTwo")


def run_in(root: Path, *words: str) -> str:
    """What `autograder WORDS` prints with the copy's own packages; it must succeed."""
    paths = [str(root / "lib"), str(root / "autograder")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "100"}
    run = subprocess.run(
        [sys.executable, "-m", "autograder.cli", *words],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@pytest.mark.check
def test_right_after_it_the_assignment_is_built_valid_and_gradable(tmp_path):
    root = scratch_repository(tmp_path / "course", whole=True)
    run_in(root, "new", ID)
    assert f"solutions/{ID}/{ID}.ipynb" in run_in(root, "build", ID)
    solution = nbformat.read(root / "solutions" / ID / f"{ID}.ipynb", as_version=4)
    shown = [output for cell in solution.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in shown)
    every_mutant = ["--seeds", "5", "--wrong-seeds", "2"]
    assert "08_my_topic: valid" in run_in(root, "validate", ID, *every_mutant)
    folder = tmp_path / "class"
    run_in(root, "init", str(folder))
    for student, place in (("ada", "solutions"), ("bob", "assignments")):
        handed_in = folder / "submitted" / student / ID
        handed_in.mkdir(parents=True)
        shutil.copy(root / place / ID / f"{ID}.ipynb", handed_in)
    table = run_in(root, "grade", ID, "--course", str(folder))
    assert "15/15" in table
    assert "0/15" in table
