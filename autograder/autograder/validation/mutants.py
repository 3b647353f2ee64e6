"""Automatic mutants of a solution: small changes, each of which hidden tests should notice.

The operators for Python in general are mutmut's, those for tensor code stand in `mutations.py`. A
mutant that compiles to the same code as the solution, or as an earlier mutant, is dropped: "trivial
compiler equivalence" (Papadakis et al. 2015).
"""

from __future__ import annotations

import ast
import difflib
import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType
from typing import Any

import libcst as cst
from mutmut.mutation.mutators import mutation_operators

from . import mutations
from .bank import MutantId

#: What a cell that learns by gradients says; elsewhere a detached tensor is as good as another.
LEARNS = ("backward(", "autograd", ".grad", "requires_grad", "nn.Module", "def forward")
LEFT_OUT = "(left out)"


@dataclass(frozen=True)
class Mutant:
    """One changed answer cell.

    line, becomes: the first line that differs, stripped, before and after. occurrence: counts from
    1 the mutants of which all of that and the operator are alike.
    """

    task: str
    operator: str
    line: str
    becomes: str
    occurrence: int
    source: str

    @property
    def id(self) -> MutantId:
        """What tells it from every other mutant, as long as its line stays."""
        return self.task, self.operator, self.line, self.becomes, self.occurrence

    @property
    def label(self) -> str:
        """One line for a report."""
        which = f" (no. {self.occurrence})" if self.occurrence > 1 else ""
        return f"{self.task}, {self.operator}: `{self.line}` -> `{self.becomes}`{which}"


def mutants_of(task: str, source: str) -> tuple[list[Mutant], int]:
    """All mutants of an answer cell, and how many more were dropped as certainly equivalent."""
    seen = {compiled(source)}
    counts: Counter[tuple[str, str, str]] = Counter()
    found, dropped = [], 0
    for operator, changed in _changed_sources(cst.parse_module(source)):
        try:
            code = compiled(changed)
        except (SyntaxError, ValueError):
            continue
        if code in seen:
            dropped += 1
            continue
        seen.add(code)
        line, becomes = _first_difference(source, changed)
        counts[operator, line, becomes] += 1
        occurrence = counts[operator, line, becomes]
        found.append(Mutant(task, operator, line, becomes, occurrence, changed))
    return found, dropped


def sample(mutants: list[Mutant], n: int | None) -> list[Mutant]:
    """n of the mutants, the same each time and spread over all that they change; all for None."""
    if n is None or n >= len(mutants):
        return mutants
    order = sorted(mutants, key=lambda m: hashlib.sha256(repr(m.id).encode()).digest())
    chosen = {mutant.id for mutant in order[:n]}
    return [mutant for mutant in mutants if mutant.id in chosen]


def _changed_sources(module: cst.Module) -> Iterator[tuple[str, str]]:
    """Operator's name and changed source, for every operator at every node."""
    operators: list[tuple[Any, mutations.Change]] = [*mutation_operators, *mutations.OPERATORS]
    if not any(word in module.code for word in LEARNS):
        operators.remove(mutations.DETACH)
    for node in _nodes(module):
        for kinds, change in operators:
            for other in change(node) if isinstance(node, kinds) else ():
                try:
                    changed = module.deep_replace(node, other)
                except (cst.CSTValidationError, TypeError, AttributeError):
                    continue  # an operator's idea that does not fit in this place
                assert isinstance(changed, cst.Module)
                yield change.__name__.removeprefix("operator_"), changed.code


def _nodes(node: cst.CSTNode, message: bool = False) -> Iterator[cst.CSTNode]:
    """What may be mutated, outermost first.

    Left out: annotations, docstrings, imports, decorators, and an exception's message, which never
    leaves the student's process.
    """
    if isinstance(node, cst.Annotation | cst.Decorator):
        return
    if isinstance(node, cst.SimpleStatementLine) and all(map(_says_nothing, node.body)):
        return
    if message and isinstance(node, cst.SimpleString | cst.ConcatenatedString):
        return
    raised = node.exc if isinstance(node, cst.Raise) and isinstance(node.exc, cst.Call) else None
    yield node
    for child in node.children:
        if raised is not None and child is raised:
            for argument in raised.args:
                yield from _nodes(argument.value, message=True)
        else:
            yield from _nodes(child, message)


def _says_nothing(statement: cst.BaseSmallStatement) -> bool:
    """An import, or a string by itself."""
    text = isinstance(statement, cst.Expr) and isinstance(statement.value, cst.BaseString)
    return text or isinstance(statement, cst.Import | cst.ImportFrom)


def compiled(source: str) -> Any:
    """What a source compiles to, without docstrings, annotations and line numbers.

    Raises SyntaxError, ValueError.
    """
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        if isinstance(node, ast.arg):
            node.annotation = None
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.Module) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body[0] = ast.copy_location(ast.Pass(), first)
    return _signature(compile(tree, "cell", "exec"))


def _signature(code: CodeType) -> Any:
    constants = tuple(
        _signature(value) if isinstance(value, CodeType) else (type(value).__name__, repr(value))
        for value in code.co_consts
    )
    names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
    return code.co_name, code.co_code, code.co_exceptiontable, constants, names


def _first_difference(old: str, new: str) -> tuple[str, str]:
    """The first line that differs, stripped, and what stands in its place."""
    before = [line.strip() for line in old.splitlines()]
    after = [line.strip() for line in new.splitlines()]
    matcher = difflib.SequenceMatcher(None, before, after, autojunk=False)
    for how, start, _, new_start, new_stop in matcher.get_opcodes():
        if how != "equal":
            becomes = after[new_start] if new_start < new_stop else LEFT_OUT
            return (before[start] if start < len(before) else ""), becomes
    return "", LEFT_OUT
