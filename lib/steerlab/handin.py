"""What would go wrong with a notebook in grading, told before it is handed in.

Nothing of the notebook is run. The grader's machine has no network, knows the packages of the
course and no others, and finds answers by the marker in the first line of their cell.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Literal

from steerlab.cells import OLDEST_PYTHON, Cell, newer_syntax, parses, python_lines, read_cells

# The graded tasks of each assignment: functions by name, and "written" for the written answer.
TASKS: dict[str, tuple[str, ...]] = {
    "01_mean_diff": (
        "sentence_residuals",
        "mean_difference",
        "steering_mask",
        "steering_hooks",
        "generate_with_hooks",
        "concept_score",
        "written",
    ),
    "02_toy_sae": (
        "init_sae",
        "forward",
        "sae_loss",
        "schedule",
        "train_sae",
        "sae_scores",
        "top_contexts",
        "written",
    ),
    "03_sae_clamping": (
        "jumprelu_encode",
        "error_term",
        "clamp_and_decode",
        "clamp_step",
        "find_feature",
        "clamp_reference",
        "make_intervention",
        "written",
    ),
    "04_cav": (
        "masked_mean",
        "prepare",
        "fit_cavs",
        "cav_intervention",
        "sensitivities",
        "random_cavs",
        "tcav_test",
        "written",
    ),
    "05_sparse_steering": (
        "concept_directions",
        "missing",
        "solve_socp",
        "smallest_epsilon",
        "solve_qp",
        "steering_vector",
        "at_dose",
        "written",
    ),
    "06_interference": (
        "math_margin",
        "candidate_features",
        "sweep",
        "rank_p",
        "bootstrap_interval",
        "valid_code",
        "validity_shares",
        "written",
    ),
    "07_scaling_saes": (
        "write_shard",
        "read_shards",
        "save_state",
        "load_state",
        "resample",
        "fit_law",
        "name_features",
        "written",
    ),
}

LARGE = 20 * 2**20

_INSTALL_TITLE = "#@title Install steerlab"
_PIP = re.compile(r"^\s*[!%]\s*(?:pip|conda|mamba|uv|apt|apt-get)\b")


@dataclass(frozen=True)
class Finding:
    """One thing to know: `problem` costs points or the whole grading, `note` costs nothing.

    cell: its number in the notebook, counted from 1; None for the notebook as a whole.
    """

    level: Literal["problem", "note"]
    cell: int | None
    message: str

    def __str__(self) -> str:
        where = "notebook" if self.cell is None else f"cell {self.cell}"
        return f"{self.level:<7}  {where}: {self.message}"


def check_notebook(path: str | Path) -> list[Finding]:
    """Everything worth knowing before handing in the notebook at `path`, problems first.

    Raises FileNotFoundError if there is no such file; a file that is no notebook is a finding.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; give the path of your .ipynb file")
    try:
        cells = read_cells(path)
    except ValueError as error:
        return [Finding("problem", None, str(error))]
    findings = [*_check_file(path, cells), *_check_answers(cells)]
    for cell in cells:
        if cell.kind == "code":
            # Cells for exploring are left out in grading: what they do costs nothing.
            explores = "explore" in cell.tags
            found = _check_code(cell, path.parent)
            findings += [replace(f, level="note") if explores else f for f in found]
    return sorted(findings, key=lambda f: (f.level == "note", f.cell or 0))


# ---------------------------------------------------------------- the file


def _check_file(path: Path, cells: list[Cell]) -> Iterator[Finding]:
    assignment = _assignment_of(cells)
    if assignment and path.name != f"{assignment}.ipynb":
        yield Finding("note", None, f"hand it in under the name {assignment}.ipynb")
    if path.stat().st_size > LARGE:
        mib = path.stat().st_size / 2**20
        yield Finding(
            "problem", None, f"the file has {mib:.0f} MiB; clear large outputs and save it again"
        )


def _assignment_of(cells: list[Cell]) -> str | None:
    """The assignment that most answer cells belong to."""
    ids = [cell.marker[0] for cell in cells if cell.marker]
    return max(sorted(set(ids)), key=ids.count) if ids else None


# ---------------------------------------------------------------- the answers


def _check_answers(cells: list[Cell]) -> Iterator[Finding]:
    """Each graded task has one answer cell with its marker, and something in it."""
    assignment = _assignment_of(cells)
    if assignment is None:
        yield Finding(
            "problem",
            None,
            "no graded cell: the '# graded: …' lines are gone; copy your answers "
            "into a fresh notebook of the assignment",
        )
        return
    if assignment not in TASKS:
        yield Finding(
            "problem", None, f"unknown assignment {assignment!r} in the '# graded:' lines"
        )
        return
    answers: dict[str, list[Cell]] = {task: [] for task in TASKS[assignment]}
    for cell in cells:
        if cell.marker and cell.marker[0] == assignment and cell.marker[1] in answers:
            answers[cell.marker[1]].append(cell)
        elif cell.marker:
            name = "/".join(cell.marker)
            yield Finding("problem", cell.number, f"{name} is no task of this assignment")
    for task, found in answers.items():
        if not found:
            sign = "<!-- graded: … -->" if task == "written" else "# graded: …"
            yield Finding(
                "problem",
                None,
                f"{task} is missing: no cell begins with "
                f"'{sign.replace('…', f'{assignment}/{task}')}'",
            )
        elif len(found) > 1:
            numbers = ", ".join(str(cell.number) for cell in found)
            yield Finding(
                "problem",
                found[-1].number,
                f"{task} has {len(found)} answer cells ({numbers}); "
                "the last one you changed counts: delete the others",
            )
        if found and task != "written":
            yield from _check_function(found[-1], task)


