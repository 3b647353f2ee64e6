"""`autograder grade` against stock `nbgrader autograde` and `otter run`, in one run.

    python -m benchmarks.grading [--quick] [--copies N]

Good submissions of the example class, copied (each with a comment of its own, so that no result is
taken from the store), go through the graders as whole processes: start, run, test, record, and for
ours the feedback pages too. All run the same cells; the others have the hidden tests pasted in. The
last line is one JSON object:

    stock_s_per_submission, ours_s_per_submission   wall seconds, whole process over submissions,
                                                    ours with one worker, the mean of a run before
                                                    stock nbgrader's and one after it
    ratio                                           stock over ours
    student_compute_s                               CPU seconds of the students' own code, each
    overhead_ratio                                  the ratio after that is taken off both
    parallel_gain                                   submissions a second once the workers run, two
                                                    workers over one
    otter_ratio                                     `otter run` (without containers) over ours
    pss_mb_per_submission                           memory of one more submission at once
    throughput_last_over_first                      of a long batch, its last third over its first, on
                                                    a machine that stays as fast as it was; whether
                                                    this one did is machine_speed_last_over_first
    rss_growth_mb, descriptor_growth                of the grader's processes in that batch's last
                                                    two thirds
    leftover_processes                              that outlive it
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
from autograder.ledger import Ledger
from autograder.results import Store
from nbformat import NotebookNode
from nbgrader.api import Gradebook

from benchmarks import stock_otter
from benchmarks.grading_load import (
    Watch,
    last_over_first,
    megabytes_of_one_more,
    throughput,
)
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


def ours(root: Path, class_: dict[str, NotebookNode], workers: int) -> tuple[float, CourseFolder]:
    """Seconds that `autograder grade` takes for the class, and the course folder."""
    course = load_course()
    folder = init(root, course)
    for student, notebook in class_.items():
        write(notebook, folder.submitted / student / ASSIGNMENT / f"{ASSIGNMENT}.ipynb")
    command: list[str | Path] = [PROGRAMS / "autograder", "grade", ASSIGNMENT, "--course", root]
    seconds = timed([*command, "--workers", str(workers)], root)
    check_full(folder.gradebook, course.assignment(ASSIGNMENT).automatic_points, "autograder")
    return seconds, folder


def otter(root: Path, class_: dict[str, NotebookNode]) -> float | None:
    """Seconds that `otter run` takes for the class, or None where it cannot be installed."""
    course = load_course()
    assignment = course.assignment(ASSIGNMENT)
    root.mkdir()
    try:
        program = stock_otter.install(root / "environment")
    except OSError as error:
        print(error, flush=True)
        return None
    grader = stock_otter.autograder_zip(program, root / "make", course, assignment)
    full = assignment.automatic_points
    return stock_otter.grade(program, grader, root / "run", class_, full)


def check_full(gradebook: Path, points: float, who: str) -> None:
    """A comparison counts only where both graders give every copy full marks."""
    if (found := scores(gradebook)) != {points}:
        raise SystemExit(f"{who} gave the good submissions {sorted(found)}, not {points}")


def student_compute(folder: CourseFolder) -> float:
    """Mean CPU seconds of the students' own code, from the stored results; the solution's is none."""
    store = Store(folder.results)
    found = [store.get(event["key"]) for event in Ledger(folder.ledger).events()]
    return fmean(result.compute_seconds for result in found if result is not None)


def main() -> None:
    """Run the graders and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="12 copies instead of 48, and so on")
    parser.add_argument("--copies", type=int, help="how many submissions")
    options = parser.parse_args()
    count = options.copies or (12 if options.quick else 48)
    long, few = (36, 2) if options.quick else (300, 6)
    class_ = copies(count)
    with tempfile.TemporaryDirectory(prefix="steerlab-bench-") as scratch:
        place = Path(scratch)
        before, folder = ours(place / "before", class_, workers=1)
        compute = student_compute(folder)
        print(f"autograder grade --workers 1: {count} submissions in {before:.1f} s", flush=True)
        stock_seconds = stock(place / "stock", class_)
        print(f"nbgrader autograde: {count} submissions in {stock_seconds:.1f} s", flush=True)
        after, folder = ours(place / "after", class_, workers=1)
        print(f"autograder grade --workers 1: {count} submissions in {after:.1f} s", flush=True)
        two, parallel = ours(place / "two", class_, workers=2)
        print(f"autograder grade --workers 2: {count} submissions in {two:.1f} s", flush=True)
        gain = throughput(parallel) / throughput(folder)
        compute = fmean((compute, student_compute(folder)))
        with Watch() as watch:
            seconds, folder = ours(place / "long", copies(long), workers=2)
        print(f"autograder grade --workers 2: {long} submissions in {seconds:.1f} s", flush=True)
        otter_seconds = otter(place / "otter", copies(few))
        if otter_seconds is not None:
            print(
                f"otter run, no container: {few} submissions in {otter_seconds:.1f} s", flush=True
            )
        steady = last_over_first(folder, watch)
    each_stock, each_ours = stock_seconds / count, fmean((before, after)) / count
    figures = {
        "submissions": count,
        "stock_s_per_submission": round(each_stock, 3),
        "ours_s_per_submission": round(each_ours, 3),
        "ratio": round(each_stock / each_ours, 2),
        "student_compute_s": round(compute, 3),
        "overhead_ratio": round((each_stock - compute) / (each_ours - compute), 2),
        "parallel_gain": round(gain, 2),
        "otter_ratio": otter_seconds and round(otter_seconds / few / each_ours, 2),
        "pss_mb_per_submission": round(megabytes_of_one_more(class_), 1),
        "long_batch": long,
        **steady,
        **watch.figures(),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
