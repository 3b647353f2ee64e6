"""What a cell of a course notebook is for: answer, score, written, author, explore, install, added.

Answer cells carry their task in their first line, `# graded: 01_mean_diff/mean_difference`, because
Colab and copy-paste lose metadata but not source. Roles are worked out from the release notebook,
whose metadata is trusted, and never from what a student hands in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from nbformat import NotebookNode

# Spaces, case and what stands behind a marker are as people leave them.
ANSWER_MARKER = re.compile(r"^\s*#+\s*graded\s*:\s*([\w-]+)\s*/\s*(\w+)\b", re.IGNORECASE)
WRITTEN_MARKER = re.compile(r"^\s*<!--\s*graded\s*:\s*([\w-]+)\s*/\s*(\w+)\b", re.IGNORECASE)
SCORE_MARKER = re.compile(r"^\s*#+\s*score\s*:\s*([\w-]+)\s*/\s*(\w+)\b", re.IGNORECASE)

#: How many lines of a cell are searched for its marker: students put comments and magics above it.
MARKER_LINES = 8

ANSWER, SCORE, WRITTEN = "answer", "score", "written"
AUTHOR, EXPLORE, INSTALL, ADDED = "author", "explore", "install", "added"


@dataclass(frozen=True)
class Slot:
    """One cell of the release notebook: the place that a submitted cell can take."""

    index: int
    role: str
    task: str | None
    cell: NotebookNode

    @property
    def runs(self) -> bool:
        """Whether the graded path needs this cell."""
        return self.cell.cell_type == "code" and self.role in (ANSWER, AUTHOR)


def marker(source: str, pattern: re.Pattern[str]) -> tuple[str, str] | None:
    """The `(assignment, task)` named near the top of a cell's source, if any."""
    for line in source.splitlines()[:MARKER_LINES]:
        if match := pattern.match(line):
            return match.group(1), match.group(2)
    return None


def tags(cell: NotebookNode) -> list[str]:
    """The cell's tags, whatever shape its metadata has."""
    found = cell.get("metadata", {}).get("tags", [])
    return [tag for tag in found if isinstance(tag, str)] if isinstance(found, list) else []


def role_of_release_cell(cell: NotebookNode) -> tuple[str, str | None]:
    """Role and task of a release cell, from its marker, tags and nbgrader metadata."""
    if found := marker(cell.source, ANSWER_MARKER):
        return ANSWER, found[1]
    if found := marker(cell.source, SCORE_MARKER):
        return SCORE, found[1]
    if found := marker(cell.source, WRITTEN_MARKER):
        return WRITTEN, found[1]
    for role in (EXPLORE, INSTALL):
        if role in tags(cell):
            return role, None
    return AUTHOR, None


def slots_of(release: NotebookNode) -> list[Slot]:
    """The release notebook as a list of slots, in order."""
    return [
        Slot(index, *role_of_release_cell(cell), cell) for index, cell in enumerate(release.cells)
    ]


def note_role(cell: NotebookNode, role: str, task: str | None = None) -> None:
    """Write a cell's role where the runner reads it."""
    info: dict[str, Any] = {"role": role}
    if task is not None:
        info["task"] = task
    cell.metadata["steerlab"] = info


def role(cell: NotebookNode) -> str:
    """The role that intake gave to a clean notebook's cell."""
    return cell.metadata.get("steerlab", {}).get("role", AUTHOR)


def task(cell: NotebookNode) -> str | None:
    """The task of an answer, score or written cell of a clean notebook."""
    return cell.metadata.get("steerlab", {}).get("task")
