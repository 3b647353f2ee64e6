"""Every command that a document shows is run, in its document's order, and prints what is shown.

`shown_commands.TABLE` says which test runs which. Those that take long run under `make check`.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import urllib.request
import zipfile
from pathlib import Path

import nbformat
import pytest
from autograder.build import build
from autograder.cli import main
from autograder.course import load_course
from autograder.publish import stage_files
from autograder.terminal import DONE
from shown_commands import (
    AUTHOR,
    CLASS,
    CLONE,
    DOCUMENTS,
    GUIDE,
    INSTALL,
    MAKE,
    PIPELINE,
    REPOSITORY,
    TABLE,
    all_documents,
    blocks,
    rows_of,
    shown_commands,
)
from toy_course import COURSE_TOML, HIDDEN_TESTS, SOURCE

PROGRAMS = Path(sys.executable).parent
EXAMPLE = REPOSITORY / "autograder" / "example_class" / "submitted"
FIRST = "01_mean_diff"
#: Commands whose shown output is of another state than the one that the commands before leave.
OTHER_STATE = {
    "autograder grade 01_mean_diff --course ~/spring --regrade": "after a hidden test was changed",
}

# ---------------------------------------------------------------------------- the table itself


def test_the_table_has_a_row_for_each_command_shown_and_no_other():
    shown = {(one.document, one.command) for d in all_documents() for one in shown_commands(d)}
    rows = {(document, command) for document, command, _ in TABLE}
    assert sorted(shown - rows) == [], "give each a row in shown_commands.TABLE, with its test"
    assert sorted(rows - shown) == [], "no document shows these any more"


@pytest.mark.parametrize("test", sorted({test for _, _, test in TABLE}))
def test_what_the_table_names_is_a_test(test):
    path, name = test.split("::")
    tree = ast.parse((REPOSITORY / path).read_text("utf-8"))
    assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_every_folder_of_documents_is_looked_at():
    assert {"README.md", "CONTRIBUTING.md", "docs/student-guide.md"} <= set(all_documents())
    assert len(all_documents()) >= len(DOCUMENTS) + 2


# ------------------------------------------------------------------------------ at a terminal


class Terminal:
    """Somebody's terminal: a home of their own, a current folder, and the packages of a repository."""

    def __init__(self, home: Path, here: Path, packages: Path = REPOSITORY, columns: int = 100):
        self.home, self.here = home, here
        home.mkdir(parents=True, exist_ok=True)
        self.environment = os.environ | {
            "HOME": str(home),
            "PATH": f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join(str(packages / name) for name in ("lib", "autograder")),
            "COLUMNS": str(columns),
        }

    def type(self, command: str, *more: str) -> str:
        """What a command prints on its standard output; it must succeed."""
        run = subprocess.run(
            ["bash", "-c", " ".join([command, *more])],
            cwd=self.here,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, (
            f"{command}: exit code {run.returncode}\n{run.stdout}{run.stderr}"
        )
        return run.stdout.replace(str(self.home), "/home/you")


def settled(text: str) -> list[str]:
    """The lines of a text without what differs from run to run: times, widths, sizes, counts of files."""
    measured = r"\d{4}-\d\d-\d\dT[\d:.+]+|(?<=\()\d+ s(?=\))|\d+\.\d (?=MB)|^\d+ (?=files in )"
    text = re.sub(measured, "#", text, flags=re.M)
    text = re.sub(r"━+", "━", text)
    lines = (re.sub(r" +", " ", line).strip() for line in text.splitlines())
    return [line for line in lines if line]


def shows(shown: str, printed: str) -> bool:
    """Whether a document shows what was printed: all of it, save where it has a line `…`."""
    whole = r"\n".join(
        r"(?:.*\n)*?.*" if line == "…" else re.escape(line) for line in settled(shown)
    )
    return re.fullmatch(whole, "\n".join(settled(printed))) is not None


def type_all(terminal: Terminal, test: str, document: str) -> None:
    """Type the commands that the table gives to a test, and compare what the document shows of them."""
    for shown in rows_of(test, document):
        printed = terminal.type(shown.command)
        if shown.output and shown.command not in OTHER_STATE:
            assert shows(shown.output, printed), f"{shown.command} prints:\n{printed}"


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("a ┃ b\n━━━╇━━\n…\nz", "a  ┃ b\n━━━━╇━━\nc\nd\nz\n", True),
        ("valid (12 s)", "valid (7 s)", True),
        ("valid (12 s)", "NOT valid (12 s)", False),
        ("a\nz", "a\nb\nz", False),
        ("a\n…", "a\nb\nc", True),
        ("15 points", "14 points", False),
    ],
)
def test_what_is_shown_is_compared_line_by_line(shown, printed, same):
    assert shows(shown, printed) is same


