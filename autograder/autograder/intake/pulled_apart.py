"""Undo the editor's "merge cells": a cell that holds the marker of a later cell is cut there.

Also frees what students typed into score cells, which grading replaces by the release's own.
"""

from __future__ import annotations

import re
from itertools import pairwise

import nbformat
from nbformat import NotebookNode

from .. import cells
from ..cells import Slot
from .handed_in import new_cell
from .matching import normalised
from .python_source import compiles

_NOTHING_YET = re.compile(r"^\s*(#.*|%.*|!.*)?$")
_CODE_MARKERS = (cells.ANSWER_MARKER, cells.SCORE_MARKER)


def pulled_apart(
    given: list[NotebookNode], assignment_id: str, slots: list[Slot], repairs: list[str]
) -> list[NotebookNode]:
    """The submitted cells with merged ones cut and score cells emptied; `given` stays as it is."""
    release_scores = {normalised(s.cell.source) for s in slots if s.role == cells.SCORE}
    score_ids = {str(s.cell.get("id")) for s in slots if s.role == cells.SCORE}
    result: list[NotebookNode] = []
    for cell in given:
        pieces = _pieces(cell, assignment_id)
        if len(pieces) > 1:
            repairs.append("Cells that had been merged into one were taken apart again.")
        for piece in pieces:
            if _is_score(piece, score_ids) and normalised(piece.source) not in release_scores:
                piece = _freed(piece, repairs)
            result.append(piece)
    return result


def _pieces(cell: NotebookNode, assignment_id: str) -> list[NotebookNode]:
    """The cell, cut before each marker that something else stands above."""
    lines = cell.source.split("\n")
    cuts = [at for at, line in enumerate(lines) if at and _is_marker(line, assignment_id)]
    cuts = [at for at in cuts if not all(_NOTHING_YET.match(line) for line in lines[:at])]
    if not cuts:
        return [cell]
    bounds = [0, *cuts, len(lines)]
    sources = ["\n".join(lines[start:end]).strip("\n") for start, end in pairwise(bounds)]
    if cell.cell_type == "code" and compiles(cell.source) and not all(map(compiles, sources)):
        return [cell]  # the marker stands inside a text or a function
    pieces = []
    for number, source in enumerate(sources):
        written = any(cells.WRITTEN_MARKER.match(line) for line in source.split("\n")[:1])
        piece = new_cell("markdown" if written else cell.cell_type, source)
        piece["metadata"] = nbformat.from_dict({} if number else dict(cell.metadata))
        piece["id"] = "" if number else cell.get("id", "")
        pieces.append(piece)
    return pieces


def _is_marker(line: str, assignment_id: str) -> bool:
    if line[:1].isspace():
        return False
    patterns = (*_CODE_MARKERS, cells.WRITTEN_MARKER)
    found = [match for pattern in patterns if (match := pattern.match(line))]
    return any(match.group(1) == assignment_id for match in found)


def _is_score(cell: NotebookNode, score_ids: set[str]) -> bool:
    if cells.marker(cell.source, cells.ANSWER_MARKER):
        return False
    return bool(cells.marker(cell.source, cells.SCORE_MARKER)) or cell.get("id") in score_ids


def _freed(cell: NotebookNode, repairs: list[str]) -> NotebookNode:
    """What a student typed into a score cell, as a cell of its own; else the cell as it is."""
    rest = [line for line in cell.source.split("\n") if not cells.SCORE_MARKER.match(line)]
    if cell.cell_type != "code" or all(_NOTHING_YET.match(line) for line in rest):
        return cell
    repairs.append("Code in a score cell was moved into a cell of its own.")
    return new_cell("code", "\n".join(rest).strip("\n"))
