"""Cells of a CSV that a spreadsheet would run: made plain text, numbers left as they are."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable

#: What makes Excel, LibreOffice or Google Sheets read a cell as a formula, full-width forms too.
STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_NUMBER = re.compile(r"[+-]?(?:\d+(?:[.,]\d+)*|[.,]\d+)(?:[eE][+-]?\d+)?\s?%?")


def guarded(text: str) -> str:
    """A cell that no spreadsheet takes for a formula: an apostrophe before it, if it needs one.

    Numbers stay, with sign, decimal comma, exponent or percent sign, and so does a lone dash.
    """
    if not text.startswith(STARTS) or len(text) == 1 or _NUMBER.fullmatch(text):
        return text
    return "'" + text


def csv_text(rows: Iterable[list[str]], delimiter: str = ",", newline: str = "\n") -> str:
    """Rows as CSV text, every cell guarded and whole.

    Python's writer quotes only those line breaks that end its own lines: a lone carriage return
    would begin a new row, and behind it a formula. So it writes one row at a time, with both.
    """
    lines = []
    for row in rows:
        out = io.StringIO(newline="")
        writer = csv.writer(out, delimiter=delimiter, lineterminator="\r\n")
        writer.writerow([guarded(cell) for cell in row])
        lines.append(out.getvalue().removesuffix("\r\n") + newline)
    return "".join(lines)
