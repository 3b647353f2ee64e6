"""Intake: one submission folder in, one clean notebook or one clear refusal out.

A clean notebook is built from the release: its metadata, ids, score cells and order, with the
student's sources in them. Nothing of the student's metadata is read for points, ids or locks, and
outputs are dropped. Every repair is a sentence that the student's feedback shows.
"""

from __future__ import annotations

import copy
import sys
from dataclasses import dataclass
from pathlib import Path

from nbformat import NotebookNode

from .. import cells
from ..cells import Slot
from .handed_in import Refused, new_cell, parse_notebook, read_submission
from .matching import Match, match_cells, normalised, unanswered
from .pulled_apart import pulled_apart
from .python_source import (
    begins_indented,
    compiles,
    definition,
    newer_python_needed,
    parsed,
)

__all__ = ["Clean", "Refused", "clean_notebook", "parse_notebook", "parsed", "take_in"]

#: Into how many cells an answer may have been split.
MAX_PARTS = 12


@dataclass(frozen=True)
class Clean:
    """A submission made fit to run, and what it took."""

    notebook: NotebookNode
    repairs: tuple[str, ...] = ()


def take_in(folder: Path, assignment_id: str, release: NotebookNode) -> Clean:
    """Read a submission folder and clean its notebook; raises Refused."""
    notebook, repairs = read_submission(folder, assignment_id)
    clean = clean_notebook(notebook, assignment_id, release)
    return Clean(clean.notebook, tuple(repairs) + clean.repairs)


def clean_notebook(submitted: NotebookNode, assignment_id: str, release: NotebookNode) -> Clean:
    """Put a submission's sources into the release's frame; raises Refused."""
    repairs: list[str] = []
    slots = cells.slots_of(release)
    given = pulled_apart(submitted.cells, assignment_id, slots, repairs)
    match = match_cells(assignment_id, slots, given)
    if not any(match.by_slot.get(slot.index) for slot in slots if slot.role == cells.ANSWER):
        raise Refused(_not_recognised(given, assignment_id))
    chosen = {
        slot.index: _choose(slot, match.by_slot.get(slot.index, []), given, match, repairs)
        for slot in slots
    }
    picked = (chosen[slot.index] for slot in slots)
    order = [index for index in picked if index is not None and index not in match.unmarked]
    if order != sorted(order):
        repairs.append("Cells stood in another order than in the assignment; they were put back.")
    anchors = _anchors(given, match, chosen)
    result = [_added(given[index]) for index in anchors.get(-1, [])]
    for slot in slots:
        cell = _filled(slot, chosen[slot.index], given, repairs)
        extra = [_added(given[index]) for index in anchors.get(slot.index, [])]
        if slot.role == cells.ANSWER:
            _rejoin(cell, extra, str(slot.task), repairs)
            _fetch_definition(cell, slot, slots, given, repairs)
        result.append(cell)
        result.extend(extra)
    _check_python(result)
    frame = {key: copy.deepcopy(value) for key, value in release.items() if key != "cells"}
    notebook = NotebookNode(cells=_score_cells_after_answers(result), **frame)
    _renumber(notebook)
    return Clean(notebook, tuple(dict.fromkeys(repairs)))


def _not_recognised(given: list[NotebookNode], assignment_id: str) -> str:
    """Why a notebook without a graded cell is refused."""
    markers = (cells.marker(cell.source, cells.ANSWER_MARKER) for cell in given)
    if others := sorted({found[0] for found in markers if found}):
        return f"This is the notebook of {', '.join(others)}. Hand in {assignment_id}.ipynb."
    return (
        f"No graded cell of {assignment_id} was recognised. Hand in the notebook that came with "
        "the assignment; each graded cell begins with its line '# graded: …'."
    )


def _choose(
    slot: Slot,
    candidates: list[int],
    given: list[NotebookNode],
    match: Match,
    repairs: list[str],
) -> int | None:
    """Which of several copies of a cell counts: the last that differs from the release."""
    if slot.role == cells.SCORE or not candidates:
        return None
    changed = [index for index in candidates if not unanswered(given[index].source, slot)]
    best = (changed or candidates)[-1]
    for index in candidates:
        same = normalised(given[index].source) == normalised(given[best].source)
        if index != best and (same or index not in changed):
            match.dropped.add(index)
    if best in match.unmarked:
        repairs.append(f"{slot.task}: its answer stood in a cell without its marker.")
    elif len(candidates) > 1 and slot.task:
        repairs.append(
            f"{slot.task}: the marker stands in {len(candidates)} cells; the last one that differs "
            "from the assignment was graded."
        )
    return best


