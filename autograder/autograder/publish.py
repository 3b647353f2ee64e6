"""`autograder publish DEST`: the copy of the course that students get.

Made from an allow-list, out of the files that the repository tracks, without its history. Every file
is searched for leaks before the first one reaches DEST: runs of solution and hidden-test tokens,
canaries, and the name of the private repository.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from .course import Assignment, Course, CourseError
from .leaks import Secrets, search_files

#: What students get, as patterns of whole paths. `{id}` stands for each published assignment.
ALLOWED = (
    "LICENSE",
    "constraints.txt",
    "lib/README.md",
    "lib/pyproject.toml",
    "lib/steerlab/**",
    "assignments/{id}/{id}.ipynb",
    "docs/student*.md",
    "docs/student/**",
    "docs/troubleshooting.md",
)
#: Never, whatever the patterns say.
REFUSED_NAMES = re.compile(r"(^|/)(\.[^/]*|__pycache__|.*\.pyc|.*~)(/|$)")
MANIFEST = ".published.json"
README = Path(__file__).parent / "templates" / "publish" / "README.md"
BADGE = "https://colab.research.google.com/assets/colab-badge.svg"


class LeakFound(CourseError):
    """Something that students must not have stands in a file that they would get."""

    exit_code = 1


@dataclass(frozen=True)
class Published:
    """What was written: files by path, and those of an earlier copy that are gone now."""

    files: tuple[str, ...]
    removed: tuple[str, ...]
    assignments: tuple[str, ...]


def publish(course: Course, destination: Path, only: list[str] | None = None) -> Published:
    """Write the student-facing copy; raises CourseError, and LeakFound before anything is written.

    `only` names the assignments to publish (default: all that are built). DEST is new, empty, or an
    earlier copy, whose `.git` stays and whose other files are replaced. The leak check knows the
    secrets of every assignment, published or not.
    """
    target = destination.resolve()
    root = course.repository.resolve()
    if target == root or root in target.parents or target in root.parents:
        raise CourseError(f"{target} overlaps the repository: name a folder beside it.")
    assignments = chosen(course, only)
    known = earlier_copy(target)
    with tempfile.TemporaryDirectory(prefix="publish-") as scratch:
        stage = Path(scratch) / "copy"
        files = stage_files(course, assignments, stage)
        check_leaks(course, stage)
        gone = tuple(sorted(known.keys() - set(files)))
        _replace(stage, target, files, known)
    return Published(files, gone, tuple(assignment.id for assignment in assignments))


def chosen(course: Course, only: list[str] | None) -> list[Assignment]:
    """The assignments to publish, each with a release; raises CourseError."""
    found = (
        [course.assignment(name) for name in only] if only else list(course.assignments.values())
    )
    built = [a for a in found if course.release_notebook(a.id).is_file()]
    missing = [a.id for a in found if a not in built]
    if missing and (only or not built):
        raise CourseError(f"{', '.join(missing)} has no release. Make it first: autograder build")
    return built


def earlier_copy(target: Path) -> dict[str, str]:
    """The files of an earlier copy in a folder, with their digests; raises CourseError for others."""
    if not target.exists() or not any(target.iterdir()):
        return {}
    try:
        known = json.loads((target / MANIFEST).read_text("utf-8"))["files"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        if {path.name for path in target.iterdir()} == {".git"}:
            return {}
        raise CourseError(
            f"{target} is not empty and no earlier copy. Name a new folder, or an empty clone of the "
            "student repository."
        ) from error
    for name, digest in known.items():
        path = target / name
        if path.is_file() and _digest(path) != digest:
            raise CourseError(
                f"{path} was changed since it was published; nothing was written. Bring the change "
                "into the course repository, or delete the file."
            )
    return dict(known)


def stage_files(course: Course, assignments: list[Assignment], stage: Path) -> tuple[str, ...]:
    """Put all that is published into a folder; the paths, in order. Raises CourseError."""
    names = [
        name
        for name in tracked_files(course.repository)
        if is_allowed(name, [assignment.id for assignment in assignments])
    ]
    for name in names:
        source = course.repository / name
        if source.is_symlink() or course.repository.resolve() not in source.resolve().parents:
            raise CourseError(f"{name} is a link or leads out of the repository: not published.")
        copy = stage / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, copy)
    made = {
        "README.md": readme(course, assignments, names),
        "environment.yml": student_environment(course.repository / "environment.yml"),
    }
    for name, text in made.items():
        if text:
            (stage / name).write_text(text, "utf-8")
            names.append(name)
    return tuple(sorted(names))


def tracked_files(repository: Path) -> list[str]:
    """Files that git tracks and that are there; all files where it is no checkout."""
    listed = subprocess.run(
        ["git", "-C", str(repository), "ls-files", "-z", "--", "."],
        capture_output=True,
        check=False,
        text=True,
    )
    if listed.returncode == 0 and listed.stdout:
        names = [name for name in listed.stdout.split("\0") if name]
    else:
        found = [p for p in repository.rglob("*") if p.is_symlink() or not p.is_dir()]
        names = [str(path.relative_to(repository)) for path in found]
    return sorted(name for name in set(names) if os.path.lexists(repository / name))


def is_allowed(name: str, assignment_ids: list[str]) -> bool:
    """Whether the allow-list has a path, for these assignments."""
    if REFUSED_NAMES.search(name):
        return False
    patterns = [
        pattern.format(id=assignment_id)
        for pattern in ALLOWED
        for assignment_id in (assignment_ids if "{id}" in pattern else [""])
    ]
    return any(_fits(name, pattern) for pattern in patterns)


def _fits(name: str, pattern: str) -> bool:
    if pattern.endswith("/**"):
        return name.startswith(pattern.removesuffix("**"))
    path = PurePosixPath(name)
    return len(path.parts) == pattern.count("/") + 1 and path.match(pattern)


def readme(course: Course, assignments: list[Assignment], names: list[str]) -> str:
    """The students' front page: the table of assignments with their badges, and how to start."""
    rows = []
    for item in assignments:
        path = f"assignments/{item.id}/{item.id}.ipynb"
        link = f"https://colab.research.google.com/github/{course.student_repository}/blob/"
        badge = f"[![Open In Colab]({BADGE})]({link}{course.release}/{path})"
        due = item.due or ""
        rows.append(
            f"| [{item.id}]({path}) {badge} | {item.title} | {item.total_points:g} | {due} |"
        )
    guides = [
        f"- [{Path(name).stem.replace('_', ' ')}]({name})" for name in names if name[:5] == "docs/"
    ]
    text = README.read_text("utf-8")
    facts = {
        "title": course.title,
        "repository": course.student_repository,
        "folder": course.student_repository.split("/")[-1],
        "release": course.release,
        "assignments": "\n".join(rows),
        "guides": "\n".join(guides) or "Every notebook says what to do from its first cell on.",
    }
    for key, value in facts.items():
        text = text.replace("{{" + key + "}}", value)
    return text


