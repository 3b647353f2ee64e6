"""What must never reach a student: runs of solution, hidden-test or author tokens, and canaries.

A leak is a run of eight or more normalised tokens from a secret text that the released text does
not hold legitimately, or any canary. The search sees through JSON, base64, hex and reversal.
"""

from __future__ import annotations

import base64
import builtins
import keyword
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import jupytext

from . import cells
from .course import Assignment, Course

RUN = 8
CANARY = re.compile(r"canary-[0-9a-f]{32}")
_TOKEN = re.compile(r"[a-z_]\w*|\d+(?:\.\d+)?|[^\s\w\"'`\\]")
#: Runs with fewer different words than this, Python's own not counted, are idiom that any two
#: programs share.
WORDS = 3
PYTHONS = frozenset(name.lower() for name in (*keyword.kwlist, *dir(builtins)))
_BEGIN, _END = "BEGIN SOLUTION", "END SOLUTION"


@dataclass(frozen=True)
class Secrets:
    """The token runs and canaries that no artifact may hold, each run with where it came from."""

    runs: dict[tuple[str, ...], str]
    canaries: frozenset[str]

    @classmethod
    def of(cls, course: Course, assignment: Assignment) -> Secrets:
        """Everything secret of one assignment: solutions, author notes, hidden tests, mistakes."""
        notebook = jupytext.read(course.solution_source(assignment.id), fmt="py:percent")
        texts: list[tuple[str, str, str]] = []
        contracts: list[str] = []  # what the answer cells ask for: hidden tests may say it too
        for cell in notebook.cells:
            task = cells.role_of_release_cell(cell)[1]
            solution, rest = split_solution(cell.source)
            if "author" in cells.tags(cell):
                texts.append(("an author note", cell.source, ""))
            elif solution:
                texts.append((f"the solution of {task}", solution, rest))
                contracts.append(rest)
        hidden = course.hidden_tests(assignment.id)
        texts.append(("a hidden test", hidden.read_text("utf-8"), "\n".join(contracts)))
        bank = course.repository / "autograder" / "mistakes" / assignment.id
        # Mistakes are written in idioms that the notebook itself shows: of them only canaries count.
        marks = [mark for path in bank.glob("*.py") for mark in CANARY.findall(path.read_text())]
        texts.append(("the mistake bank", " ".join(marks), ""))
        library = (course.repository / "lib" / "steerlab").rglob("*.py")
        return cls.from_texts(texts, [path.read_text("utf-8") for path in library])

    @classmethod
    def from_texts(cls, secret: Iterable[tuple[str, str, str]], public: Iterable[str]) -> Secrets:
        """Runs of the secret texts, each `(origin, text, the public rest of its own cell)`.

        What the library says too is no secret; nor is what the cell itself gives the student.
        """
        known = {run for text in public for run in windows(text)}
        runs: dict[tuple[str, ...], str] = {}
        canaries: set[str] = set()
        for origin, text, rest in secret:
            canaries.update(CANARY.findall(text))
            given = set(token_runs(rest))
            for run in token_runs(text):
                if run not in known and run not in given:
                    runs.setdefault(run, origin)
        return cls(runs, frozenset(canaries))

    @classmethod
    def of_all(cls, course: Course) -> Secrets:
        """Everything secret of every assignment that has a source; each run names its assignment."""
        runs: dict[tuple[str, ...], str] = {}
        canaries: set[str] = set()
        for assignment in course.assignments.values():
            if course.solution_source(assignment.id).is_file():
                one = cls.of(course, assignment)
                canaries |= one.canaries
                for run, origin in one.runs.items():
                    runs.setdefault(run, f"{origin} in {assignment.id}")
        return cls(runs, frozenset(canaries))


def split_solution(source: str) -> tuple[str, str]:
    """A cell's solution region(s) and the rest of it."""
    inside: list[str] = []
    outside: list[str] = []
    within = False
    for line in source.splitlines():
        if _BEGIN in line:
            within = True
        elif _END in line:
            within = False
        else:
            (inside if within else outside).append(line)
    return "\n".join(inside), "\n".join(outside)


def tokens(text: str) -> list[str]:
    """Words, numbers and signs, lower case: layout, quotes and escapes do not matter."""
    return _TOKEN.findall(text.replace("\\n", " ").replace('\\"', '"').lower())


def windows(text: str) -> Iterator[tuple[str, ...]]:
    """All runs of RUN tokens."""
    found = tokens(text)
    return zip(*(found[start:] for start in range(RUN)), strict=False)


def token_runs(text: str) -> Iterator[tuple[str, ...]]:
    """All runs of RUN tokens that hold at least WORDS different words."""
    for run in windows(text):
        words = {token for token in run if token[0].isalpha() and len(token) > 1}
        if len(words - PYTHONS) >= WORDS:
            yield run


def find_leaks(text: str, secrets: Secrets, limit: int = 5) -> list[str]:
    """Sentences naming what of the secrets stands in a text; empty when nothing does."""
    leaks = [f"the canary {canary[:11]}…" for canary in _canaries_in(text, secrets.canaries)]
    if secrets.runs.keys().isdisjoint(windows(text) if secrets.runs else ()):
        return leaks
    said = (run for run in windows(text) if run in secrets.runs)
    leaks += [f"{secrets.runs[run]}: “{' '.join(run)}”" for run in islice(said, limit)]
    return leaks[:limit]


def _canaries_in(text: str, canaries: Iterable[str]) -> list[str]:
    return [canary for canary in canaries if any(form in text for form in disguises(canary))]


def disguises(canary: str) -> list[str]:
    """A canary as it stands, reversed, in hex and in base64 at each of its three alignments."""
    forms = [canary, canary[::-1], canary.encode().hex(), canary.removeprefix("canary-")]
    for shift in range(3):
        coded = base64.b64encode(b"\0" * shift + canary.encode()).decode()
        forms.append(coded[4 if shift else 0 : -4])
    return forms


def search_files(paths: Iterable[Path], secrets: Secrets) -> dict[Path, list[str]]:
    """Leaks in files, by file; bytes that are not UTF-8 are searched for canaries all the same."""
    found = {}
    for path in paths:
        leaks = find_leaks(path.read_bytes().decode("utf-8", "replace"), secrets)
        if leaks:
            found[path] = leaks
    return found
