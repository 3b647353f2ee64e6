"""What a student handed in, read from its folder: one notebook's cells as plain data, or a refusal.

Browsers and file managers rename notebooks, wrap them in zip files and folders, and re-encode them;
old programs write old formats. All of that is read. What is damaged, too large or no notebook at all
is refused with a sentence that says what to hand in.
"""

from __future__ import annotations

import codecs
import io
import json
import re
from pathlib import Path, PurePosixPath
from typing import Any

import nbformat
from nbformat import NotebookNode

from .archives import Entry, Unreadable, folder_contents, opened_zip

MAX_CELLS = 2_000
MAX_SOURCE_BYTES = 2_000_000
MAX_CELL_BYTES = 200_000

#: What browsers and file managers make of `.ipynb`.
SUFFIXES = (".ipynb", ".ipynb.json", ".ipynb.txt", ".json")
ZIP_START = b"PK\x03\x04"
#: An image pasted into a text cell, as Colab keeps it.
PASTED_IMAGE = re.compile(r"\(\s*data:image/[^)]*\)|(?<=[\"'])data:image/[^\"']*(?=[\"'])")


class Refused(Exception):
    """The submission cannot be graded; the message is one sentence saying why and what to hand in."""


def read_submission(folder: Path, assignment_id: str) -> tuple[NotebookNode, list[str]]:
    """The notebook in a submission folder, and what it took to find it; raises Refused."""
    content, repairs = find_notebook(folder, assignment_id)
    return parse_notebook(content), repairs


def find_notebook(folder: Path, assignment_id: str) -> tuple[bytes, list[str]]:
    """The bytes of the notebook handed in, also under the names that browsers give; raises Refused."""
    contents = folder_contents(folder)
    if contents.problems:  # a folder's only problem is a link
        raise Refused("The submission contains a symbolic link. Hand in the notebook file itself.")
    if not any(_is_notebook(entry.path) for entry in contents.entries):
        zips = [entry for entry in contents.entries if entry.name.lower().endswith(".zip")]
        if len(zips) == 1:
            return _from_zip(_content(zips[0]), zips[0].name, assignment_id)
    entry, repairs = _chosen(contents.entries, assignment_id)
    content = _content(entry)
    if content.startswith(ZIP_START):
        return _from_zip(content, entry.name, assignment_id)
    return content, repairs


def _is_notebook(path: PurePosixPath) -> bool:
    hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
    return not hidden and path.name.lower().endswith(SUFFIXES)


def _chosen(entries: list[Entry], assignment_id: str) -> tuple[Entry, list[str]]:
    """Which of several files is the submission; raises Refused rather than guess."""
    found = [entry for entry in entries if _is_notebook(entry.path)]
    for closer in (  # each narrows the choice, where it leaves one at all
        lambda entry, _: entry.name.lower().endswith(".ipynb"),
        lambda entry, _: _plain(assignment_id) in _plain(entry.name),
        lambda entry, depth: len(entry.path.parts) == depth,
        lambda entry, _: entry.name == f"{assignment_id}.ipynb",
    ):
        depth = min((len(entry.path.parts) for entry in found), default=0)
        found = [entry for entry in found if closer(entry, depth)] or found
    if not found:
        raise Refused(f"There is no notebook in the submission. Hand in {assignment_id}.ipynb.")
    if len(found) > 1:
        names = ", ".join(entry.name for entry in found[:5])
        raise Refused(
            f"Several notebooks could be the submission ({names}). Hand in one, "
            f"named {assignment_id}.ipynb."
        )
    (entry,) = found
    repairs = []
    if entry.name != f"{assignment_id}.ipynb":
        repairs.append(f"{entry.name} was taken for {assignment_id}.ipynb.")
    if others := sum(_is_notebook(other.path) for other in entries) - 1:
        repairs.append(f"{others} other notebook(s) beside {entry.name} were not read.")
    return entry, repairs


def _plain(name: str) -> str:
    """A name's letters and digits: `01 Mean-Diff` and `01_mean_diff` are alike."""
    return re.sub(r"[\W_]+", "", name.lower())


