"""The part of a notebook that one answer needs: its cell, and the cells that its names come from.

Testing one function a thousand times over need not run the checks and tables of the whole notebook.
Python's own symbol tables say which names a cell takes from others, and which it gives them.
"""

from __future__ import annotations

import copy
import symtable
from dataclasses import dataclass

from nbformat import NotebookNode

from .. import cells


@dataclass(frozen=True)
class Names:
    """What a cell binds for other cells, and what it takes from them."""

    gives: frozenset[str]
    takes: frozenset[str]


def names_of(source: str) -> Names:
    """The names of a cell; none where it is no plain Python."""
    try:
        table = symtable.symtable(source, "cell", "exec")
    except SyntaxError:
        return Names(frozenset(), frozenset())
    gives = {s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported()}
    takes, scopes = set(), [table]
    while scopes:
        scope = scopes.pop()
        scopes += scope.get_children()
        for symbol in scope.get_symbols():
            if symbol.is_referenced() and (scope is table or symbol.is_global()):
                takes.add(symbol.get_name())
            elif symbol.is_declared_global() and symbol.is_assigned():
                gives.add(symbol.get_name())
    return Names(frozenset(gives), frozenset(takes))


def put_answer(notebook: NotebookNode, task: str, source: str) -> NotebookNode:
    """A copy of a clean notebook with another source in one answer cell."""
    changed = copy.deepcopy(notebook)
    for cell in changed.cells:
        if cells.role(cell) == cells.ANSWER and cells.task(cell) == task:
            cell.source = source
    return changed


def slice_for(notebook: NotebookNode, task: str, source: str) -> NotebookNode:
    """A clean notebook cut down to the answer `source` of one task and what it draws on."""
    kept = {
        index
        for index, cell in enumerate(notebook.cells)
        if cells.role(cell) == cells.ANSWER and cells.task(cell) == task
    }
    on_path = {
        index: names_of(cell.source)
        for index, cell in enumerate(notebook.cells)
        if cell.cell_type == "code" and cells.role(cell) in (cells.ANSWER, cells.AUTHOR)
    }
    wanted, looked_up = set(names_of(source).takes), set[str]()
    while names := wanted - looked_up:
        looked_up |= names
        for index, found in on_path.items():
            if index not in kept and found.gives & names:
                kept.add(index)
                wanted |= found.takes
    cut = put_answer(notebook, task, source)
    cut.cells = [cell for index, cell in enumerate(cut.cells) if index in kept]
    return cut
