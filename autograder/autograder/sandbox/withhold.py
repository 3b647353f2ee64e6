"""Withheld means absent: a copy of steerlab in which some functions have no body.

Students may read the library, but a graded function must not be delegated to it. Before anything
imports it, the named functions' bodies are cut out of a copy of the source, with their comments,
constants and nested functions; docstring, signature and decorators stay. No bytecode is copied.
"""

from __future__ import annotations

import ast
import importlib.util
import shutil
from collections.abc import Iterable
from pathlib import Path

HELPER = "_withheld"
HELPER_SOURCE = '''"""Stands where the grader has withheld a function."""


class WithheldError(RuntimeError):
    """The function is what the assignment asks for, so the grader's copy of steerlab lacks it."""


class WithheldModule(ImportError):
    """The module holds what the assignment asks for, so the grader's copy of steerlab lacks it."""
'''
LEFT_OUT = shutil.ignore_patterns(
    "__pycache__",
    "*.pyc",
    "tests",
    "test_*.py",
    "conftest.py",
    ".*",
    "*~",
    "*.orig",
    "*.rej",
    "*.bak",
)
Function = ast.FunctionDef | ast.AsyncFunctionDef


def package_folder(name: str = "steerlab") -> Path:
    """Where a package's source lies; raises FileNotFoundError."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"The package {name} is not installed: run `pip install -e lib`.")
    return Path(next(iter(spec.submodule_search_locations))).resolve()


def copy_without(package: Path, destination: Path, names: Iterable[str]) -> Path:
    """Copy `package` into the folder `destination`, cutting the bodies of `names`.

    A name is "steerlab.directions:mean_difference", "steerlab.steering:AddVector.__call__", or a
    class, whose methods all go; "steerlab.sparse" is a module or package, of which nothing stays.
    Returns the copy's folder.

    Raises: ValueError naming each name that the package does not define.
    """
    copy = destination / package.name
    shutil.copytree(package, copy, ignore=LEFT_OUT)
    unknown: list[str] = []
    by_module: dict[str, set[str]] = {}
    for name in names:
        module, _, qualified = name.partition(":")
        by_module.setdefault(module, set()).add(qualified)
    for module, qualified_names in by_module.items():
        path = _module_file(copy, module)
        if path is None:
            unknown += [f"{module}:{name}".rstrip(":") for name in qualified_names]
            continue
        if "" in qualified_names:
            _empty(path, module)
            continue
        source, missing = cut(path.read_text(encoding="utf-8"), module, qualified_names)
        unknown += [f"{module}:{name}" for name in missing]
        path.write_text(source, encoding="utf-8")
    if unknown:
        shutil.rmtree(copy)
        raise ValueError(
            f"Nothing to withhold under the name {', '.join(sorted(unknown))}: the form is "
            '"steerlab.module:function" or "steerlab.module:Class.method", as the source defines it, or '
            '"steerlab.module" for all of it.'
        )
    (copy / f"{HELPER}.py").write_text(HELPER_SOURCE, encoding="utf-8")
    return copy


def _empty(path: Path, module: str) -> None:
    """Leave nothing of a module, or of a package and all in it, but the reason."""
    if path.name == "__init__.py":
        shutil.rmtree(path.parent)
        path.parent.mkdir()
    reason = f"{module} does what you are asked to write; the grader withholds it"
    package = module.partition(".")[0]
    path.write_text(
        f"from {package}.{HELPER} import WithheldModule\nraise WithheldModule({reason!r})\n",
        "utf-8",
    )


def cut(source: str, module: str, names: set[str]) -> tuple[str, set[str]]:
    """Source of one module without the bodies of `names`, and the names it does not define.

    Each function is written anew from its syntax tree, so no comment of its body survives.
    """
    tree = ast.parse(source)
    found: set[str] = set()
    doomed: list[tuple[Function, str]] = []
    for node, qualified in _definitions(tree):
        parts = qualified.split(".")
        heads = {".".join(parts[: i + 1]) for i in range(len(parts))}
        if hit := heads & names:
            found |= hit
            if isinstance(node, Function):
                doomed.append((node, qualified))
    lines = source.splitlines(keepends=True)
    # Last first, so that the line numbers of those before stay true.
    for node, qualified in sorted(doomed, key=lambda item: -item[0].lineno):
        first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)]) - 1
        last = _end_with_comments(lines, node)
        lines[first:last] = [_without_body(node, module, qualified)]
    return "".join(lines), names - found


def _definitions(tree: ast.AST, prefix: str = "") -> Iterable[tuple[Function | ast.ClassDef, str]]:
    """Every class and function that is not inside another function, with its qualified name."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, Function):
            yield node, prefix + node.name
        elif isinstance(node, ast.ClassDef):
            yield node, prefix + node.name
            yield from _definitions(node, f"{prefix}{node.name}.")
        else:  # `if`, `try`: definitions may stand in their branches
            yield from _definitions(node, prefix)


def _end_with_comments(lines: list[str], node: Function) -> int:
    """The line after the function, its trailing comments included: they are deeper than its `def`."""
    end = last = node.end_lineno or node.lineno
    while end < len(lines):
        line = lines[end]
        text = line.lstrip()
        if text and not (text.startswith("#") and len(line) - len(text) > node.col_offset):
            break
        end += 1
        if text:
            last = end
    return last


def _without_body(node: Function, module: str, qualified: str) -> str:
    message = f"{module}.{qualified} is what you are asked to write; the grader withholds it"
    package = module.partition(".")[0]
    stub = ast.parse(
        f"from {package}.{HELPER} import WithheldError\nraise WithheldError({message!r})"
    ).body
    kept = node.body[:1] if ast.get_docstring(node, clean=False) is not None else []
    bare = type(node)(**{**dict(ast.iter_fields(node)), "body": [*kept, *stub]})
    text = ast.unparse(ast.fix_missing_locations(ast.copy_location(bare, node)))
    indent = " " * node.col_offset
    return "".join(f"{indent}{line}\n" if line.strip() else "\n" for line in text.splitlines())


def _module_file(copy: Path, module: str) -> Path | None:
    parts = module.split(".")
    if parts[0] != copy.name:
        return None
    stem = copy.joinpath(*parts[1:])
    for path in (stem.with_suffix(".py") if len(parts) > 1 else stem, stem / "__init__.py"):
        if path.is_file():
            return path
    return None