# --------------------------------------------------------------------------------- instructors


def renamed(text: str) -> str:
    return text.replace("01_toy", FIRST)


@pytest.fixture(scope="module")
def small_course(tmp_path_factory):
    """A course whose first assignment has the real one's name and the toy course's size."""
    root = tmp_path_factory.mktemp("documents") / "course"
    (root / "solutions").mkdir(parents=True)
    (root / "autograder" / "hidden_tests").mkdir(parents=True)
    linked = ("lib", "autograder/autograder", "autograder/pyproject.toml", "constraints.txt")
    for name in linked:  # the last three go into Gradescope's package
        (root / name).symlink_to(REPOSITORY / name)
    (root / "course.toml").write_text(renamed(COURSE_TOML))
    (root / "solutions" / f"{FIRST}.py").write_text(renamed(SOURCE))
    (root / "autograder" / "hidden_tests" / f"test_{FIRST}.py").write_text(renamed(HIDDEN_TESTS))
    course = load_course(root)
    build(course, course.assignment(FIRST), run=False)
    return course


def canvas_download(path: Path, notebooks: dict[str, bytes], numbers: dict[str, int]) -> None:
    """A zip with Canvas's names for these students' notebooks."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for student, content in notebooks.items():
            first, last = student.split("_")
            n = numbers[student]
            archive.writestr(f"{last}{first}_{n}_{4000 + n}_{FIRST}.ipynb", content)


def roster_of(numbers: dict[str, int], extensions: dict[str, int] | None = None) -> str:
    lines = ["id,name,email,lms_id,section,group,extension_hours"]
    for student, n in numbers.items():
        hours = (extensions or {}).get(student, "")
        lines.append(f"{student},{full_name(student)},{student}@uni.example,{n},A,,{hours}")
    return "\n".join(lines) + "\n"


def full_name(student: str) -> str:
    return student.replace("_", " ").title()


def canvas_gradebook(numbers: dict[str, int], points: int) -> str:
    """The file that Canvas exports, with a column of the first assignment."""
    lines = [
        f"Student,ID,SIS Login ID,Section,{FIRST} (66)",
        f"    Points Possible,,,,{points}",
        *(
            f'"{", ".join(reversed(full_name(student).split()))}",{n},{student},A,'
            for student, n in numbers.items()
        ),
    ]
    return "\n".join(lines) + "\n"


def test_the_commands_about_a_class_run_in_the_order_of_the_readme(
    small_course, tmp_path, monkeypatch, capsys
):
    numbers = {"amara_okafor": 1001, "farid_haddad": 1006}
    right = nbformat.read(small_course.release_notebook(FIRST), as_version=4)
    for cell in right.cells:
        if cell.source.startswith(f"# graded: {FIRST}/double"):
            cell.source = f"# graded: {FIRST}/double\ndef double(x):\n    return 2 * x"
    untouched = small_course.release_notebook(FIRST).read_bytes()
    here, home = small_course.repository, tmp_path / "home"
    notebooks = {"amara_okafor": nbformat.writes(right).encode(), "farid_haddad": untouched}
    canvas_download(here / "submissions.zip", notebooks, numbers)
    (here / "grades.csv").write_text(canvas_gradebook(numbers, points=6))
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: "amara_okafor")
    said = {}
    for shown in rows_of(CLASS, "README.md"):
        program, *words = (os.path.expanduser(word) for word in shlex.split(shown.command))
        assert program == "autograder"
        assert main(words) == DONE, capsys.readouterr().err
        said[" ".join(words[:1] + [w for w in words if w == "--regrade"])] = capsys.readouterr().out
        if words[0] == "init":
            (home / "spring" / "roster.csv").write_text(roster_of(numbers))
    assert "2 handed in" in said["collect"]
    assert re.search(r"amara_okafor *│ *2/5", said["grade"])
    assert "the same in every task" in said["explain"]
    assert "None of 2 marks would change" in said["grade --regrade"]
    assert "Final scores: " in said["export"]
    assert "holds the hidden tests of 01_mean_diff" in said["gradescope-package"]
    assert "found nothing more" in said["forget"]
    assert not (home / "spring" / "submitted" / "amara_okafor").exists()


def whole_copy(root: Path, *assignments: str) -> Path:
    """A copy of the repository with these assignments, in which a course can be built and graded."""
    leave = shutil.ignore_patterns("__pycache__", "tests", "example_class", ".*")
    names = (
        "lib",
        "autograder/autograder",
        "autograder/hidden_tests",
        "autograder/mistakes",
        "docs",
    )
    for name in names:
        shutil.copytree(REPOSITORY / name, root / name, ignore=leave)
    files = ["LICENSE", "constraints.txt", "environment.yml", "autograder/pyproject.toml"]
    for one in assignments:
        files += [f"assignments/{one}/{one}.ipynb", f"solutions/{one}.py"]
    for name in (*files, "course.toml", "autograder/README.md"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(REPOSITORY / name, root / name)
    return root


RULES = """\
due = 2027-02-01T23:59:00+01:00
grace_minutes = 15
late_penalty_per_day = 0.1
late_max = 0.5
"""


@pytest.mark.check
def test_the_instructor_guide_prints_what_it_shows(tmp_path):
    root = whole_copy(tmp_path / "course", FIRST)
    toml = root / "course.toml"
    title = 'title = "Mean-difference steering"\n'
    toml.write_text(toml.read_text("utf-8").replace(title, title + RULES), "utf-8")
    students = sorted(path.parent.name for path in EXAMPLE.glob(f"*/{FIRST}"))
    numbers = {student: 1001 + i for i, student in enumerate([*students, "quinn_doyle"])}
    terminal = Terminal(tmp_path / "home", root, root, columns=108)
    downloads = terminal.home / "Downloads"
    notebooks = {s: next((EXAMPLE / s / FIRST).glob("*")).read_bytes() for s in students}
    canvas_download(downloads / "submissions.zip", notebooks, numbers)
    with zipfile.ZipFile(downloads / "submissions.zip", "a") as archive:
        archive.writestr("rossvera_1044_5990_notes.txt", "not a notebook")
    times = dict.fromkeys(students, "2027-02-01T18:30:00Z") | {
        "bjorn_lindqvist": "2027-02-02T20:00:00Z",
        "chiara_ricci": "2027-02-01T23:05:00Z",
        "daniel_mensah": "2027-02-03T08:00:00Z",
    }
    listed = [
        {
            "user_id": numbers[student],
            "submitted_at": when,
            "attachments": [{"id": 4000 + numbers[student]}],
        }
        for student, when in times.items()
    ]
    (downloads / "submissions.json").write_text(json.dumps(listed))
    (downloads / "grades.csv").write_text(canvas_gradebook(numbers, points=20))
    first, *rest = rows_of(GUIDE, "docs/instructor-guide.md")
    terminal.type(first.command)
    roster = terminal.home / "spring" / "roster.csv"
    roster.write_text(roster_of(numbers, {"bjorn_lindqvist": 48}))
    assert rest
    for shown in rest:
        printed = terminal.type(shown.command)
        if shown.output and shown.command not in OTHER_STATE:
            assert shows(shown.output, printed), f"{shown.command} prints:\n{printed}"


# ------------------------------------------------------------------------------------- authors


@pytest.mark.check
def test_the_author_guide_prints_what_it_shows(tmp_path):
    root = whole_copy(tmp_path / "course", FIRST)
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    terminal = Terminal(tmp_path / "home", root, root, columns=120)
    type_all(terminal, AUTHOR, "docs/author-guide.md")


# ------------------------------------------------------------------------------------ students


def a_students_clone(home: Path, folder: Path) -> Terminal:
    """The terminal of a student after the guide's first two commands."""
    copy, course = home / "on-github", load_course(REPOSITORY)
    stage_files(course, [course.assignment(FIRST)], copy)  # what `publish` writes, unless it leaks
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@uni.example", "-C", str(copy)]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "v0.1.0"]):
        subprocess.run([*git, *words], check=True)
    folder.mkdir()
    terminal = Terminal(home, folder)
    terminal.environment |= {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{copy.as_uri()}.insteadOf",
    }
    clone, enter = rows_of(CLONE, "docs/student-guide.md")[:2]
    terminal.environment["GIT_CONFIG_VALUE_0"] = clone.command.split()[-1]
    terminal.type(clone.command)
    terminal.here = folder / enter.command.removeprefix("cd ")
    return terminal


