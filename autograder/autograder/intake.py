"""Intake: one submission folder in, one clean notebook or one clear refusal out.

A clean notebook is built from the release: its metadata, ids, score cells and order, with the
student's sources in them. Nothing of the student's metadata is read for points, ids or locks, and
outputs are dropped. Every repair is a sentence that the student's feedback shows.
"""

from __future__ import annotations

import ast
import copy
import json
import os
import re
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from IPython.core.inputtransformer2 import TransformerManager
from nbformat import NotebookNode
from ruff.__main__ import find_ruff_bin

from . import cells
from .cells import Slot
from .matching import Match, match_cells, normalised

MAX_FILE_BYTES = 20_000_000
MAX_CELLS = 2_000
MAX_SOURCE_BYTES = 2_000_000
MAX_CELL_BYTES = 200_000


class Refused(Exception):
    """The submission cannot be graded; the message is one sentence saying why and what to hand in."""


@dataclass(frozen=True)
class Clean:
    """A submission made fit to run, and what it took."""

    notebook: NotebookNode
    repairs: tuple[str, ...] = ()


def take_in(folder: Path, assignment_id: str, release: NotebookNode) -> Clean:
    """Read a submission folder and clean its notebook; raises Refused."""
    path, repairs = find_notebook(folder, assignment_id)
    clean = clean_notebook(read_notebook(path), assignment_id, release)
    return Clean(clean.notebook, tuple(repairs) + clean.repairs)


def find_notebook(folder: Path, assignment_id: str) -> tuple[Path, list[str]]:
    """The notebook handed in, also under the names that browsers and file managers give."""
    for path in (folder, *sorted(folder.rglob("*"))):
        if path.is_symlink():
            raise Refused(
                "The submission contains a symbolic link. Hand in the notebook file itself."
            )
    notebooks = [path for path in sorted(folder.glob("*.ipynb")) if path.is_file()]
    exact = [path for path in notebooks if path.stem == assignment_id]
    if exact:
        others = len(notebooks) - 1
        note = [f"{others} other notebook(s) beside {assignment_id}.ipynb were not read."]
        return exact[0], note if others else []
    renamed = [path for path in notebooks if assignment_id in path.stem]
    candidates = renamed or notebooks
    if not candidates:
        raise Refused(f"There is no notebook in the submission. Hand in {assignment_id}.ipynb.")
    if len(candidates) > 1:
        names = ", ".join(path.name for path in candidates[:5])
        raise Refused(
            f"Several notebooks could be the submission ({names}). Hand in one, "
            f"named {assignment_id}.ipynb."
        )
    return candidates[0], [f"{candidates[0].name} was taken for {assignment_id}.ipynb."]


def read_notebook(path: Path) -> NotebookNode:
    """Parse an .ipynb file of any format version up to 4.5; raises Refused."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise Refused(
                "The submission is not an ordinary file. Hand in the notebook file itself."
            )
        if status.st_size > MAX_FILE_BYTES:
            raise Refused(
                f"The notebook is {status.st_size / 1e6:.0f} MB, more than the {MAX_FILE_BYTES // 10**6}"
                " MB that are read. Clear its outputs (Edit, Clear all outputs) and hand it in again."
            )
        content = file.read(MAX_FILE_BYTES + 1)
    return parse_notebook(content)


def parse_notebook(content: bytes) -> NotebookNode:
    """An .ipynb file's bytes as a version 4 notebook; raises Refused."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refused(
            "The file is not UTF-8 text, so not a notebook. Download it again as .ipynb."
        ) from error
    try:
        raw = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refused(
            "The file is not a notebook (its JSON cannot be read). Download it again as .ipynb."
        ) from error
    if not isinstance(raw, dict) or not isinstance(raw.get("nbformat"), int):
        raise Refused("The file is JSON, but not a notebook. Download it again as .ipynb.")
    if raw["nbformat"] > 4 or raw["nbformat"] < 3:
        raise Refused(
            f"The notebook has format {raw['nbformat']}, the grader reads 3 and 4. "
            "Open it in a current Jupyter or Colab and save it again."
        )
    try:
        if raw["nbformat"] == 3:
            raw = nbformat.convert(nbformat.from_dict(raw), 4)
        return _plain_notebook(raw)
    except Refused:
        raise
    except Exception as error:  # whatever a mangled structure makes nbformat raise
        raise Refused(
            "The notebook's structure is damaged. Open it in Jupyter or Colab and save it again."
        ) from error


def _plain_notebook(raw: dict[str, Any]) -> NotebookNode:
    """Cells with a type, a string source and dict metadata; nothing else of the file is kept."""
    found = raw.get("cells")
    if not isinstance(found, list):
        raise Refused("The notebook has no cells. Hand in the notebook that you worked in.")
    if len(found) > MAX_CELLS:
        raise Refused(
            f"The notebook has {len(found)} cells, more than the {MAX_CELLS} that are read."
        )
    plain, total = [], 0
    for cell in found:
        if not isinstance(cell, dict):
            continue
        source = cell.get("source", "")
        if isinstance(source, list):
            source = "".join(part for part in source if isinstance(part, str))
        if not isinstance(source, str):
            continue
        source = source.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "")
        source = source.encode("utf-8", "replace").decode("utf-8")
        total += len(source)
        if len(source) > MAX_CELL_BYTES or total > MAX_SOURCE_BYTES:
            raise Refused(
                "The notebook holds more source text than the grader reads. "
                "Move data out of its cells and hand it in again."
            )
        kind = cell.get("cell_type")
        make = {"code": nbformat.v4.new_code_cell, "raw": nbformat.v4.new_raw_cell}.get(
            kind if isinstance(kind, str) else "", nbformat.v4.new_markdown_cell
        )
        metadata = cell.get("metadata")
        node = make(source=source, metadata=metadata if isinstance(metadata, dict) else {})
        identifier = cell.get("id")
        node["id"] = identifier if isinstance(identifier, str) else ""
        plain.append(node)
    return nbformat.v4.new_notebook(cells=plain)


