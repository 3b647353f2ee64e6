"""A notebook cell's source as Python: does it parse, does it compile, what does it define.

Students' code is parsed and compiled here, never run.
"""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import threading
import warnings
from functools import lru_cache

from IPython.core.inputtransformer2 import TransformerManager
from ruff.__main__ import find_ruff_bin

#: CPython 3.11 counts the depth of syntax trees in one place for all threads.
_one_parser = threading.Lock()
_NO_PYTHON = (
    SyntaxError,
    ValueError,
    RuntimeError,
    MemoryError,
)  # a RecursionError is a RuntimeError
#: IPython reads the whole cell anew for each of them: 400 take seconds.
MAX_MAGICS = 100
_SHELL_OR_MAGIC = re.compile(r"^[ \t]*(?:[\w, \t]+=[ \t]*)?[!%]", re.MULTILINE)
#: Most cells of a class are the same cells.
KEPT = 2000


@lru_cache(KEPT)
def transformed(source: str) -> str:
    """A cell as plain Python: IPython's magics and shell lines rewritten.

    Raises SyntaxError, RuntimeError, and ValueError where there are more such lines than anyone needs.
    """
    if len(_SHELL_OR_MAGIC.findall(source)) > MAX_MAGICS:
        raise ValueError(f"more than {MAX_MAGICS} shell or magic lines in one cell")
    return TransformerManager().transform_cell(source)


def parsed(source: str) -> ast.Module | None:
    """A cell's syntax tree, or None where it is no Python; may be called from any thread."""
    try:
        with _one_parser, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(transformed(source))
    except _NO_PYTHON:
        return None


@lru_cache(KEPT)
def compiles(source: str) -> bool:
    """Whether a cell could run: unlike parsing, this refuses a `return` outside a function."""
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    try:
        with _one_parser, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(transformed(source), "cell", "exec", flags=flags, dont_inherit=True)
    except _NO_PYTHON:
        return False
    return True


def without_cell_magic(source: str) -> str:
    """The cell under its `%%time` or other cell magics, which hide it from the parser."""
    lines = source.lstrip("\n").split("\n")
    while lines and lines[0].startswith("%%"):
        lines.pop(0)
    return "\n".join(lines)


def begins_indented(source: str) -> bool:
    """Whether the first line that is neither empty nor a comment is indented.

    IPython takes the indentation of a whole cell away, so the rest of a function that was cut in
    two may well compile.
    """
    for line in source.split("\n"):
        if line.strip() and not line.lstrip().startswith("#"):
            return line[0] in " \t"
    return False


@lru_cache(KEPT)
def definition(source: str, name: str) -> str | None:
    """The last top-level statement that defines `name` (def, class or assignment), as text."""
    body = without_cell_magic(source)
    if name not in body:
        return None
    tree = parsed(body)
    if tree is None:
        found = list(re.finditer(rf"^(?:async\s+)?def\s+{re.escape(name)}\b", body, re.MULTILINE))
        return body[found[-1].start() :] if found else None
    lines = transformed(body).split("\n")
    for node in reversed(tree.body):
        if _binds(node, name):
            decorators = getattr(node, "decorator_list", [])
            first = min([node.lineno, *(decorator.lineno for decorator in decorators)])
            return "\n".join(lines[first - 1 : node.end_lineno])
    return None


def _binds(node: ast.stmt, name: str) -> bool:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return node.name == name
    targets: list[ast.expr] = []
    if isinstance(node, ast.Assign):
        targets = node.targets
    elif isinstance(node, ast.AnnAssign) and node.value is not None:
        targets = [node.target]
    return any(isinstance(target, ast.Name) and target.id == name for target in targets)


def same_code(left: str, right: str) -> bool:
    """Whether two cells are the same but for comments, docstrings and blanks."""
    skeleton = _skeleton(left)
    return skeleton is not None and skeleton == _skeleton(right)


@lru_cache(KEPT)
def _skeleton(source: str) -> str | None:
    """A cell's syntax tree as text, without docstrings."""
    tree = parsed(without_cell_magic(source))
    try:
        return None if tree is None else ast.dump(_without_docstrings(tree))
    except RecursionError:
        return None


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:] or [ast.Pass()]
    return tree


def newer_python_needed(source: str) -> str | None:
    """The newest Python version that a cell's syntax asks for, if that is all that is wrong."""
    try:
        source = transformed(source)
    except _NO_PYTHON:
        return None
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
