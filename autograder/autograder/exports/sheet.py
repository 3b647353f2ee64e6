"""A CSV file that an LMS exported: read, filled in, and written back in the style that it came in."""

from __future__ import annotations

import csv
import io
import re
from dataclasses import dataclass, field
from pathlib import Path

from ..course import CourseError
from ..grading.feedback import points_text
from ..standings import COMPLETE, Standing
from .cellguard import guarded

_DECIMAL_COMMA = re.compile(r"\s*\d+,\d{1,5}\s*")


@dataclass
class Sheet:
    """Rows of cells with what is needed to write them as they were: separator, line ends, BOM."""

    path: Path
    rows: list[list[str]]
    delimiter: str = ","
    newline: str = "\n"
    bom: bool = False
    decimal_comma: bool = False

    @classmethod
    def read(cls, path: Path) -> Sheet:
        """Read a file of comma- or semicolon-separated UTF-8 text; raises CourseError."""
        try:
            content = path.read_bytes()
        except OSError as error:
            raise CourseError(f"{path} cannot be read: {error.strerror}.") from error
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise CourseError(
                f"{path} is not UTF-8 text. Export it from the LMS again, and fill in that file "
                "before a spreadsheet has saved it."
            ) from error
        head = text.split("\n", 1)[0]
        delimiter = max(",;\t", key=head.count)
        try:
            rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
        except csv.Error as error:
            raise CourseError(f"{path} is no CSV file: {error}.") from error
        if not rows or len(rows[0]) < 2:
            raise CourseError(f"{path} has no header row. Export it from the LMS again.")
        return cls(
            path,
            rows,
            delimiter,
            "\r\n" if "\r\n" in text else "\n",
            content.startswith(b"\xef\xbb\xbf"),
            delimiter != "," and any(_DECIMAL_COMMA.fullmatch(cell) for r in rows for cell in r),
        )

    def column(self, *names: str) -> int | None:
        """The first column that has one of these headers, letter case aside."""
        headers = [cell.strip().casefold() for cell in self.rows[0]]
        for name in names:
            if name.casefold() in headers:
                return headers.index(name.casefold())
        return None

    def cell(self, row: int, column: int | None) -> str:
        """A cell's text without outer blanks; empty where the row is shorter."""
        found = self.rows[row]
        return found[column].strip() if column is not None and column < len(found) else ""

    def put(self, row: int, column: int, text: str) -> None:
        """Write a cell, making the row as long as it must be."""
        found = self.rows[row]
        found.extend([""] * (column + 1 - len(found)))
        found[column] = text

    def number(self, row: int, column: int | None) -> float | None:
        """A cell as a number, with a decimal comma where the file uses it; None for other text."""
        text = self.cell(row, column)
        if self.decimal_comma:
            text = text.replace(".", "").replace(",", ".")
        try:
            return float(text)
        except ValueError:
            return None

    def points(self, value: float) -> str:
        """Points as this file writes numbers."""
        text = points_text(value)
        return text.replace(".", ",") if self.decimal_comma else text

    def text(self) -> str:
        """The file's text; a cell that a spreadsheet would run is made plain text."""
        out = io.StringIO(newline="")
        writer = csv.writer(out, delimiter=self.delimiter, lineterminator=self.newline)
        writer.writerows([guarded(cell) for cell in row] for row in self.rows)
        return ("\ufeff" if self.bom else "") + out.getvalue()


@dataclass
class Filled:
    """An LMS file with scores in it.

    written: students whose score stands in it now. left: sentences about who has none, and why.
    """

    text: str
    written: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


class Directory:
    """Whose row is it: people by what an LMS knows of them."""

    def __init__(self, standings: list[Standing]) -> None:
        self.standings = {standing.student: standing for standing in standings}
        self._by: dict[str, dict[str, set[str]]] = {"student": {}, "lms_id": {}, "email": {}}
        for standing in standings:
            person = standing.person
            known = {
                "student": standing.student,
                "lms_id": person.lms_id if person else "",
                "email": person.email if person else "",
            }
            for kind, value in known.items():
                if value and value.strip():
                    self._by[kind].setdefault(value.strip().casefold(), set()).add(standing.student)

    def find(self, where: str, clues: list[tuple[str, str]]) -> Standing | None:
        """The one person whom the clues `(kind, value)` point to; raises CourseError for several."""
        found: set[str] = set()
        for kind, value in clues:
            found |= self._by[kind].get(value.casefold(), set()) if value else set()
        if len(found) > 1:
            raise CourseError(
                f"{where} fits several people ({', '.join(sorted(found))}). Mend their lms_id and "
                "email in roster.csv."
            )
        return self.standings[found.pop()] if found else None


def fill_row(
    sheet: Sheet, row: int, column: int, standing: Standing, most: float, ours: float, scale: bool
) -> str:
    """Write one person's final score; returns why not, or an empty text.

    most: the LMS's maximum; ours: the assignment's. Raises CourseError where they differ and
    `scale` was not asked for.
    """
    if abs(most - ours) > 1e-9 and not scale:
        raise CourseError(
            f"The LMS counts {points_text(most)} points and the assignment has {points_text(ours)}."
            " Change the maximum there, or let the scores be scaled: --scale."
        )
    if standing.final is None:
        kept = sheet.cell(row, column)
        note = f"; {kept} was left" if kept else ""
        return f"{standing.student}: {standing.status} ({standing.why}){note}"
    assert standing.status == COMPLETE
    sheet.put(row, column, sheet.points(standing.final * most / ours if scale else standing.final))
    return ""


def not_in_file(standings: list[Standing], seen: set[str], where: Path) -> list[str]:
    """Sentences about people who have a score and no row."""
    return [
        f"{standing.student}: has a final score and no row in {where.name}; give lms_id or email "
        "in roster.csv"
        for standing in standings
        if standing.final is not None and standing.student not in seen
    ]