def clean_notebook(submitted: NotebookNode, assignment_id: str, release: NotebookNode) -> Clean:
    """Put a submission's sources into the release's frame; raises Refused."""
    slots = cells.slots_of(release)
    given = submitted.cells
    match = match_cells(assignment_id, slots, given)
    answers = [slot for slot in slots if slot.role == cells.ANSWER]
    if not any(match.by_slot.get(slot.index) for slot in answers):
        raise Refused(
            f"No graded cell of {assignment_id} was recognised. Hand in the notebook that came with "
            "the assignment; each graded cell begins with its line '# graded: …'."
        )
    repairs: list[str] = []
    chosen = {
        slot.index: _choose(slot, match.by_slot.get(slot.index, []), given, match, repairs)
        for slot in slots
    }
    picked = (chosen[slot.index] for slot in slots)
    order = [index for index in picked if index is not None]
    if order != sorted(order):
        repairs.append("Cells stood in another order than in the assignment; they were put back.")
    anchors = _anchors(given, match, chosen)
    result: list[NotebookNode] = list(_added(anchors.get(-1, []), given))
    for slot in slots:
        cell = _filled(slot, chosen[slot.index], given, repairs)
        extra = list(_added(anchors.get(slot.index, []), given))
        if slot.role == cells.ANSWER:
            _rejoin(cell, extra, str(slot.task), repairs)
        result.append(cell)
        result.extend(extra)
    _check_python(result)
    notebook = copy.deepcopy(release)
    notebook.cells = _score_cells_after_answers(result)
    _renumber(notebook)
    return Clean(notebook, tuple(repairs))


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
    blank = normalised(slot.cell.source)
    changed = [index for index in candidates if normalised(given[index].source) != blank]
    best = (changed or candidates)[-1]
    for index in candidates:
        same = normalised(given[index].source) in (blank, normalised(given[best].source))
        if index != best and same:
            match.dropped.add(index)
    if len(candidates) > 1 and slot.task:
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


def _added(indices: list[int], given: list[NotebookNode]) -> Iterator[NotebookNode]:
    for index in indices:
        source = given[index]
        make = {"code": nbformat.v4.new_code_cell, "raw": nbformat.v4.new_raw_cell}.get(
            source.cell_type, nbformat.v4.new_markdown_cell
        )
        cell = make(source=source.source)
        cells.note_role(cell, cells.ADDED)
        yield cell


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
    """Put an answer cell that was split in two together again."""
    while extra and extra[0].cell_type == "code":
        joined = cell.source + "\n" + extra[0].source
        halves_run = _parses(cell.source) and _parses(extra[0].source)
        if halves_run or not _parses(joined):
            return
        cell.source = joined
        extra.pop(0)
        repairs.append(f"{task}: its cell had been split; the parts were put together.")


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


def transformed(source: str) -> str:
    """A cell as plain Python: IPython's magics and shell lines rewritten."""
    return TransformerManager().transform_cell(source)


#: CPython 3.11 counts the depth of syntax trees in one place for all threads.
_one_parser = threading.Lock()


def parsed(source: str) -> ast.Module | None:
    """A cell's syntax tree, or None where it is no Python; may be called from any thread."""
    try:
        with _one_parser:
            return ast.parse(transformed(source))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None


def _parses(source: str) -> bool:
    return parsed(source) is not None


def _check_python(result: list[NotebookNode]) -> None:
    """Refuse an answer that only a newer Python can read: a syntax error there would be our fault."""
    for cell in result:
        if cells.role(cell) not in (cells.ANSWER, cells.ADDED) or cell.cell_type != "code":
            continue
        if _parses(cell.source) or cell.source.lstrip().startswith("%%"):
            continue
        if version := newer_python_needed(transformed(cell.source)):
            raise Refused(
                f"needs Python {version}: a cell uses syntax that the grader's Python "
                f"{sys.version_info.major}.{sys.version_info.minor} cannot read."
            )


def newer_python_needed(source: str) -> str | None:
    """The newest Python version that a source's syntax asks for, if that is all that is wrong."""
    ours = f"py{sys.version_info.major}{sys.version_info.minor}"
    options = ["--isolated", "--no-cache", "--select=E9", "--output-format=json"]
    run = subprocess.run(
        [find_ruff_bin(), "check", *options, f"--target-version={ours}", "-"],
        input=source.encode(),
        capture_output=True,
        timeout=20,
        check=False,
    )
    try:
        problems = [str(item["message"]) for item in json.loads(run.stdout)]
    except (ValueError, KeyError, TypeError):
        return None
    versions = [re.search(r"syntax was added in Python (3\.\d+)", text) for text in problems]
    if not problems or not all(versions):
        return None
    return max((found.group(1) for found in versions if found), key=_minor)


def _minor(version: str) -> int:
    return int(version.split(".")[1])
