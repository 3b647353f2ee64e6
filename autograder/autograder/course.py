"""Where the course lives: `course.toml` in the repository, and the course folder with class data.

The repository holds what authors write. The course folder (made by `autograder init`, mode 0700,
outside the repository) holds everything about people: submissions, gradebook, feedback, results.
"""

from __future__ import annotations

import json
import os
import secrets
import tomllib
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any


class CourseError(Exception):
    """Something about the course or its folder is not as it must be; the message says how to mend it."""

    exit_code = 2  # of the `autograder` command: wrong use, or something must be mended first


class HiddenTestsBroken(CourseError):
    """The hidden tests themselves failed: nobody's mark may come of it. The message says where."""


@dataclass(frozen=True)
class Limits:
    """What one submission may use; seconds of CPU time unless the name says wall."""

    cell_cpu_seconds: float = 10.0
    submission_wall_seconds: float = 180.0
    call_cpu_seconds: float = 10.0
    memory_mb: int = 3000


@dataclass(frozen=True)
class Assignment:
    """One assignment as `course.toml` describes it.

    libraries: slow imports of its notebook, which grading holds ready beside the course's model.
    """

    id: str
    title: str
    tasks: dict[str, float]
    written: dict[str, float] = field(default_factory=dict)
    minutes: int = 0
    due: str | None = None
    withheld: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()

    @property
    def automatic_points(self) -> float:
        """Points that hidden tests give: what "full marks" means before the written part is read."""
        return sum(self.tasks.values())

    @property
    def total_points(self) -> float:
        """Automatic and written points together."""
        return self.automatic_points + sum(self.written.values())


@dataclass(frozen=True)
class HandingIn:
    """The rules of handing one assignment in, apart from its due date; no mark's key holds them.

    late_penalty_per_day, late_max: shares of the points possible. attempts: "last" counts the last
    one in time, "best" the one with the most points. groups: a roster's group hands in together.
    """

    grace_minutes: float = 0.0
    late_penalty_per_day: float = 0.0
    late_max: float = 1.0
    attempts: str = "last"
    groups: bool = True


@dataclass(frozen=True)
class Course:
    """The repository's `course.toml`, read once.

    preload: the model that grading holds ready; "torch" for a course that needs PyTorch and no
    model; empty for one that needs neither.
    """

    repository: Path
    id: str
    title: str
    student_repository: str
    release: str
    limits: Limits
    assignments: dict[str, Assignment]
    rules: dict[str, HandingIn] = field(default_factory=dict)
    preload: str = "tiny"

    def handing_in(self, assignment_id: str) -> HandingIn:
        """The rules of handing an assignment in."""
        return self.rules.get(assignment_id, HandingIn())

    def assignment(self, assignment_id: str) -> Assignment:
        """The assignment of that id; raises CourseError naming the known ones."""
        if assignment_id not in self.assignments:
            known = ", ".join(sorted(self.assignments))
            raise CourseError(f"Unknown assignment {assignment_id!r}: course.toml has {known}.")
        return self.assignments[assignment_id]

    def hidden_tests(self, assignment_id: str) -> Path:
        """The pytest file that scores an assignment."""
        return self.repository / "autograder" / "hidden_tests" / f"test_{assignment_id}.py"

    def release_notebook(self, assignment_id: str) -> Path:
        """The generated notebook that students open."""
        return self.repository / "assignments" / assignment_id / f"{assignment_id}.ipynb"

    def solution_source(self, assignment_id: str) -> Path:
        """The py:percent file that authors edit."""
        return self.repository / "solutions" / f"{assignment_id}.py"

    def solution_notebook(self, assignment_id: str) -> Path:
        """The generated, executed solution."""
        return self.repository / "solutions" / assignment_id / f"{assignment_id}.ipynb"


def find_repository(start: Path | None = None) -> Path:
    """The folder that holds `course.toml`: at or above `start`, else the one this package came from."""
    for origin in (start or Path.cwd(), Path(__file__)):
        for folder in (origin.resolve(), *origin.resolve().parents):
            if (folder / "course.toml").is_file() and (folder / "autograder").is_dir():
                return folder
    raise CourseError(
        "No course.toml found here or above. Run this inside the course repository, "
        "or name it with --repository."
    )


def load_course(repository: Path | None = None) -> Course:
    """Read `course.toml`; raises CourseError with the key at fault."""
    root = find_repository(repository)
    path = root / "course.toml"
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise CourseError(f"{path} cannot be read: {error}.") from error
    try:
        course = raw["course"]
        grading = dict(raw.get("grading", {}))
        preload = str(grading.pop("preload", "tiny"))
        return Course(
            repository=root,
            id=course["id"],
            title=course["title"],
            student_repository=course["student_repository"],
            release=course["release"],
            limits=Limits(**grading),
            assignments={key: _assignment(key, value) for key, value in raw["assignments"].items()},
            rules={key: _handing_in(key, value) for key, value in raw["assignments"].items()},
            preload=preload,
        )
    except KeyError as error:
        raise CourseError(f"{path} lacks the key {error}.") from error
    except TypeError as error:
        raise CourseError(f"{path}, [grading]: {error}.") from error


