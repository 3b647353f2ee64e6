"""Seconds a submission: stock `nbgrader autograde` against `autograder grade`, in one run.

    python -m benchmarks.grading [--quick] [--copies N]

Good submissions of the example class, copied (each with a comment of its own, so that no result is
taken from the store), go through both graders as whole processes: start, run, test, record, and for
ours the feedback pages too. Both run the same cells; stock nbgrader has the hidden tests pasted into
its score cells. The last line is one JSON object:

    stock_s_per_submission, ours_s_per_submission   wall seconds, whole process over submissions
    ratio                                           stock over ours
    student_compute_s                               CPU seconds of the students' own code, each
    overhead_ratio                                  the ratio after that is taken off both
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import fmean

import nbformat
from autograder.build import read_source
from autograder.course import CourseFolder, load_course
from autograder.init import init
from autograder.results import Result
from nbformat import NotebookNode
from nbgrader.api import Gradebook

from benchmarks.stock_nbgrader import stock_notebook, stock_submission, write

ASSIGNMENT = "01_mean_diff"
GOOD = ("amara_okafor", "bjorn_lindqvist")
PROGRAMS = Path(sys.executable).parent
STOCK_CONFIG = """\
c = get_config()
c.CourseDirectory.course_id = "stock"
c.Execute.timeout = 300
c.ClearSolutions.text_stub = "*Your answer here.*"
"""


def copies(count: int) -> dict[str, NotebookNode]:
    """`count` submissions that get full marks, no two of them the same bytes."""
    folder = load_course().repository / "autograder" / "example_class" / "submitted"
    found = {}
    for index in range(count):
        student = GOOD[index % len(GOOD)]
        path = folder / student / ASSIGNMENT / f"{ASSIGNMENT}.ipynb"
        notebook = nbformat.read(path, as_version=4)
        notebook.cells.append(nbformat.v4.new_code_cell(f"# copy {index}"))
        found[f"copy-{index:03}"] = notebook
    return found


def timed(command: list[str | Path], folder: Path) -> float:
    """Wall seconds of a whole process; its output is shown only when it fails."""
    environment = {**os.environ, "PATH": f"{PROGRAMS}{os.pathsep}{os.environ.get('PATH', '')}"}
    started = time.perf_counter()
    run = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - started
    if run.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{run.stderr[-3000:]}")
    return seconds


def scores(gradebook: Path) -> set[float]:
    """The different automatic scores in a gradebook."""
    with Gradebook(f"sqlite:///{gradebook}") as book:
        return {float(s.score) for s in book.assignment_submissions(ASSIGNMENT)}


def stock(root: Path, class_: dict[str, NotebookNode]) -> float:
    """Seconds that stock nbgrader takes for the class."""
    course = load_course()
    assignment = course.assignment(ASSIGNMENT)
    root.mkdir()
    (root / "nbgrader_config.py").write_text(STOCK_CONFIG)
    source = stock_notebook(read_source(course, assignment), course, assignment)
    write(source, root / "source" / ASSIGNMENT / f"{ASSIGNMENT}.ipynb")
    timed([PROGRAMS / "nbgrader", "generate_assignment", ASSIGNMENT], root)
    release = nbformat.read(root / "release" / ASSIGNMENT / f"{ASSIGNMENT}.ipynb", as_version=4)
    for student, notebook in class_.items():
        path = root / "submitted" / student / ASSIGNMENT / f"{ASSIGNMENT}.ipynb"
        write(stock_submission(release, notebook), path)
    seconds = timed([PROGRAMS / "nbgrader", "autograde", ASSIGNMENT], root)
    check_full(root / "gradebook.db", assignment.automatic_points, "stock nbgrader")
    return seconds


def ours(root: Path, class_: dict[str, NotebookNode]) -> tuple[float, float]:
    """Seconds that `autograder grade` takes for the class, and the students' compute, each."""
    course = load_course()
    folder = init(root, course)
    for student, notebook in class_.items():
        write(notebook, folder.submitted / student / ASSIGNMENT / f"{ASSIGNMENT}.ipynb")
    seconds = timed([PROGRAMS / "autograder", "grade", ASSIGNMENT, "--course", root], root)
    check_full(folder.gradebook, course.assignment(ASSIGNMENT).automatic_points, "autograder")
    return seconds, student_compute(folder)


def check_full(gradebook: Path, points: float, who: str) -> None:
    """A comparison counts only where both graders give every copy full marks."""
    if (found := scores(gradebook)) != {points}:
        raise SystemExit(f"{who} gave the good submissions {sorted(found)}, not {points}")


def student_compute(folder: CourseFolder) -> float:
    """Mean CPU seconds of the students' own code, from the stored results."""
    results = [Result.from_json(p.read_text("utf-8")) for p in folder.results.glob("*.json")]
    return fmean(result.compute_seconds for result in results)


def main() -> None:
    """Run both graders and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="12 copies instead of 48")
    parser.add_argument("--copies", type=int, help="how many submissions")
    options = parser.parse_args()
    count = options.copies or (12 if options.quick else 48)
    class_ = copies(count)
    with tempfile.TemporaryDirectory(prefix="steerlab-bench-") as scratch:
        ours_seconds, compute = ours(Path(scratch) / "ours", class_)
        print(f"autograder grade: {count} submissions in {ours_seconds:.1f} s", flush=True)
        stock_seconds = stock(Path(scratch) / "stock", class_)
        print(f"nbgrader autograde: {count} submissions in {stock_seconds:.1f} s", flush=True)
    each_stock, each_ours = stock_seconds / count, ours_seconds / count
    figures = {
        "submissions": count,
        "stock_s_per_submission": round(each_stock, 3),
        "ours_s_per_submission": round(each_ours, 3),
        "ratio": round(each_stock / each_ours, 2),
        "student_compute_s": round(compute, 3),
        "overhead_ratio": round((each_stock - compute) / (each_ours - compute), 2),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
