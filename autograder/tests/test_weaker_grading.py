"""`autograder grade` where namespaces are forbidden: refused, or graded at the level it then says.

Each container is like those of hosted machines (container.py); the command runs in it as typed, with
Dask's workers and all.
"""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from autograder.sandbox import UID, WEAKER
from autograder.terminal import DONE, MEND_FIRST
from container import python_words, run_in_container

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become other users")
SCRIPT = """
import json, os, subprocess, sys
from pathlib import Path
os.umask(0o077)
from autograder.init import init
from nbformat.v4 import new_code_cell
from toy_course import hand_in, make_toy_course, release, solved
course = make_toy_course(Path("/tmp/course"))
folder = init(Path("/tmp/class"), course)
hostile = release(course)
hostile.cells.append(new_code_cell('''
import os
print("user", os.getuid(), len(os.listdir("/lab") if os.path.isdir("/lab") else []))
for path in ("/tmp/class/secret", "/tmp/class/gradebook.db", "/tmp/course/solutions/01_toy.py"):
    try: print("READ", open(path, errors="replace").read())
    except OSError as error: print("kept out:", type(error).__name__)
'''))
for student, notebook in (("ada", solved(course)), ("bob", release(course)), ("eve", hostile)):
    hand_in(folder.root, student, notebook)
said = []
for more in json.loads(sys.argv[1]):
    words = [sys.executable, "-m", "autograder.cli", "grade", "01_toy", "--course", "/tmp/class"]
    run = subprocess.run([*words, *more], capture_output=True, text=True, cwd="/tmp/class")
    results = [json.loads(path.read_text()) for path in (folder.results).glob("*.json")]
    marks = folder.ledger.read_text().splitlines() if folder.ledger.exists() else []
    marks = [json.loads(line) for line in marks]
    said.append({
        "code": run.returncode, "out": run.stdout, "err": run.stderr,
        "recorded": sorted(result["record"]["isolation"] for result in results),
        "scores": sorted(sum(mark["new"].values()) for mark in marks),
        "ledger": folder.ledger.exists(),
        "pages": sorted(path.parents[1].name for path in folder.feedback.rglob("*.html")),
        "seen by eve": "".join(p.read_text() for p in (folder.autograded / "eve").rglob("*.ipynb")),
    })
secret = (folder.root / "secret").read_text().strip()
print(json.dumps({"runs": said, "secret": secret}))
"""
ALLOWED, ONE = ["--allow-weaker-sandbox"], ["--workers", "1"]


def graded(runs: list[list[str]], **kinds: Any) -> tuple[list[dict[str, Any]], str]:
    """What `autograder grade` did with each of these further arguments, one after the other."""
    done = run_in_container([*python_words(SCRIPT), json.dumps(runs)], **kinds)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    return found["runs"], found["secret"]


@pytest.fixture(scope="module")
def without_namespaces() -> tuple[list[dict[str, Any]], str]:
    """Not allowed, allowed, and not allowed again; in one container."""
    return graded([["--workers", "2"], [*ALLOWED, "--workers", "2"], []])


def refused(run: dict[str, Any]) -> str:
    """The one line that the refusal is."""
    assert run["code"] == MEND_FIRST, run
    assert "student" not in run["out"]
    lines = [line for line in run["err"].splitlines() if line.startswith("autograder: ")]
    assert len(lines) == 1, run["err"]
    assert "Traceback" not in run["err"]
    return lines[0]


def test_without_the_flag_one_line_says_what_is_missing_and_nothing_is_graded(without_namespaces):
    first = without_namespaces[0][0]
    assert "--allow-weaker-sandbox" in refused(first)
    assert (first["recorded"], first["pages"], first["ledger"]) == ([], [], False)


def test_with_the_flag_the_class_is_graded_as_another_user_and_every_result_says_so(
    without_namespaces,
):
    run = without_namespaces[0][1]
    assert run["code"] == DONE, run["out"] + run["err"]
    (line,) = [line for line in run["out"].splitlines() if line.startswith("Isolation: ")]
    assert line.startswith(f"Isolation: {UID} (without namespaces; ")
    assert run["recorded"] == [line.removeprefix("Isolation: ")] * (1 + 3)  # the solution, too
    assert run["scores"] == [0, 0, 5]
    assert run["pages"] == ["ada", "bob", "eve"]


def test_nobody_reads_the_class_or_the_solution_there(without_namespaces):
    runs, secret = without_namespaces
    seen = runs[1]["seen by eve"]
    assert seen.count("kept out: PermissionError") == 3
    assert "READ" not in seen.replace('print(\\"READ\\"', "")
    assert "user 0 " not in seen
    assert secret not in seen


def test_a_later_strict_run_takes_none_of_those_results(without_namespaces):
    last = without_namespaces[0][2]
    assert "--allow-weaker-sandbox" in refused(last)


def test_without_landlock_too_the_level_is_weaker_and_says_what_is_missing():
    ((run,), secret) = graded([[*ALLOWED, *ONE]], deny=("landlock_create_ruleset",))
    assert run["code"] == DONE, run["out"] + run["err"]
    (line,) = [line for line in run["out"].splitlines() if line.startswith("Isolation: ")]
    assert line.startswith(f"Isolation: {WEAKER} (without namespaces, own_files; ")
    assert run["recorded"] == [line.removeprefix("Isolation: ")] * (1 + 3)  # the solution, too
    assert run["scores"] == [0, 0, 5]
    assert secret not in run["seen by eve"]  # the folders' modes alone keep it


def test_where_not_even_users_can_be_changed_the_flag_grades_nothing():
    from container import CAPABILITIES

    fewer = tuple(name for name in CAPABILITIES if name != "SETUID")
    ((run,), _) = graded([[*ALLOWED, *ONE]], capabilities=fewer)
    assert "Students' code cannot be kept apart here" in refused(run)
    assert (run["recorded"], run["pages"], run["ledger"]) == ([], [], False)
