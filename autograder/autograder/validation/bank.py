"""The mistake bank, `mistakes/<id>/`: wrong answers, unusual right ones, and mutants that survive.

Each `.py` file replaces one graded function of the solution: its first line says what it does, TASK
which function it is, EXPECT whether it "loses" points or "keeps" all. `survivors.toml` says of each
automatic mutant that loses nothing why that is so.
"""

from __future__ import annotations

import ast
import json
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..course import Assignment, Course, CourseError

EQUIVALENT, SURVIVES = "equivalent: ", "survives: "
MutantId = tuple[str, str, str, str, int]  # task, operator, line, what it becomes, occurrence


@dataclass(frozen=True)
class Mistake:
    """One entry of the mistake bank."""

    path: Path
    title: str
    task: str
    loses: bool
    source: str

    @property
    def label(self) -> str:
        """One line for a report."""
        return f"{self.path.stem} ({self.title})"


def bank_folder(course: Course, assignment: Assignment) -> Path:
    """Where an assignment's bank lies."""
    return course.repository / "autograder" / "mistakes" / assignment.id


def read_mistakes(course: Course, assignment: Assignment) -> list[Mistake]:
    """The wrong and the unusual answers; raises CourseError for one that does not say what it is."""
    found = []
    for path in sorted(bank_folder(course, assignment).glob("*.py")):
        text = path.read_text(encoding="utf-8")
        try:
            tree = ast.parse(text)
        except SyntaxError as error:
            raise CourseError(f"{path}, line {error.lineno}: {error.msg}.") from error
        values = {
            node.targets[0].id: node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and isinstance(node.value, ast.Constant)
        }
        title = (ast.get_docstring(tree) or "").split("\n")[0]
        task, expect = values.get("TASK"), values.get("EXPECT")
        if not title or task not in assignment.tasks or expect not in ("loses", "keeps"):
            raise CourseError(
                f"{path}: needs a docstring, TASK = one of {', '.join(assignment.tasks)}, "
                'and EXPECT = "loses" or "keeps".'
            )
        found.append(Mistake(path, title, str(task), expect == "loses", text))
    return found


def survivors_file(course: Course, assignment: Assignment) -> Path:
    """Where the reasons of surviving mutants stand."""
    return bank_folder(course, assignment) / "survivors.toml"


def read_survivors(path: Path) -> dict[MutantId, str]:
    """Reasons by mutant; none where there is no file. Raises CourseError for an entry without one."""
    if not path.is_file():
        return {}
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise CourseError(f"{path} cannot be read: {error}.") from error
    reasons: dict[MutantId, str] = {}
    for number, entry in enumerate(raw.get("survivor", []), start=1):
        try:
            key = (entry["task"], entry["operator"], entry["line"], entry["becomes"])
            mutant, reason = (*key, entry.get("occurrence", 1)), entry["reason"]
        except KeyError as missing:
            raise CourseError(f"{path}: entry {number} lacks the key {missing}.") from missing
        if not any(reason.startswith(kind) and reason != kind for kind in (EQUIVALENT, SURVIVES)):
            raise CourseError(
                f"{path}: the reason of entry {number} must begin with '{EQUIVALENT}' (no test "
                f"could tell it from the solution) or '{SURVIVES}', and then say why."
            )
        if mutant in reasons:
            raise CourseError(f"{path}: entry {number} repeats an earlier one.")
        reasons[mutant] = reason
    return reasons


def survivor_entry(mutant: MutantId, reason: str) -> str:
    """An entry of survivors.toml."""
    keys = ("task", "operator", "line", "becomes", "occurrence")
    values: dict[str, Any] = dict(zip(keys, mutant, strict=True))
    if values["occurrence"] == 1:
        del values["occurrence"]
    # A JSON string is a TOML basic string, as long as it is not escaped to surrogate pairs.
    lines = [
        f"{key} = {json.dumps(value, ensure_ascii=False)}"
        for key, value in (values | {"reason": reason}).items()
    ]
    return "\n".join(["[[survivor]]", *lines])
