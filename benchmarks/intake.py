"""Notebooks mutated as Colab, browsers and students do, taken in and graded: is every score exact?

    python -m benchmarks.intake [--quick] [--mutants N] [--seed N]

2000 mutants of a solved notebook of 01_mean_diff (200 with --quick), in which one answer is only
partly right. Each says which tasks it must lose; all others must keep exactly their points.

Each mutant goes through intake. What intake makes of them is graded in the sandbox, once for each
sequence of code cells that is run: clean notebooks that run the same cells get the same score, for
text cells are never executed. The last line is one JSON object:

    mutants, clean_notebooks, runs    how many, and how many different ones among them
    crashes, refused                  neither may happen: every mutant still has graded cells
    wrong_scores                      mutants with a task whose points are not exactly as they must be
    silent_zeros                      tasks at 0 that had points, kept or without a word in the feedback
    changed_answers                   kept answers whose code is not the original's after intake
    not_idempotent                    taking in what was taken in changes it
    per_mutation                      by operator: how many mutants it had a part in
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import nbformat
from autograder.build import read_source
from autograder.course import Course, load_course
from autograder.grading.session import GradingSession
from autograder.grading.workers import Workers
from autograder.init import init
from autograder.intake import Clean, Refused, clean_notebook, parse_notebook, take_in
from autograder.intake.python_source import definition, same_code
from autograder.results import Result
from nbformat import NotebookNode

from autograder import cells
from benchmarks.notebook_mutations import Draft, Mutant, draft_of, each_mutant

ASSIGNMENT = "01_mean_diff"
#: The partly right answer of the notebook that is mutated, from the mistake bank.
PARTLY_RIGHT = ("concept_score", "score_case")
RUN = (cells.ANSWER, cells.AUTHOR, cells.ADDED, cells.EXPLORE)
Run = tuple[tuple[str, str | None, str], ...]


def run_of(notebook: NotebookNode) -> Run:
    """What of a clean notebook can be executed, in order: all that a score can depend on."""
    return tuple(
        (cells.role(cell), cells.task(cell), cell.source)
        for cell in notebook.cells
        if cell.cell_type == "code" and cells.role(cell) in RUN
    )


@dataclass(frozen=True)
class Seen:
    """One mutant after intake."""

    mutant: Mutant
    run: Run
    repairs: tuple[str, ...]


@dataclass
class Examination:
    """Takes mutants in, has what came of them graded, and compares with what each mutant says."""

    original: Draft
    release: NotebookNode
    scratch: Path
    seen: list[Seen] = field(default_factory=list)
    clean: dict[Run, Clean] = field(default_factory=dict)
    notebooks: set[tuple[tuple[str, str], ...]] = field(default_factory=set)
    crashes: list[tuple[Mutant, Exception]] = field(default_factory=list)
    refused: list[tuple[Mutant, Exception]] = field(default_factory=list)
    changed_answers: list[tuple[Mutant, str]] = field(default_factory=list)
    not_idempotent: list[Mutant] = field(default_factory=list)
    wrong_scores: list[tuple[Mutant, dict[str, float]]] = field(default_factory=list)
    silent_zeros: list[tuple[Mutant, str]] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        notebook = parse_notebook(self.original.text().encode())
        clean = clean_notebook(notebook, self.original.assignment, self.release)
        self.untouched = run_of(clean.notebook)
        self.clean[self.untouched] = clean

    def take(self, mutant: Mutant) -> None:
        """Take one mutant in, from files in a folder, as it would be handed in."""
        folder = Path(tempfile.mkdtemp(dir=self.scratch))
        for name, content in mutant.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        started = time.perf_counter()
        try:
            clean = take_in(folder, self.original.assignment, self.release)
        except Refused as error:
            self.refused.append((mutant, error))
            return
        except Exception as error:
            self.crashes.append((mutant, error))
            return
        finally:
            self.seconds.append(time.perf_counter() - started)
            shutil.rmtree(folder)
        self._examine(mutant, clean)

    def _examine(self, mutant: Mutant, clean: Clean) -> None:
        run = run_of(clean.notebook)
        self.seen.append(Seen(mutant, run, clean.repairs))
        self.clean.setdefault(run, clean)
        self.notebooks.add(tuple((cell.cell_type, cell.source) for cell in clean.notebook.cells))
        for task in self.original.stubs:
            if task not in mutant.lost and not self._kept(task, run):
                self.changed_answers.append((mutant, task))
        written = nbformat.writes(clean.notebook).encode()
        again = clean_notebook(parse_notebook(written), self.original.assignment, self.release)
        if [(c.get("id"), c.cell_type, c.source) for c in again.notebook.cells] != [
            (c.get("id"), c.cell_type, c.source) for c in clean.notebook.cells
        ]:
            self.not_idempotent.append(mutant)

    def _kept(self, task: str, run: Run) -> bool:
        """Whether a task's answer cell defines the same function as in the original."""

        def defined(cells_run: Run) -> str:
            (source,) = (s for r, t, s in cells_run if (r, t) == (cells.ANSWER, task))
            return definition(source, task) or ""

        return same_code(defined(run), defined(self.untouched))

    def compare(self, results: Mapping[Run, Result]) -> None:
        """Compare each mutant's scores with the original's, but for the tasks that it must lose."""
        full = {task.task: task.score for task in results[self.untouched].tasks}
        for seen in self.seen:
            scores = {task.task: task.score for task in results[seen.run].tasks}
            lost = seen.mutant.lost
            if scores != {task: 0.0 if task in lost else points for task, points in full.items()}:
                self.wrong_scores.append((seen.mutant, scores))
            for task, points in full.items():
                zero = points > 0 and scores.get(task, 0.0) == 0
                if zero and not (task in lost and self._explained(task, seen)):
                    self.silent_zeros.append((seen.mutant, task))

    def _explained(self, task: str, seen: Seen) -> bool:
        """Whether the student can see why: a repair names the task, or their own cell was graded."""
        (source,) = (s for r, t, s in seen.run if (r, t) == (cells.ANSWER, task))
        own = not same_code(source, self.original.stubs[task])
        reset = "reset_answer" in seen.mutant.operators
        return own or reset or any(repair.startswith(f"{task}:") for repair in seen.repairs)

    @property
    def passed(self) -> bool:
        """Whether nothing was found that must not be."""
        faults = (self.crashes, self.refused, self.wrong_scores, self.silent_zeros)
        return not any((*faults, self.changed_answers, self.not_idempotent))

    def figures(self) -> dict[str, object]:
        """The counts, for the benchmark's last line."""
        names = ["crashes", "refused", "wrong_scores", "silent_zeros"]
        names += ["changed_answers", "not_idempotent"]
        operators = Counter(name for seen in self.seen for name in set(seen.mutant.operators))
        return {
            "mutants": len(self.seconds),
            "clean_notebooks": len(self.notebooks),
            "runs": len(self.clean),
            **{name: len(getattr(self, name)) for name in names},
            "intake_s_median": round(median(self.seconds), 4),
            "per_mutation": dict(sorted(operators.items())),
        }


