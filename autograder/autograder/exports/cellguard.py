"""Cells of a CSV that a spreadsheet would run: made plain text, numbers left as they are."""

from __future__ import annotations

import re

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