def _anchors(
    given: list[NotebookNode], match: Match, chosen: dict[int, int | None]
) -> dict[int, list[int]]:
    """Added cells by the slot that they follow in the submission (-1: before every known cell).

    A copy that was not chosen goes right before the one that was, so that the later still counts.
    """
    slot_at = {index: slot for slot, index in chosen.items() if index is not None}
    copies = {index: slot for slot, found in match.by_slot.items() for index in found}
    anchors: dict[int, list[int]] = {}
    losers: list[tuple[int, int]] = []
    current = -1
    for index in range(len(given)):
        if index in slot_at:
            current = slot_at[index]
        elif index in match.dropped or not given[index].source.strip():
            continue
        elif index in copies:
            losers.append((copies[index] - 1, index))
        else:
            anchors.setdefault(current, []).append(index)
    for slot, index in losers:
        anchors.setdefault(slot, []).append(index)
    return anchors


def _added(given: NotebookNode) -> NotebookNode:
    cell = new_cell(given.cell_type, given.source)
    cells.note_role(cell, cells.ADDED)
    return cell


def _filled(
    slot: Slot, index: int | None, given: list[NotebookNode], repairs: list[str]
) -> NotebookNode:
    """The release's cell with the student's source in it, or the release's own where it is missing."""
    cell = copy.deepcopy(slot.cell)
    if cell.cell_type == "code":
        cell.outputs, cell.execution_count = [], None
    cells.note_role(cell, slot.role, slot.task)
    if slot.role == cells.SCORE:
        return cell
    if index is None:
        if slot.role in (cells.ANSWER, cells.WRITTEN):
            repairs.append(f"{slot.task}: its cell is missing; the assignment's own was put back.")
        elif slot.runs:
            repairs.append("A cell that later cells need was missing; it was put back.")
        return cell
    if given[index].cell_type != cell.cell_type and slot.role == cells.ANSWER:
        repairs.append(f"{slot.task}: its cell was not a code cell; it was made one again.")
    if slot.role != cells.INSTALL:
        cell.source = given[index].source
    return cell


def _rejoin(cell: NotebookNode, extra: list[NotebookNode], task: str, repairs: list[str]) -> None:
    """Put an answer cell that was split together again."""
    while (parts := _torn_off(cell.source, extra, task)) > 0:
        cell.source = "\n".join([cell.source, *(part.source for part in extra[:parts])])
        del extra[:parts]
        repairs.append(f"{task}: its cell had been split; the parts were put together.")


def _torn_off(source: str, extra: list[NotebookNode], task: str) -> int:
    """How many of the cells after an answer are its own rest: the fewest that make it whole."""
    whole = compiles(source)
    defined = definition(source, task) is not None
    joined = source
    torn = False
    for count, part in enumerate(extra[:MAX_PARTS], start=1):
        if part.cell_type != "code":
            return 0
        joined += "\n" + part.source
        torn = torn or begins_indented(part.source) or not (whole and compiles(part.source))
        missing = not defined and definition(joined, task) is not None
        if (torn or missing) and compiles(joined):
            return count
    return 0


def _fetch_definition(
    cell: NotebookNode,
    slot: Slot,
    slots: list[Slot],
    given: list[NotebookNode],
    repairs: list[str],
) -> None:
    """Copy a function that was written into another known cell to the cell of its task."""
    if not unanswered(cell.source, slot):
        return
    released = {normalised(other.cell.source) for other in slots}
    for other in reversed(given):
        if other.cell_type != "code" or normalised(other.source) in released:
            continue
        found = definition(other.source, str(slot.task))
        if found is not None and compiles(found):
            first_line = slot.cell.source.split("\n", 1)[0]
            cell.source = f"{first_line}\n{found}"
            repairs.append(f"{slot.task}: its function stood in another cell; it was graded there.")
            return


def _score_cells_after_answers(result: list[NotebookNode]) -> list[NotebookNode]:
    """Each score cell right after its answer cell, before anything that the student added there."""
    scores = {cells.task(cell): cell for cell in result if cells.role(cell) == cells.SCORE}
    ordered = []
    for cell in result:
        if cells.role(cell) != cells.SCORE:
            ordered.append(cell)
        if cells.role(cell) == cells.ANSWER and cells.task(cell) in scores:
            ordered.append(scores[cells.task(cell)])
    return ordered


def _renumber(notebook: NotebookNode) -> None:
    """Unique ids: the release's for its cells, counted ones for added cells."""
    counter = 0
    for cell in notebook.cells:
        if cells.role(cell) == cells.ADDED:
            counter += 1
            cell["id"] = f"added-{counter}"


def _check_python(result: list[NotebookNode]) -> None:
    """Refuse an answer that only a newer Python can read: a syntax error there would be our fault."""
    for cell in result:
        if cells.role(cell) not in (cells.ANSWER, cells.ADDED) or cell.cell_type != "code":
            continue
        if parsed(cell.source) is not None or cell.source.lstrip().startswith("%%"):
            continue
        if version := newer_python_needed(cell.source):
            raise Refused(
                f"needs Python {version}: a cell uses syntax that the grader's Python "
                f"{sys.version_info.major}.{sys.version_info.minor} cannot read."
            )
