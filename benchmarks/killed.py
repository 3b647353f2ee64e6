"""A batch killed at random moments and started again ends like one that nobody disturbed.

    python -m benchmarks.killed [--quick] [--seed N]

A small class (a toy assignment: no language model in its tests) is graded once in peace. Then,
again and again in new course folders with the same secret, the whole process group gets SIGKILL at
a random moment after a random number of submissions, and the same command runs to its end. Scores,
pages, ledger and graded notebooks must be those of the undisturbed run. The last line is one JSON
object: `kills`, `same`, `different`.
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

PROGRAM = Path(sys.executable).parent / "autograder"
DOUBLE = "# graded: 01_toy/double\ndef double(x):\n"
VARYING = re.compile(rb"\d{4}-\d\d-\d\d[T ][\d:.]+(?:\+\d\d:?\d\d)?")


def new_class(root: Path, course: Course, secret: str | None) -> CourseFolder:
    """A course folder with eight submissions; every one has the same secret."""
    folder = init(root, course)
    if secret is not None:
        (folder.root / "secret").write_text(secret)
    for index in range(8):
        notebook = release(course) if index == 7 else solved(course)
        if index < 6:
            body = "abs(2 * x)" if index % 2 else "2 * x"
            answer(notebook, "double", DOUBLE + f"    return {body}  # {index}\n")
        hand_in(folder.root, f"student-{index}", notebook)
    return folder


def recorded(folder: CourseFolder) -> int:
    """How many submissions of a batch are recorded so far."""
    return folder.ledger.read_text().count("\n") if folder.ledger.exists() else 0


def grade(folder: CourseFolder, kill_at: tuple[int, float] | None = None) -> float:
    """Wall seconds of `autograder grade`; kill_at: so many are recorded, and so many seconds on."""
    command: list[str | Path] = [
        PROGRAM,
        "grade",
        "01_toy",
        "--course",
        folder.root,
        "--workers",
        "2",
    ]
    started = time.monotonic()
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
    elif process.communicate() and process.returncode != 0:
        raise SystemExit(f"autograder grade failed with exit code {process.returncode}")
    return time.monotonic() - started


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
        seconds = grade(calm)
        expected, secret = outcome(calm), (calm.root / "secret").read_text()
        print(f"undisturbed: {seconds:.1f} s", flush=True)
        same = 0
        for number in range(kills):
            folder = new_class(Path(scratch) / f"run-{number}", course, secret)
            count = moments.randrange(8)
            moment = moments.uniform(0.0, 1.0 if count else 0.9 * seconds)
            grade(folder, kill_at=(count, moment))
            done = recorded(folder)
            grade(folder)
            found = outcome(folder)
            differing = [name for name in expected if found[name] != expected[name]]
            same += not differing
            verdict = f"different in {', '.join(differing)}" if differing else "the same"
            print(f"killed with {done} of 8 recorded: {verdict}", flush=True)
            shutil.rmtree(folder.root)
    print(json.dumps({"kills": kills, "same": same, "different": kills - same}))


if __name__ == "__main__":
    main()