def student_environment(path: Path) -> str:
    """environment.yml without what only instructors have and need; empty where there is none."""
    if not path.is_file():
        return ""
    instructors = re.compile(r"autograder|bubblewrap|libseccomp")
    lines = [
        line
        for line in path.read_text("utf-8").splitlines()
        if not line.lstrip().startswith("#") and not instructors.search(line)
    ]
    return "# conda env create -f environment.yml\n" + "\n".join(lines) + "\n"


def check_leaks(course: Course, stage: Path) -> None:
    """Search every staged file; raises LeakFound naming the file and what of which secret."""
    files = sorted(path for path in stage.rglob("*") if path.is_file())
    for path, leaks in search_files(files, Secrets.of_all(course)).items():
        raise LeakFound(f"{path.relative_to(stage)} would leak {leaks[0]}. Nothing was written.")
    private = author_repository(course)
    for path in files if private else ():
        # The students' repository may have a name that begins like the private one's.
        if re.search(rf"{re.escape(private)}(?![\w-])".encode(), path.read_bytes()):
            raise LeakFound(
                f"{path.relative_to(stage)} names the private repository {private}. "
                "Nothing was written."
            )


def author_repository(course: Course) -> str:
    """The private repository's name, as course.toml has it; empty where it says nothing."""
    raw = tomllib.loads((course.repository / "course.toml").read_text("utf-8"))
    return str(raw.get("course", {}).get("author_repository", ""))


def _replace(stage: Path, target: Path, files: tuple[str, ...], known: dict[str, str]) -> None:
    """Bring the staged files into the folder, and take away what an earlier copy had besides."""
    target.mkdir(parents=True, exist_ok=True)
    foreign = [name for name in files if name not in known and (target / name).exists()]
    if foreign:
        raise CourseError(
            f"{target / foreign[0]} is there and was not published before; nothing was written. "
            "Move it away."
        )
    for name in files:
        path = target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(stage / name, path)
    for name in known.keys() - set(files):
        (target / name).unlink(missing_ok=True)
        for folder in (target / name).relative_to(target).parents:
            if (
                folder != Path(".")
                and (target / folder).is_dir()
                and not any((target / folder).iterdir())
            ):
                (target / folder).rmdir()
    digests = {name: _digest(target / name) for name in files}
    (target / MANIFEST).write_text(json.dumps({"files": digests}, indent=1) + "\n", "utf-8")


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