def grade(
    course: Course, assignment_id: str, clean: Mapping[Run, Clean], root: Path
) -> dict[Run, Result]:
    """Grade clean notebooks in the sandbox, in a course folder of their own."""
    session = GradingSession(init(root, course), course, course.assignment(assignment_id))
    names = {str(number): run for number, run in enumerate(clean)}
    results: dict[Run, Result] = {}
    with Workers(course, course.assignment(assignment_id), (root,)) as workers:
        workers.send({name: session.job(clean[run]) for name, run in names.items()})
        for name, result in workers.results():
            if isinstance(result, Exception):
                raise result
            results[names[name]] = result
            if len(results) % 50 == 0:
                print(f"{len(results)} of {len(names)} graded", flush=True)
    return results


def solved(course: Course, release: NotebookNode) -> NotebookNode:
    """The release with the authors' answers, but one that is only partly right."""
    source = read_source(course, course.assignment(ASSIGNMENT))
    answers = {cells.role_of_release_cell(cell): cell.source for cell in source.cells}
    task, mistake = PARTLY_RIGHT
    path = course.repository / "autograder" / "mistakes" / ASSIGNMENT / f"{mistake}.py"
    text = path.read_text("utf-8")
    answers[cells.ANSWER, task] = f"# graded: {ASSIGNMENT}/{task}\n{text}"
    notebook = nbformat.from_dict(release)
    for cell in notebook.cells:
        what = cells.role_of_release_cell(cell)
        if what[0] == cells.ANSWER:
            cell.source = answers[what]
    return notebook


def main() -> int:
    """Mutate, take in, grade, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="200 mutants instead of 2000")
    parser.add_argument("--mutants", type=int, help="how many")
    parser.add_argument("--seed", type=int, default=1, help="which ones")
    options = parser.parse_args()
    count = options.mutants or (200 if options.quick else 2000)
    course = load_course()
    release = nbformat.read(course.release_notebook(ASSIGNMENT), as_version=4)
    with tempfile.TemporaryDirectory(prefix="steerlab-intake-") as scratch:
        (Path(scratch) / "in").mkdir()
        original = draft_of(ASSIGNMENT, solved(course, nbformat.from_dict(release)), release)
        examination = Examination(original, release, Path(scratch) / "in")
        each_mutant(original, count, options.seed, examination.take)
        print(f"{count} mutants taken in, {len(examination.clean)} to grade", flush=True)
        started = time.perf_counter()
        results = grade(course, ASSIGNMENT, examination.clean, Path(scratch) / "class")
        seconds = time.perf_counter() - started
    base = {task.task: (task.score, task.points) for task in results[examination.untouched].tasks}
    score, points = base[PARTLY_RIGHT[0]]
    if not 0 < score < points:
        raise SystemExit(f"the original is not partly right: {base}")
    examination.compare(results)
    for name in ("crashes", "refused", "wrong_scores", "silent_zeros", "changed_answers"):
        for fault in getattr(examination, name)[:5]:
            print(name, *map(repr, fault))
    for mutant in examination.not_idempotent[:5]:
        print("not_idempotent", mutant)
    print(json.dumps({**examination.figures(), "grading_s": round(seconds, 1)}))
    return 0 if examination.passed else 1


if __name__ == "__main__":
    sys.exit(main())