def test_a_student_gets_the_course_and_checks_a_notebook(tmp_path):
    terminal = a_students_clone(tmp_path / "home", tmp_path / "work")
    (check,) = rows_of(CLONE, "docs/student-guide.md")[2:]
    terminal.here = terminal.here / "assignments" / FIRST
    said = terminal.type(check.command)
    assert "sentence_residuals is not answered yet" in said
    assert "nothing stands in the way of grading" in said


@pytest.mark.check
def test_a_student_installs_the_course_and_opens_it(tmp_path):
    """Into an environment that sees this one's packages, so that nothing is downloaded."""
    terminal = a_students_clone(tmp_path / "home", tmp_path / "work")
    make, install, open_it, with_page = (
        one.command for one in rows_of(INSTALL, "docs/student-guide.md")
    )
    terminal.type(make)
    terminal.environment["PATH"] = (
        f"{terminal.here / '.venv' / 'bin'}:{terminal.environment['PATH']}"
    )
    del terminal.environment["PYTHONPATH"]
    (site,) = (terminal.here / ".venv" / "lib").glob("python3*/site-packages")
    here_installed = next(path for path in sys.path if path.endswith("site-packages"))
    (site / "seen.pth").write_text(here_installed + "\n")
    terminal.environment |= {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0"}
    # Without an index pip cannot fetch what builds a package: it builds with what is seen here.
    terminal.type("pip uninstall --yes setuptools")
    terminal.type(install)
    terminal.type(with_page)
    where = terminal.type("python -c 'import steerlab; print(steerlab.__file__)'").strip()
    assert where.startswith(str(site.resolve())) or ".venv" in where
    lab = subprocess.Popen(
        shlex.split(f"{open_it} --no-browser --ServerApp.port=0 --allow-root"),
        cwd=terminal.here,
        env=terminal.environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert lab.stderr is not None
        found = (
            re.search(r"http://(?:localhost|127\.0\.0\.1):\d+/\S*", line) for line in lab.stderr
        )
        address = next(match[0] for match in found if match)
        for _ in range(50):
            try:
                with urllib.request.urlopen(address) as page:
                    assert page.status == 200
                break
            except OSError:
                time.sleep(0.2)
    finally:
        lab.terminate()
        lab.wait()


# ----------------------------------------------------------------------------------- explorers

#: What is added to a step, so that it takes seconds: the same command on fewer tokens and features.
SMALLER = {
    "collect": ["--tokens", "60000"],
    "train": ["--d-sae", "512", "--k", "8", "--steps", "300", "--batch-size", "1024", "--quiet"],
    "find": ["--tokens", "40000", "--limit", "20"],
    "steer": [],
    "evaluate": [
        *("--limit", "2", "--controls", "2", "--first-controls", "1", "--text-controls", "0"),
        *("--alphas=-0.5,0.5", "--max-new-tokens", "6"),
    ],
}


@pytest.mark.check
def test_the_steps_from_texts_to_a_steered_model_run_in_their_order(tmp_path):
    terminal = Terminal(tmp_path / "home", tmp_path)
    rows = rows_of(PIPELINE, "README.md")
    again = [shown.command for shown in rows_of(PIPELINE, "docs/pipeline.md")]
    assert again == [shown.command for shown in rows][: len(again)]
    said = {}
    for shown in rows:
        step = shown.command.split()[1]
        said[step] = terminal.type(shown.command, *SMALLER[step])
    assert list(said) == ["collect", "train", "find", "steer", "evaluate"]
    labels = json.loads((tmp_path / "sae" / "features" / "labels.json").read_text("utf-8"))
    assert "ocean" in json.dumps(labels)
    assert "(topic: ocean)" in said["steer"]
    assert "dose 0.40" in said["steer"]
    assert (tmp_path / "sweep" / "summary.csv").is_file()


# ------------------------------------------------------------------------------------ all of it


@pytest.mark.check
def test_make():
    """`make demo` whole; of `make test` and `make check`, which run this, what they would begin."""
    if not (REPOSITORY / ".venv" / ".installed").is_file():
        pytest.skip("there is no .venv that `make` has made")

    def make(*words: str, **more: str) -> str:
        run = subprocess.run(
            ["make", *words],
            cwd=REPOSITORY,
            env=os.environ | more,
            capture_output=True,
            text=True,
            check=False,
        )
        assert run.returncode == 0, run.stdout + run.stderr
        return run.stdout

    documents = ("README.md", "docs/instructor-guide.md")
    shown = {one.command for document in documents for one in rows_of(MAKE, document)}
    assert {"make demo", "make test", "make check"} <= shown
    said = make("demo")
    assert "The example class, graded in " in said
    assert re.search(r"amara_okafor *│ *15/15", said)
    assert "tests collected" in make("test", PYTEST_ADDOPTS="--collect-only -q")
    steps = make("--dry-run", "check")
    assert "-m pytest -m check" in steps
    assert "autograder validate --all --quick" in steps


def test_a_block_of_commands_is_told_from_what_they_print():
    found = blocks(
        "```\nautograder init x   # here\n```\n```\nautograder: no\n```\n```python\nx\n```\n"
    )
    assert [mark for mark, _ in found] == ["", "", "python"]
