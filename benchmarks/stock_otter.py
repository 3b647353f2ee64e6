"""The same assignment as otter-grader would grade it, in an environment of its own.

`otter run` grades one submission without a container: it executes the notebook in a cold kernel, in
which the tests run too. Its environment sees this one's packages, so both import the same torch.
"""

from __future__ import annotations

import copy
import inspect
import json
import os
import subprocess
import sys
import sysconfig
import time
import venv
from pathlib import Path

import nbformat
import steerlab
from autograder.course import Assignment, Course
from nbformat import NotebookNode

import autograder
from autograder import cells
from benchmarks.stock_nbgrader import LocalHandle, LocalStudent, score_in_kernel

OTTER = "otter-grader==7.0.0"
TEST = """\
from otter.test_files import test_case

OK_FORMAT = False
name = {task!r}
points = {points!r}


@test_case(points=None, hidden=True)
def test_task(env):
    tests = {{"Any": object}}
    exec({source!r}, tests)
    student = tests["LocalStudent"](env, tests["StudentError"])
    assert tests["score_in_kernel"](tests, {task!r}, {points!r}, student) == {points!r}
"""


def install(folder: Path) -> Path:
    """Make an environment with otter-grader beside our packages; its program. Raises OSError."""
    venv.create(folder, with_pip=True)
    site = next(folder.glob("lib/python*/site-packages"))
    # Editable installations are .pth files, which are not followed from a .pth file.
    ours = [
        sysconfig.get_path("purelib"),
        *(str(Path(p.__path__[0]).parent) for p in (steerlab, autograder)),
    ]
    (site / "ours.pth").write_text("".join(f"{place}\n" for place in ours))
    command: list[str | Path] = [
        folder / "bin" / "python",
        "-m",
        "pip",
        "install",
        "--quiet",
        OTTER,
    ]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        last = made.stderr.strip().splitlines()[-1]
        raise OSError(f"otter-grader cannot be installed here: {last}")
    return folder / "bin" / "otter"


def autograder_zip(otter: Path, folder: Path, course: Course, assignment: Assignment) -> Path:
    """otter's autograder of the assignment: one test file a task, with the hidden tests in it."""
    tests = course.hidden_tests(assignment.id).read_text("utf-8")
    tests = tests.replace("from __future__ import annotations\n", "\n")
    parts = (LocalStudent, LocalHandle, score_in_kernel)
    helpers = "\n\n".join(inspect.getsource(thing) for thing in parts)
    place = folder / "tests"
    place.mkdir(parents=True)
    for task, points in assignment.tasks.items():
        text = TEST.format(task=task, points=points, source=helpers + tests)
        (place / f"{task}.py").write_text(text)
    (folder / "otter_config.json").write_text(
        json.dumps({"lang": "python", "print_summary": False})
    )
    command: list[str | Path] = [
        otter,
        "generate",
        "--tests-dir",
        place,
        "--output-path",
        folder / "grader.zip",
    ]
    command += ["--config", folder / "otter_config.json", "--no-environment", "--no-requirements"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, env=environment(otter))
    return folder / "grader.zip"


def otter_submission(notebook: NotebookNode) -> NotebookNode:
    """A submission without the cells that our grading leaves out."""
    plain = copy.deepcopy(notebook)
    plain.cells = [
        cell
        for cell in plain.cells
        if cells.role_of_release_cell(cell)[0] not in (cells.EXPLORE, cells.INSTALL, cells.SCORE)
    ]
    return plain


def grade(
    otter: Path, grader: Path, folder: Path, class_: dict[str, NotebookNode], full: float
) -> float:
    """Wall seconds for the class, one `otter run` after another; every copy must get `full`."""
    folder.mkdir()
    seconds = 0.0
    for student, notebook in class_.items():
        path = folder / f"{student}.ipynb"
        nbformat.write(otter_submission(notebook), path)
        command: list[str | Path] = [otter, "run", path, "--autograder", grader]
        command += ["--output-dir", folder, "--no-logo"]
        started = time.perf_counter()
        run = subprocess.run(
            command, cwd=folder, check=False, capture_output=True, env=environment(otter)
        )
        seconds += time.perf_counter() - started
        results = folder / "results.json"
        if run.returncode != 0 or not results.is_file():
            raise SystemExit(f"otter run failed:\n{run.stderr.decode()[-3000:]}")
        scored = sum(test.get("score", 0.0) for test in json.loads(results.read_text())["tests"])
        if abs(scored - full) > 1e-6:
            raise SystemExit(f"otter gave a good submission {scored}, not {full}")
        results.unlink()
    return seconds


def environment(otter: Path) -> dict[str, str]:
    """Ours, with otter's programs first."""
    return {**os.environ, "PATH": f"{otter.parent}{os.pathsep}{os.environ.get('PATH', '')}"}


if __name__ == "__main__":
    sys.exit("This is a part of benchmarks.grading.")
