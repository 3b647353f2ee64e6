"""What grading one submission yields, and the store that keeps it under its content's key.

The key is a hash over everything that can change a mark: the clean notebook, the hidden tests, the
assignment's part of course.toml, both packages, the environment, and the isolation in force.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sysconfig
import tempfile
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from . import cells
from .course import Assignment, Course
from .sandbox import FULL

GRADED, UNGRADED = "graded", "ungraded"


@dataclass(frozen=True)
class TestResult:
    """One hidden test: what it weighs, whether it passed, and what its failure suggests."""

    __test__ = False
    name: str
    weight: float
    passed: bool
    hint: str = ""
    detail: str = ""


@dataclass(frozen=True)
class TaskResult:
    """One graded function: points earned of points possible.

    cell_seconds: CPU time of its answer cell and of the cells after it, up to the next answer.
    test_seconds: of its hidden tests, the student's process and the tests' own together. None where
    it is not known; results that differ in them are equal.
    """

    task: str
    points: float
    score: float
    tests: tuple[TestResult, ...] = ()
    note: str = ""
    cell_seconds: float | None = field(default=None, compare=False)
    test_seconds: float | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Result:
    """A submission graded, or ungraded with the reason."""

    key: str
    assignment: str
    status: str
    reason: str = ""
    tasks: tuple[TaskResult, ...] = ()
    repairs: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    notebook: str = ""
    compute_seconds: float = 0.0
    wall_seconds: float = 0.0
    record: dict[str, Any] = field(default_factory=dict)

    @property
    def score(self) -> float:
        """Automatic points earned."""
        return round(sum(task.score for task in self.tasks), 6)

    @property
    def points(self) -> float:
        """Automatic points possible."""
        return sum(task.points for task in self.tasks)

    def to_json(self) -> str:
        """The result as JSON text."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Result:
        """A result read back from its JSON text."""
        raw = json.loads(text)
        raw["tasks"] = tuple(
            TaskResult(**{**task, "tests": tuple(TestResult(**test) for test in task["tests"])})
            for task in raw["tasks"]
        )
        raw["repairs"], raw["notes"] = tuple(raw["repairs"]), tuple(raw["notes"])
        return cls(**raw)


class Store:
    """Results in a folder, one JSON file a key, written whole or not at all."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, key: str) -> Path:
        """Where a key's result lies."""
        return self.folder / f"{key}.json"

    def get(self, key: str) -> Result | None:
        """The stored result of that key, if it can be read."""
        try:
            return Result.from_json(self.path(key).read_text(encoding="utf-8"))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def put(self, result: Result) -> None:
        """Keep a result; a crash in between leaves the store as it was."""
        self.folder.mkdir(mode=0o700, exist_ok=True)
        write_whole(self.path(result.key), result.to_json())


def write_whole(path: Path, text: str) -> None:
    """Write a file by writing beside it and renaming, so that no reader sees half of it."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def result_key(notebook: NotebookNode, environment: dict[str, Any], secret: bytes) -> str:
    """The key of a clean notebook's result at full isolation, in an environment as
    `environment_of` describes it; `key_at` gives those of other levels.
    """
    parts = {
        "notebook": notebook_digest(notebook),
        "environment": environment,
        "secret": hashlib.sha256(b"result key" + secret).hexdigest(),
        "isolation": FULL,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:40]


def notebook_digest(notebook: NotebookNode) -> str:
    """A digest over what grading reads of a clean notebook: roles, tasks, types and sources."""
    read = [
        (cells.role(cell), cells.task(cell), cell.cell_type, cell.source) for cell in notebook.cells
    ]
    return hashlib.sha256(json.dumps(read).encode()).hexdigest()[:40]


def key_at(key: str, level: str) -> str:
    """The key of a result that was made at a level of isolation, from its key at the full one.

    Each level has a key of its own, so that nothing made behind weaker walls passes for full.
    """
    if level == FULL:
        return key
    return hashlib.sha256(f"{key} {level}".encode()).hexdigest()[:40]


#: What an assignment's entry says beside; moving a due date runs nobody's notebook again.
NO_PART_OF_A_MARK = ("title", "minutes", "due")


def environment_of(course: Course, assignment: Assignment) -> dict[str, Any]:
    """Everything but the submission that a mark depends on, as versions and digests."""
    return {
        "assignment": {k: v for k, v in asdict(assignment).items() if k not in NO_PART_OF_A_MARK},
        "limits": asdict(course.limits),
        "hidden_tests": digest_of(course.hidden_tests(assignment.id)),
        "steerlab": digest_of(course.repository / "lib" / "steerlab"),
        "autograder": digest_of(Path(__file__).parent),
        "packages": installed_packages(),
        "python": platform.python_version(),
    }


def digest_of(path: Path) -> str:
    """A digest of a file, or of a folder's source and data files with their names."""
    files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
    stamps = tuple((str(p), p.stat().st_mtime_ns, p.stat().st_size) for p in files)
    return _digest(str(path), tuple(s for s in stamps if "__pycache__" not in s[0]))


@cache
def _digest(root: str, stamps: tuple[tuple[str, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for name, _, _ in stamps:
        digest.update(os.path.relpath(name, root).encode())
        digest.update(hashlib.sha256(Path(name).read_bytes()).digest())
    return digest.hexdigest()[:20]


@cache
def installed_packages() -> str:
    """A digest over the installed distributions and their versions: the environment's lock.

    Only where pip installs is looked at: the rest of `sys.path` depends on how Python was started.
    Each has a folder `name-version.dist-info` there; to read the files in them would take longer than
    to grade a submission.
    """
    places = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    entries = [entry for place in places for entry in Path(place).glob("*.*-info")]
    names = sorted({entry.stem for entry in entries})
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:20]


def notebook_text(notebook: NotebookNode) -> str:
    """A notebook as the text that a result keeps."""
    return nbformat.writes(notebook)