def _check_function(cell: Cell, task: str) -> Iterator[Finding]:
    tree = cell.parse()
    if not isinstance(tree, ast.Module):
        return
    defined = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    assigned = {
        target.id
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    if task in defined and _is_stub(defined[task]):
        yield Finding("note", cell.number, f"{task} is not answered yet")
    elif task not in defined and task not in assigned:
        yield Finding("problem", cell.number, f"the cell defines no function named {task}")


def _is_stub(function: ast.FunctionDef) -> bool:
    last = function.body[-1]
    return isinstance(last, ast.Raise) and "NotImplementedError" in ast.dump(last)


# ---------------------------------------------------------------- the code


def _check_code(cell: Cell, folder: Path) -> Iterator[Finding]:
    tree = cell.parse()
    if isinstance(tree, SyntaxError):
        yield Finding(
            "problem",
            cell.number,
            f"line {tree.lineno}: not Python ({tree.msg}); if it runs for "
            f"you, it needs a Python newer than {_dotted(sys.version_info[:2])}",
        )
        return
    if tree is None:
        return
    yield from _check_magics(cell)
    newer = newer_syntax(python_lines(cell.source))
    if newer:
        yield Finding(
            "problem",
            cell.number,
            f"{newer}; the grader may run Python {_dotted(OLDEST_PYTHON)}",
        )
    for module in _imports(tree):
        yield from _check_import(cell, module, folder)
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "input"
        ):
            yield Finding("problem", cell.number, "input() gets no answer in grading")
        elif isinstance(node, ast.Constant) and str(node.value).startswith("/content/"):
            yield Finding(
                "problem", cell.number, f"{node.value!r} is a file on Colab; grading has none"
            )
        elif _sets_model(node):
            yield Finding(
                "note", cell.number, "in grading every load_model(...) gives the embedded model"
            )


def _check_magics(cell: Cell) -> Iterator[Finding]:
    # Where the cell is Python as it stands, a line that begins with % or ! is part of an expression
    # or a string. The course's own install cell needs no comment, with its tag or, as Colab may
    # leave it, without.
    if parses(cell.source) or "install" in cell.tags or cell.source.startswith(_INSTALL_TITLE):
        return
    for line in cell.source.splitlines():
        if _PIP.match(line):
            yield Finding("note", cell.number, f"'{line.strip()[:60]}' does nothing in grading")
        elif line.lstrip().startswith("!"):
            yield Finding(
                "note",
                cell.number,
                f"'{line.strip()[:60]}': grading has no network and an empty "
                "folder; answers must not depend on it",
            )


def _check_import(cell: Cell, module: str, folder: Path) -> Iterator[Finding]:
    top = module.split(".")[0]
    if module.startswith("google.colab"):
        yield Finding("note", cell.number, "google.colab does nothing in grading")
    elif (folder / f"{top}.py").is_file() or (folder / top / "__init__.py").is_file():
        yield Finding(
            "problem",
            cell.number,
            f"{top} is a file beside the notebook, which is not handed in: "
            "put its code into the notebook",
        )
    elif top == "google":  # a namespace that packages of many kinds share
        yield Finding("problem", cell.number, f"not in the course environment: {module}")
    elif top not in sys.stdlib_module_names and top not in course_modules():
        yield Finding("problem", cell.number, f"not in the course environment: {top}")


def _imports(tree: ast.Module) -> Iterator[str]:
    """Modules imported anywhere, except where an ImportError is caught."""
    guarded = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.Try) and any(_catches_import(h) for h in node.handlers)
        for statement in node.body
        for inner in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if id(node) in guarded:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            # `from google import colab` imports google.colab.
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield names[0] if node.module == "google" else node.module


def _catches_import(handler: ast.ExceptHandler) -> bool:
    caught = "" if handler.type is None else ast.dump(handler.type)
    return handler.type is None or any(
        name in caught for name in ("'ImportError'", "'ModuleNotFoundError'", "'Exception'")
    )


def _sets_model(node: ast.AST) -> bool:
    """MODEL = "something other than tiny"."""
    return (
        isinstance(node, ast.Assign)
        and any(isinstance(t, ast.Name) and t.id == "MODEL" for t in node.targets)
        and isinstance(node.value, ast.Constant)
        and node.value.value != "tiny"
    )


@lru_cache(maxsize=1)
def course_modules() -> frozenset[str]:
    """Top-level modules of steerlab and of everything it requires, directly or not."""
    from packaging.requirements import Requirement

    wanted, found = ["steerlab"], {"steerlab"}
    while wanted:
        try:
            requires = metadata.requires(wanted.pop()) or []
        except metadata.PackageNotFoundError:
            continue
        for text in requires:
            requirement = Requirement(text)
            applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
            name = _canonical(requirement.name)
            if applies and name not in found:
                found.add(name)
                wanted.append(name)
    modules = {
        module
        for module, distributions in metadata.packages_distributions().items()
        if any(_canonical(distribution) in found for distribution in distributions)
    }
    return frozenset(modules | {"steerlab", "IPython"})


def _canonical(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
