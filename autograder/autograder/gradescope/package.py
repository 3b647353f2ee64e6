"""The zip that is uploaded to Gradescope: one assignment's part of the repository, and two scripts.

It holds the hidden tests: whoever has it can read them. Solutions, the mistake bank and everything
about people are not in it, because only what is named here goes in.
"""

from __future__ import annotations

import json
import re
import secrets
import stat
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

from ..course import Assignment, Course, CourseError, CourseFolder
from ..leaks import CANARY
from .submission import SETTINGS

FILES = Path(__file__).parent / "files"
LEFT_OUT = {"__pycache__", "tests", ".ipynb_checkpoints"}
OWN = ("steerlab", "autograder")
#: The same bytes every time: no clock in the archive.
WHEN = (2000, 1, 1, 0, 0, 0)


def write_package(
    course: Course,
    assignment: Assignment,
    destination: Path,
    folder: CourseFolder | None = None,
    allow_weaker: bool = False,
    pip_config: Path | None = None,
) -> list[str]:
    """Write the zip, readable by its owner alone; returns the names in it, sorted.

    folder: whose secret the random inputs are drawn from, so that marks agree with those of
    `autograder grade` there; without one the package gets a secret of its own.

    Raises: CourseError for what is missing, or should not be in it.
    """
    files = dict(_files(course, assignment))
    settings = {
        "assignment": assignment.id,
        "secret": (folder.secret if folder is not None else secrets.token_bytes(32)).hex(),
        "allow_weaker_sandbox": allow_weaker,
    }
    texts = {
        SETTINGS: json.dumps(settings, indent=1) + "\n",
        "requirements.txt": requirements(course),
    }
    if pip_config is not None:
        texts["pip.conf"] = _read(pip_config).decode()
    _check(course, assignment, files)
    temporary = destination.with_name(f".{destination.name}.writing")
    try:
        temporary.touch(mode=0o600)
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
            for name in sorted({*files, *texts}):
                content = texts[name].encode() if name in texts else _read(files[name])
                archive.writestr(_entry(name), content)
        temporary.replace(destination)
    finally:
        temporary.unlink(missing_ok=True)
    return sorted({*files, *texts})


def requirements(course: Course) -> str:
    """What both packages need, without themselves: they are run from where they lie."""
    wanted: dict[str, None] = {}
    for name in ("lib", "autograder"):
        project = tomllib.loads((course.repository / name / "pyproject.toml").read_text("utf-8"))
        wanted.update(dict.fromkeys(project["project"]["dependencies"]))
    names = [text for text in wanted if re.split(r"[<>=\[;~! ]", text)[0] not in OWN]
    return "\n".join(sorted(names)) + "\n"


def _files(course: Course, assignment: Assignment) -> Iterator[tuple[str, Path]]:
    """Names in the archive and where each is read from."""
    root = course.repository
    for name in ("setup.sh", "run_autograder"):
        yield name, FILES / name
    hidden, release = course.hidden_tests(assignment.id), course.release_notebook(assignment.id)
    if not release.is_file():
        raise CourseError(f"{release} is missing. Make it: autograder build {assignment.id}")
    named = [root / "course.toml", root / "constraints.txt", hidden, release]
    named += sorted(hidden.parent.glob("conftest.py"))
    packages = [root / "lib" / "steerlab", root / "autograder" / "autograder"]
    named += [path for package in packages for path in sorted(package.rglob("*"))]
    for path in named:
        within = path.relative_to(root)
        if path.is_dir() or LEFT_OUT & set(within.parts) or path.name.startswith("."):
            continue
        yield within.as_posix(), path


def _check(course: Course, assignment: Assignment, files: dict[str, Path]) -> None:
    """No canary but the hidden tests' own: a solution or a mistake would carry one."""
    own = course.hidden_tests(assignment.id)
    for name, path in files.items():
        if path != own and CANARY.search(_read(path).decode("utf-8", "replace")):
            raise CourseError(
                f"{path} holds a canary, so it is something that must not leave ({name}): "
                "nothing was written."
            )


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, WHEN)
    script = name in ("setup.sh", "run_autograder")
    mode = stat.S_IFREG | (0o700 if script else 0o600)
    entry.external_attr = mode << 16
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise CourseError(f"{path} cannot be read ({error.strerror}).") from error
