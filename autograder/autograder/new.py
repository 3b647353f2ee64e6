"""`autograder new ID`: a small assignment that works, for an author to turn into another one.

The files in `skeleton/` are filled in and put where the course keeps an assignment's parts, and two
tables get an entry: `course.toml`, and the tasks that `steerlab check` knows. All of it or nothing.
"""

from __future__ import annotations

import ast
import json
import keyword
import os
import re
import secrets
import tempfile
import tomllib
from collections.abc import Mapping
from pathlib import Path

from .course import Course, CourseError, load_course

TEMPLATES = Path(__file__).parent / "skeleton"
SUFFIX = ".template"
ID = re.compile(r"(\d\d)_([a-z][a-z0-9]*(?:_[a-z0-9]+)*)")
LONGEST_ID = 40
TASKS_FILE = "lib/steerlab/handin.py"


def new(course: Course, assignment_id: str, title: str | None = None) -> list[Path]:
    """Write the skeleton of an assignment; the files, those that were changed last.

    title: what students read (default: made from the id). Raises CourseError, with everything as it
    was, for an id that is malformed or taken, and where a file of it is there already.
    """
    number, topic = _parts(assignment_id)
    _must_be_free(course, assignment_id, number)
    title = (topic.replace("_", " ").capitalize() if title is None else title).strip()
    if not title or not title.isprintable():
        raise CourseError("The title is empty or has a line break in it: give one line of text.")
    facts = {
        "id": assignment_id,
        "number": number,
        "topic": topic,
        "title": title,
        "canary": f"canary-{secrets.token_hex(16)}",
    }
    made = {
        course.repository / place: _filled(template, facts)
        for place, template in _places(assignment_id, topic).items()
    }
    folders = [
        course.repository / place / assignment_id
        for place in ("assignments", "solutions", "autograder/mistakes")
    ]
    for path in (*folders, *made):
        if path.exists() or path.is_symlink():
            raise CourseError(
                f"{path} is there already, although course.toml has no {assignment_id}: something "
                "half-written, or somebody's work. Move it away or delete it; nothing was changed."
            )
    entry = _filled(TEMPLATES / f"course_entry.toml{SUFFIX}", facts | {"title": _in_toml(title)})
    toml, tasks = course.repository / "course.toml", course.repository / TASKS_FILE
    # course.toml comes last: an assignment that it names is there whole.
    changed = {
        tasks: _with_tasks(tasks, assignment_id, entry),
        toml: toml.read_text("utf-8").rstrip("\n") + "\n" + entry,
    }
    _write_all(made, changed)
    return [*made, *changed]


def _parts(assignment_id: str) -> tuple[str, str]:
    found = ID.fullmatch(assignment_id)
    if not found or len(assignment_id) > LONGEST_ID or keyword.iskeyword(found[2]):
        raise CourseError(
            f"{assignment_id!r} is no id for an assignment: two digits, then small letters, digits and "
            f"single underscores, as in 08_my_topic; at most {LONGEST_ID} characters, and no word of "
            "Python's own after the number."
        )
    return found[1], found[2]


def _must_be_free(course: Course, assignment_id: str, number: str) -> None:
    if assignment_id in course.assignments:
        raise CourseError(f"course.toml has {assignment_id} already; nothing was changed.")
    taken = {name[:2]: name for name in course.assignments}
    if number in taken:
        free = next(f"{n:02}" for n in range(1, 101) if f"{n:02}" not in taken)
        raise CourseError(
            f"The number {number} is that of {taken[number]}: take another, such as {free}."
        )


def _places(assignment_id: str, topic: str) -> dict[str, Path]:
    """Where each template's file goes, by its path in the repository."""
    bank = f"autograder/mistakes/{assignment_id}"
    places = {
        f"solutions/{assignment_id}.py": TEMPLATES / f"solution.py{SUFFIX}",
        f"lib/steerlab/checks/{topic}.py": TEMPLATES / f"check.py{SUFFIX}",
        f"autograder/hidden_tests/test_{assignment_id}.py": TEMPLATES / f"hidden_tests.py{SUFFIX}",
        f"{bank}/survivors.toml": TEMPLATES / f"survivors.toml{SUFFIX}",
    }
    for template in sorted((TEMPLATES / "answers").glob(f"*.py{SUFFIX}")):
        places[f"{bank}/{template.name.removesuffix(SUFFIX)}"] = template
    return places


def _filled(template: Path, facts: Mapping[str, str]) -> str:
    text = template.read_text("utf-8")
    for name, value in facts.items():
        text = text.replace("{{" + name + "}}", value)
    return text


def _in_toml(title: str) -> str:
    """A title as it stands between the quotes of a TOML string."""
    return json.dumps(title, ensure_ascii=False)[1:-1]


def _with_tasks(path: Path, assignment_id: str, entry: str) -> str:
    """The module that `steerlab check` knows the tasks from, with those of a course.toml entry."""
    raw = tomllib.loads(entry)["assignments"][assignment_id]
    text = path.read_text("utf-8")
    table = next(
        (
            node.value
            for node in ast.parse(text).body
            if isinstance(node, ast.AnnAssign)
            and isinstance(node.target, ast.Name)
            and node.target.id == "TASKS"
        ),
        None,
    )
    if not isinstance(table, ast.Dict) or table.end_lineno is None:
        raise CourseError(f"{path} has no table TASKS to put the assignment's tasks into.")
    if assignment_id in [key.value for key in table.keys if isinstance(key, ast.Constant)]:
        raise CourseError(
            f"TASKS in {path} has {assignment_id} already, although course.toml has not: something "
            "half-written. Take that entry out; nothing was changed."
        )
    names = ", ".join(json.dumps(name) for name in (*raw["tasks"], *raw["written"]))
    lines = text.splitlines(keepends=True)
    lines.insert(table.end_lineno - 1, f'    "{assignment_id}": ({names}),\n')
    return "".join(lines)


def _write_all(made: Mapping[Path, str], changed: Mapping[Path, str]) -> None:
    """Make new files and change others: every one of them or, after any exception, none."""
    before = {path: path.read_bytes() for path in changed}
    folders = {
        folder for path in made for folder in path.parents if not folder.exists()
    }  # those that are made on the way
    try:
        for path, text in made.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        for path, text in changed.items():
            _replace(path, text.encode())
        load_course([*changed][-1].parent)  # course.toml, as it is now
    except BaseException as error:
        for path, content in before.items():
            if path.read_bytes() != content:
                _replace(path, content)
        for path in made:
            path.unlink(missing_ok=True)
        for folder in sorted(folders, reverse=True):  # the innermost first
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        if isinstance(error, OSError):
            raise CourseError(f"{error}; nothing was changed.") from error
        raise


def _replace(path: Path, content: bytes) -> None:
    """Put new content in a file's place at one stroke, with its permissions."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(name, path.stat().st_mode & 0o777)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