def _from_zip(content: bytes, name: str, assignment_id: str) -> tuple[bytes, list[str]]:
    try:
        with opened_zip(io.BytesIO(content)) as contents:
            bad = [problem for problem in contents.problems if _is_notebook_name(problem[0])]
            if bad and not any(_is_notebook(entry.path) for entry in contents.entries):
                raise Unreadable(f"in {bad[0][0]}: {bad[0][1]}")
            entry, repairs = _chosen(contents.entries, assignment_id)
            return entry.read(), [f"The notebook was taken out of {name}.", *repairs]
    except Unreadable as problem:
        raise Refused(
            f"The zip file {name} is not read ({problem}). Hand in the notebook file itself."
        ) from problem


def _is_notebook_name(name: str) -> bool:
    return _is_notebook(PurePosixPath(name.replace("\\", "/").lstrip("/.")))


def _content(entry: Entry) -> bytes:
    try:
        return entry.read()
    except Unreadable as problem:
        raise Refused(
            f"{entry.name} is not read: {problem}. Clear the notebook's outputs (Edit, Clear all "
            "outputs) if it is large, and hand in the notebook file itself."
        ) from problem


def parse_notebook(content: bytes) -> NotebookNode:
    """An .ipynb file's bytes, of format 3 or 4, as a version 4 notebook; raises Refused."""
    try:
        raw = json.loads(_text(content))
    except (ValueError, RecursionError) as error:
        raise Refused(
            "The file is not a notebook (its JSON cannot be read). Download it again as .ipynb."
        ) from error
    version = raw.get("nbformat") if isinstance(raw, dict) else None
    if not isinstance(version, int):
        raise Refused("The file is JSON, but not a notebook. Download it again as .ipynb.")
    if version not in (3, 4):
        raise Refused(
            f"The notebook has format {version}, the grader reads 3 and 4. "
            "Open it in a current Jupyter or Colab and save it again."
        )
    try:
        if version == 3:
            raw = nbformat.convert(nbformat.from_dict(raw), 4)
        return _plain_notebook(raw)
    except Refused:
        raise
    except Exception as error:  # whatever a mangled structure makes nbformat raise
        raise Refused(
            "The notebook's structure is damaged. Open it in Jupyter or Colab and save it again."
        ) from error


def _text(content: bytes) -> str:
    utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise Refused(
            "The file is not UTF-8 text, so not a notebook. Download it again as .ipynb."
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
    plain = [_plain_cell(cell) for cell in found if isinstance(cell, dict)]
    lengths = [len(cell.source) for cell in plain]
    if sum(lengths) > MAX_SOURCE_BYTES or max(lengths, default=0) > MAX_CELL_BYTES:
        raise Refused(
            "The notebook holds more source text than the grader reads. "
            "Move data out of its cells and hand it in again."
        )
    # Made by hand: nbformat's own maker validates, and would refuse or mend what we mend ourselves.
    return NotebookNode(cells=plain, metadata=NotebookNode(), nbformat=4, nbformat_minor=5)


def _plain_cell(cell: dict[str, Any]) -> NotebookNode:
    source = cell.get("source", "")
    if isinstance(source, list):
        source = "".join(part for part in source if isinstance(part, str))
    source = source if isinstance(source, str) else ""
    source = source.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "")
    source = source.encode("utf-8", "replace").decode("utf-8")
    kind = cell.get("cell_type")
    if kind not in ("code", "raw") and len(source) > MAX_CELL_BYTES:
        source = PASTED_IMAGE.sub("(a pasted image, left out)", source)
    metadata = cell.get("metadata")
    node = new_cell(kind, source)
    node["metadata"] = nbformat.from_dict(metadata if isinstance(metadata, dict) else {})
    identifier = cell.get("id")
    node["id"] = identifier if isinstance(identifier, str) else ""
    return node


def new_cell(kind: Any, source: str) -> NotebookNode:
    """A fresh cell of that type; whatever is neither code nor raw is text.

    Made by hand: nbformat's own makers validate, which takes longer than all else here.
    """
    kind = kind if kind in ("code", "raw") else "markdown"
    cell = NotebookNode(id="", cell_type=kind, metadata=NotebookNode(), source=source)
    if kind == "code":
        cell.update(outputs=[], execution_count=None)
    return cell
