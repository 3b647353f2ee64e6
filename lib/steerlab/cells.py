"""The cells of a notebook file, and their code as Python: markers, magics, syntax versions."""

from __future__ import annotations

import ast
import io
import json
import re
import sys
import tokenize
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OLDEST_PYTHON = (3, 11)  # every grader reads this; newer syntax may find one that does not

_MARKER = re.compile(r"^\s*(?:#|<!--)\s*graded:\s*([\w-]+)/([\w-]+)")
_SHELL = re.compile(r"^\s*(?:[\w, ]+=\s*)?[!%]")
_HELP = re.compile(r"^\s*(?:\?+[\w.]+|[\w.]+\?+)\s*$")
# Cell magics whose body is still Python of this notebook.
_PYTHON_MAGICS = ("%%time", "%%timeit", "%%capture", "%%prun")


@dataclass(frozen=True)
class Cell:
    """One cell: its number in the notebook, counted from 1, kind ("code", …), source and tags."""

    number: int
    kind: str
    source: str
    tags: tuple[str, ...] = ()

    @property
    def marker(self) -> tuple[str, str] | None:
        """(assignment, task) of an answer cell, from its first line `# graded: …`."""
        first = next((line for line in self.source.splitlines() if line.strip()), "")
        found = _MARKER.match(first)
        return (found[1], found[2]) if found else None

    def parse(self) -> ast.Module | SyntaxError | None:
        """The syntax tree without magics, or what is wrong with it; None where it is no Python."""
        first = self.source.lstrip().split(maxsplit=1)[:1]
        if self.kind != "code" or (
            first and first[0].startswith("%%") and first[0] not in _PYTHON_MAGICS
        ):
            return None
        try:
            return _tree(python_lines(self.source))
        except SyntaxError as error:
            return error
        except ValueError as error:  # null bytes
            return SyntaxError(str(error))


def read_cells(path: Path) -> list[Cell]:
    """The cells of a notebook file. Raises ValueError if it is no version-4 notebook."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError):
        raise ValueError("the file is not a notebook; download it as .ipynb again") from None
    if not isinstance(notebook, dict) or not isinstance(notebook.get("cells"), list):
        raise ValueError("the file is not a version-4 notebook; save it again from Jupyter")
    cells = []
    for number, cell in enumerate(notebook["cells"], start=1):
        if isinstance(cell, dict):
            source = cell.get("source", "")
            text = "".join(map(str, source)) if isinstance(source, list) else str(source)
            cells.append(Cell(number, str(cell.get("cell_type")), text, _tags(cell)))
    return cells


def _tags(cell: dict[str, Any]) -> tuple[str, ...]:
    data = cell.get("metadata")
    tags = data.get("tags") if isinstance(data, dict) else None
    return tuple(map(str, tags)) if isinstance(tags, list) else ()


def python_lines(source: str) -> str:
    """The source with magics, shell commands and help requests put out of Python's way."""
    if parses(source):
        return source
    lines = []
    for line in source.splitlines():
        if _SHELL.match(line) or _HELP.match(line):
            line = line[: len(line) - len(line.lstrip())] + "pass"
        lines.append(line)
    return "\n".join(lines)


def _tree(source: str) -> ast.Module:
    flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    return compile(source, "<cell>", "exec", flags, dont_inherit=True)


def parses(source: str) -> bool:
    """Whether the source is Python as it stands, without magics."""
    try:
        _tree(source)
    except (SyntaxError, ValueError):
        return False
    return True


def newer_syntax(source: str) -> str | None:
    """What of the source needs a Python newer than every grader has; None if nothing does."""
    try:
        ast.parse(source, feature_version=OLDEST_PYTHON)
    except SyntaxError as error:
        return str(error.msg)
    if sys.version_info >= (3, 12) and _has_new_fstring(source):
        return "an f-string with its own quotes or a backslash inside braces needs Python 3.12"
    return None


def _has_new_fstring(source: str) -> bool:
    """Whether an f-string holds, inside its braces, its own quotes or a backslash (PEP 701)."""
    start, end = getattr(tokenize, "FSTRING_START", -1), getattr(tokenize, "FSTRING_END", -1)
    open_quotes: list[str] = []
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type in (start, tokenize.STRING):
                quote = token.string.lstrip("rRbBfFuUtT")
                quote = quote[:3] if quote[:3] in ("'''", '"""') else quote[:1]
                if quote in open_quotes or (open_quotes and "\\" in token.string):
                    return True
                if token.type == start:
                    open_quotes.append(quote)
            elif token.type == end and open_quotes:
                open_quotes.pop()
    except (tokenize.TokenError, SyntaxError):
        return False
    return False