def _assignment(assignment_id: str, raw: dict[str, Any]) -> Assignment:
    tasks = {name: float(points) for name, points in raw["tasks"].items()}
    written = {name: float(points) for name, points in raw.get("written", {}).items()}
    for name, points in {**tasks, **written}.items():
        if not name.isidentifier() or not points > 0:
            raise CourseError(
                f"course.toml, {assignment_id}: {name} = {points} must be an identifier with "
                "points above 0."
            )
    due = raw.get("due")
    if due is not None and (not isinstance(due, datetime) or due.tzinfo is None):
        raise CourseError(
            f"course.toml, {assignment_id}: due = {due} must be a date and time with its offset, "
            "like 2027-02-01T23:59:00+01:00."
        )
    return Assignment(
        id=assignment_id,
        title=raw["title"],
        tasks=tasks,
        written=written,
        minutes=int(raw.get("minutes", 0)),
        due=str(due) if due is not None else None,
        withheld=tuple(raw.get("withheld", ())),
        libraries=tuple(raw.get("libraries", ())),
    )


def _handing_in(assignment_id: str, raw: dict[str, Any]) -> HandingIn:
    known = {key: raw[key] for key in HandingIn.__dataclass_fields__ if key in raw}
    rules = HandingIn(**known)
    for key, most in (("grace_minutes", 10_000), ("late_penalty_per_day", 1), ("late_max", 1)):
        value = getattr(rules, key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
            raise CourseError(
                f"course.toml, {assignment_id}: {key} = {value!r} must be a number from 0 to {most}."
            )
    if rules.attempts not in ("last", "best") or not isinstance(rules.groups, bool):
        raise CourseError(
            f'course.toml, {assignment_id}: attempts is "last" or "best", groups true or false.'
        )
    return rules


@dataclass(frozen=True)
class CourseFolder:
    """The private folder of one run of the course."""

    root: Path

    @property
    def submitted(self) -> Path:
        return self.root / "submitted"

    @property
    def clean(self) -> Path:
        return self.root / "clean"

    @property
    def autograded(self) -> Path:
        return self.root / "autograded"

    @property
    def feedback(self) -> Path:
        return self.root / "feedback"

    @property
    def results(self) -> Path:
        return self.root / "results"

    @property
    def ledger(self) -> Path:
        return self.root / "ledger.jsonl"

    @property
    def gradebook(self) -> Path:
        return self.root / "gradebook.db"

    @property
    def database(self) -> str:
        """Where nbgrader's gradebook is, as SQLAlchemy writes it: in this folder, or as told to `init`."""
        told = json.loads((self.root / "course.json").read_text(encoding="utf-8")).get("database")
        return told or f"sqlite:///{self.gradebook}"

    @property
    def secret(self) -> bytes:
        """The key from which hidden tests draw their random inputs; never leaves this folder."""
        return bytes.fromhex((self.root / "secret").read_text().strip())

    def repository(self) -> Path:
        """The course repository that `autograder init` was run from."""
        return Path(json.loads((self.root / "course.json").read_text())["repository"])


def open_folder(path: Path | None = None) -> CourseFolder:
    """The course folder at `path` or here; raises CourseError saying how to make one."""
    root = (path or Path.cwd()).resolve()
    if not root.exists():
        raise CourseError(f"{root} does not exist. Make a course folder: autograder init {root}")
    if not (root / "course.json").is_file() or not (root / "secret").is_file():
        raise CourseError(
            f"{root} is not a course folder. Make one with `autograder init DIR`, then name it "
            "with --course DIR."
        )
    for name in ("gradebook.db", "results", "autograded", "feedback"):
        target = root / name
        probe = target if target.exists() else root
        if not os.access(probe, os.W_OK):
            raise CourseError(f"{probe} cannot be written. Mend its permissions: chmod u+w {probe}")
    return CourseFolder(root)


def create_folder(path: Path, repository: Path, database: str | None = None) -> CourseFolder:
    """Make a course folder outside the repository, readable by its owner only."""
    root = path.resolve()
    if root == repository or repository in root.parents:
        raise CourseError(
            f"{root} lies inside the repository. Class data must live outside it: "
            "choose another folder."
        )
    if root.exists() and any(root.iterdir()):
        if (root / "course.json").is_file():
            raise CourseError(f"{root} is a course folder already; nothing was changed.")
        raise CourseError(f"{root} is not empty. Choose a new or empty folder.")
    root.mkdir(parents=True, exist_ok=True)
    root.chmod(0o700)
    folder = CourseFolder(root)
    for name in ("submitted", "results", "logs", "source", "release"):
        (root / name).mkdir(mode=0o700)
    secret = root / "secret"
    secret.touch(mode=0o600)
    secret.write_text(secrets.token_hex(32) + "\n")
    told = {"repository": str(repository)} | ({"database": database} if database else {})
    (root / "course.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    return folder
