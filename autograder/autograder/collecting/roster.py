"""The class: `roster.csv` in the course folder, and whom a name or number of an LMS means.

Columns: id (the name of the student's folders), name, email, lms_id, section, group, extension_hours.
Only id must be there. A column `extension_hours:<assignment>` holds for that assignment alone. Nobody
is ever guessed: what fits no one, or more than one person, is nobody.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from ..course import CourseError, CourseFolder

COLUMNS = ("id", "name", "email", "lms_id", "section", "group", "extension_hours")
_ID = re.compile(r"[\w@][\w@.-]*")


@dataclass(frozen=True)
class Person:
    """One student.

    extensions: hours by assignment, "" for every other; None where the roster says nothing.
    """

    id: str
    name: str = ""
    email: str = ""
    lms_id: str = ""
    section: str = ""
    group: str = ""
    extensions: dict[str, float] = field(default_factory=dict, hash=False)

    def extension(self, assignment_id: str) -> timedelta | None:
        """How much later this student may hand an assignment in; None where nothing is said."""
        hours = self.extensions.get(assignment_id, self.extensions.get(""))
        return None if hours is None else timedelta(hours=hours)


def read_roster(folder: CourseFolder) -> list[Person]:
    """Everybody in `roster.csv`; raises CourseError with the line at fault."""
    path = folder.root / "roster.csv"
    try:
        rows = csv_rows(path)
    except FileNotFoundError as error:
        raise CourseError(
            f"{path} is missing. Make it, a CSV file with the columns {', '.join(COLUMNS)} "
            "(only id must be filled)."
        ) from error
    people: list[Person] = []
    seen: dict[tuple[str, str], int] = {}
    for number, row in rows:
        where = f"{path}, line {number}"
        person = _person(row, where)
        keys = (("id", person.id), ("email", person.email), ("lms_id", person.lms_id))
        for kind, value in keys:
            first = seen.setdefault((kind, value.casefold()), number) if value else number
            if first != number:
                raise CourseError(f"{where}: the {kind} {value} stands in line {first} already.")
        people.append(person)
    return people


def csv_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """A CSV file's rows with their line numbers, keys in lower case; raises CourseError.

    Reads what spreadsheets write: a byte order mark, semicolons or tabs for commas.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise CourseError(f"{path} is not UTF-8 text. Save it as CSV UTF-8.") from error
    first = text.lstrip().split("\n", 1)[0]
    delimiter = max(",;\t", key=first.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        return [
            (
                reader.line_num,
                {str(k).strip().lower(): str(v or "").strip() for k, v in row.items() if k},
            )
            for row in reader
            if any(value and str(value).strip() for value in row.values())
        ]
    except csv.Error as error:
        raise CourseError(f"{path}, line {reader.line_num}: {error}.") from error


def _person(row: dict[str, str], where: str) -> Person:
    if "id" not in row:
        raise CourseError(f"{where}: there is no column id. The columns are {', '.join(COLUMNS)}.")
    if not _ID.fullmatch(row["id"]):
        raise CourseError(
            f"{where}: the id {row['id']!r} cannot name a folder. Use letters, digits, . _ @ and -, "
            "and begin with a letter, a digit or _."
        )
    extensions = {}
    for column, text in row.items():
        name, _, assignment = column.partition(":")
        if name != "extension_hours" or not text:
            continue
        try:
            hours = float(text.replace(",", "."))
        except ValueError:
            hours = -1.0
        if not 0 <= hours < 24 * 365:
            raise CourseError(f"{where}: {column} = {text} is not a number of hours from 0 up.")
        extensions[assignment] = hours
    plain = {name: row.get(name, "") for name in COLUMNS[:-1]}
    return Person(**plain, extensions=extensions)


class Roster:
    """Finds people by what an LMS calls them; every question has one answer or none."""

    def __init__(self, people: Iterable[Person]) -> None:
        self.people = {person.id: person for person in people}
        self._by: dict[tuple[str, str], list[Person]] = defaultdict(list)
        for person in self.people.values():
            for kind in ("id", "email", "lms_id"):
                self._by[kind, getattr(person, kind).casefold()].append(person)
            self._by["name", spoken(person.name)].append(person)
            self._by["group", spoken(person.group)].append(person)
            for slug in canvas_slugs(person.name):
                self._by["slug", slug].append(person)

    def one(self, kind: str, value: str) -> Person | None:
        """The one person whose id, email, lms_id, name or Canvas slug is `value`."""
        value = spoken(value) if kind == "name" else value.casefold()
        found = self._by.get((kind, value), []) if value else []
        return found[0] if len(found) == 1 else None

    def count(self, kind: str, value: str) -> int:
        """How many people that would be."""
        value = spoken(value) if kind == "name" else value.casefold()
        return len(self._by.get((kind, value), [])) if value else 0

    def members(self, group: str) -> list[Person]:
        """Everybody in a group."""
        return list(self._by.get(("group", spoken(group)), [])) if group else []


def spoken(name: str) -> str:
    """A name for comparison: `Lovelace, Ada` and `ada  lovelace` are the same."""
    last, comma, first = unicodedata.normalize("NFKC", name).partition(",")
    ordered = f"{first} {last}" if comma else last
    return " ".join(re.sub(r"[\W_]+", " ", ordered.casefold()).split())


def canvas_slugs(name: str) -> set[str]:
    """What Canvas may make of a name in a file's name: last name first, letters and digits alone."""
    name = unicodedata.normalize("NFKC", name)
    if "," in name:
        return {re.sub(r"\W", "", name).lower()}
    words = name.split()
    turned = {"".join(words[at:] + words[:at]) for at in range(len(words))}
    return {re.sub(r"\W", "", slug).lower() for slug in turned}
