"""Cells that a spreadsheet would run: in no table, LMS file or list of names that an instructor opens.

A student chooses a name, an email and a comment in the LMS, and in many set-ups the id, too.
"""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from autograder.exports import cellguard
from autograder.exports.cellguard import STARTS
from made_up_class import MadeUpClass

from .leaving import class_files

CALC = "cmd|' !A0"
STARTS_OF_FORMULAS = ("=", "+", "-", "@", "\t=", "\r=", "\n=", "＝", "＋", "－", "＠")
#: As ids they come from folders that somebody has laid out; a roster takes none of them but the last.
IDS = [*(f"{start}{CALC}{n}" for n, start in enumerate(STARTS_OF_FORMULAS)), "@SUM"]
TABLES = {"csv.csv", "gradescope.csv", "canvas.csv", "moodle.csv", "names.csv"}


@pytest.fixture(scope="module")
def klass(tmp_path_factory: pytest.TempPathFactory) -> MadeUpClass:
    """A class whose people have formulas for ids, names, addresses, sections and groups."""
    made = MadeUpClass(tmp_path_factory.mktemp("spreadsheets"))
    people = [["id", "name", "email", "lms_id", "section", "group"]]
    for index, start in enumerate(("=", "+", "-", "@")):
        cells = [f"{start}{CALC}{index}{column}" for column in ("n", "e", "l", "s", "g")]
        people.append([f"person{index}", *cells])
    people.append(["@SUM", "Somebody", "", "", "", ""])
    with (made.folder.root / "roster.csv").open("w", newline="") as file:
        csv.writer(file).writerows(people)
    for index, student in enumerate([*IDS, *(row[0] for row in people[1:5])]):
        made.add(student, "right" if index % 2 else "positive", "right", f"mine = {index}")
    rows = made.grade()
    assert len(rows) == len(IDS) + 4
    # nbgrader takes no id that begins with a blank: such a student is ungraded, and in the tables.
    assert all((row.status == "graded") == (name == name.strip()) for name, row in rows.items())
    return made


def tables_of(klass: MadeUpClass, scratch: Path) -> dict[str, list[list[str]]]:
    """Every table that leaves, by its file's name, as a spreadsheet reads it."""
    comment = f"={CALC}"
    return {
        path.name: list(csv.reader(io.StringIO(path.read_bytes().decode(), newline="")))
        for path in class_files(klass.folder, "01_toy", scratch, comment)
        if path.suffix == ".csv"
    }


def formulas(rows: list[list[str]]) -> set[str]:
    """Cells that a spreadsheet would run."""
    return {cell for row in rows for cell in row if cell.startswith(STARTS) and len(cell) > 1}


def test_no_table_of_a_class_holds_a_formula(klass: MadeUpClass, tmp_path: Path) -> None:
    found = tables_of(klass, tmp_path)
    assert set(found) == TABLES
    for name, rows in found.items():
        assert formulas(rows) == set(), name
        text = "\n".join(cell for row in rows for cell in row)
        assert all(f"'{student}" in text for student in IDS if name != "gradescope.csv"), name


def test_without_the_guard_every_table_holds_formulas(
    klass: MadeUpClass, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cellguard, "guarded", str)
    for name, rows in tables_of(klass, tmp_path).items():
        assert len({cell[0] for cell in formulas(rows)}) >= 4, name
