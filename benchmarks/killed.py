"""A batch killed at random moments and started again ends like one that nobody disturbed.

    python -m benchmarks.killed [--quick] [--seed N]

A small class (a toy assignment: no language model in its tests) is graded once in peace. Then,
again and again in new course folders with the same secret, the whole process group gets SIGKILL at
a random moment after a random number of submissions, and the same command runs to its end. A run
that had ended by then does not count. Scores, pages, ledger and graded notebooks must be those of
the undisturbed run. The last line is one JSON object: `kills`, `same`, `different`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from autograder.course import Course, CourseFolder
from autograder.init import init
from nbgrader.api import Gradebook

sys.path.insert(0, os.fspath(Path(__file__).resolve().parents[1] / "autograder" / "tests"))
from toy_course import answer, hand_in, make_toy_course, release, solved

from benchmarks.grading_load import recorded_at

PROGRAM = Path(sys.executable).parent / "autograder"
SIZE = 12  # of the class
DOUBLE = "# graded: 01_toy/double\ndef double(x):\n"
VARYING = re.compile(rb"\d{4}-\d\d-\d\d[T ][\d:.]+(?:\+\d\d:?\d\d)?")


def new_class(root: Path, course: Course, secret: str | None) -> CourseFolder:
    """A course folder with a class's submissions; every one has the same secret."""
    folder = init(root, course)
    if secret is not None:
        (folder.root / "secret").write_text(secret)
    for index in range(SIZE):
        notebook = release(course) if index == SIZE - 1 else solved(course)
        if index < SIZE - 2:
            body = "abs(2 * x)" if index % 2 else "2 * x"
            answer(notebook, "double", DOUBLE + f"    return {body}  # {index}\n")
        hand_in(folder.root, f"student-{index}", notebook)
    return folder


def recorded(folder: CourseFolder) -> int:
    """How many submissions of a batch are recorded so far."""
    return folder.ledger.read_text().count("\n") if folder.ledger.exists() else 0


def grade(folder: CourseFolder, kill_at: tuple[int, float] | None = None) -> bool:
    """Run `autograder grade`; kill_at: once so many are recorded, and so many seconds on.

    Returns whether it was killed: it may have ended before that.
    """
    command: list[str | Path] = [
        PROGRAM,
        "grade",
        "01_toy",
        "--course",
        folder.root,
        "--workers",
        "2",
    ]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    if kill_at is not None:
        while recorded(folder) < kill_at[0] and process.poll() is None:
            time.sleep(0.005)
        time.sleep(kill_at[1])
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    ours = kill_at is not None and process.returncode == -signal.SIGKILL
    if process.returncode != 0 and not ours:
        raise SystemExit(f"autograder grade failed with exit code {process.returncode}")
    return ours


def moment_of(moments: random.Random, before: float, pace: float) -> tuple[int, float]:
    """When to kill: after how many recorded submissions, and how many seconds later.

    before: seconds from the start to the first recorded one; pace: from one to the next.
    """
    count = moments.randrange(SIZE)
    return count, moments.uniform(0.0, pace * (SIZE - count) if count else before)


def outcome(folder: CourseFolder) -> dict[str, Any]:
    """All that a batch leaves, without times of day."""
    with Gradebook(folder.database) as gradebook:
        marks = {
            f"{submission.student_id}/{grade.name}": (
                grade.auto_score,
                grade.manual_score,
                grade.extra_credit,
                grade.needs_manual_grade,
            )
            for submission in gradebook.assignment_submissions("01_toy")
            for notebook in submission.notebooks
            for grade in notebook.grades
        }
    files = {
        os.fspath(path.relative_to(folder.root)): VARYING.sub(b"", path.read_bytes())
        for place in (folder.feedback, folder.autograded)
        for path in sorted(place.rglob("*"))
        if path.is_file() and path.suffix in (".html", ".ipynb")
    }
    events = [json.loads(line) for line in folder.ledger.read_text("utf-8").splitlines()]
    last = {event["student"]: (event["status"], event["new"]) for event in events}
    return {"marks": marks, "files": files, "ledger": last}


def main() -> None:
    """Kill and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="5 kills instead of 20")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    kills = 5 if options.quick else 20
    moments = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="steerlab-killed-") as scratch:
        course = make_toy_course(Path(scratch) / "course")
        calm = new_class(Path(scratch) / "calm", course, None)
        started = time.time()
        grade(calm)
        times = recorded_at(calm)
        before, pace = times[0] - started, (times[-1] - times[0]) / (SIZE - 1)
        expected, secret = outcome(calm), (calm.root / "secret").read_text()
        print(f"undisturbed: {times[-1] - started:.1f} s", flush=True)
        same = number = 0
        while number < kills:
            folder = new_class(Path(scratch) / f"run-{number}", course, secret)
            if not grade(folder, kill_at=moment_of(moments, before, pace)):
                print("ended before it was killed: does not count", flush=True)
                shutil.rmtree(folder.root)
                continue
            number += 1
            done = recorded(folder)
            grade(folder)
            found = outcome(folder)
            differing = [name for name in expected if found[name] != expected[name]]
            same += not differing
            verdict = f"different in {', '.join(differing)}" if differing else "the same"
            print(f"killed with {done} of {SIZE} recorded: {verdict}", flush=True)
            shutil.rmtree(folder.root)
    print(json.dumps({"kills": kills, "same": same, "different": kills - same}))


if __name__ == "__main__":
    main()
