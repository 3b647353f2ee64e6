"""Forged results, patched libraries, swallowed exceptions, forged marks in notebook and gradebook."""

from __future__ import annotations

import base64
import copy
import logging
import pickle
import sqlite3
from typing import Any

import nbformat
import pytest
from autograder.probe import wire
from nbformat import NotebookNode
from nbformat.v4 import new_output
from nbgrader.preprocessors import CheckCellMetadata
from nbgrader.utils import determine_grade

from .arena import ASSIGNMENT, MARKER, Arena
from .attack import Attack, Inside, Naive, Otherwise, Patched, Trace, points

VALUES = "only data leaves the student's process: it is compared outside"
OWN_PROCESS = "the tests run outside: what the student's process was made of does not matter"
SILENCE = "a score is what the tests outside found, not the absence of an error"
RELEASE = "cells, points and ids come from the release, never from the submission"
NO_PICKLE = "nothing that comes from the student's process is unpickled"
ABSENT = "the course folder does not exist in the sandbox"


class _Yes:
    def __reduce__(self) -> Any:
        return eval, ("type('Yes', (), {'__eq__': lambda self, other: True, '__hash__': None})()",)


PICKLED = base64.b64encode(pickle.dumps(_Yes())).decode()


def unpickle(patch: pytest.MonkeyPatch) -> None:
    """A wire format with pickles in it, as joblib, cloudpickle and many RPC libraries have."""
    tagged = wire.Decoder._tagged

    def naive(self: wire.Decoder, tag: str, content: Any, depth: int) -> Any:
        if tag == "pickle":
            return pickle.loads(base64.b64decode(content))
        return tagged(self, tag, content, depth)

    patch.setattr(wire.Decoder, "_tagged", naive)


def forge_metadata(notebook: NotebookNode) -> None:
    """The answer cell says that it is graded, worth a thousand, and has earned them."""
    cell = next(c for c in notebook.cells if c.source.startswith(MARKER))
    info = {"grade": True, "solution": False, "locked": True, "points": 1000}
    cell.metadata["nbgrader"] = {**info, "grade_id": "double", "schema_version": 3, "task": False}
    result = new_output("execute_result", data={"text/plain": "1000"}, execution_count=1)
    cell.outputs = [result]


def stock_points(arena: Arena, attack: Attack) -> str:
    """What nbgrader reads from the notebook as it was handed in."""
    handed_in = arena.decoy.folder.submitted / attack.name / ASSIGNMENT / f"{ASSIGNMENT}.ipynb"
    notebook = nbformat.read(handed_in, as_version=4)
    cell = next(c for c in notebook.cells if c.source.startswith(MARKER))
    score, _ = determine_grade(cell, logging.getLogger("stock"))
    return f"{score} points" if score and score > 2 else ""


def duplicate_score_cells(notebook: NotebookNode) -> None:
    """Twice the score cell: in stock nbgrader one such notebook ends the batch for all."""
    score = next(c for c in notebook.cells if c.source.startswith("# score:"))
    notebook.cells += [copy.deepcopy(score), copy.deepcopy(score)]


def stock_batch(arena: Arena, attack: Attack) -> str:
    """What nbgrader's own check says of it."""
    handed_in = arena.decoy.folder.submitted / attack.name / ASSIGNMENT / f"{ASSIGNMENT}.ipynb"
    try:
        CheckCellMetadata().preprocess(nbformat.read(handed_in, as_version=4), {})
    except Exception as error:
        return f"the batch ends: {error}"
    return ""


def manual_marks(trace: Trace) -> str:
    """Marks that nobody gave, in the gradebook that the attack could have reached."""
    with sqlite3.connect(trace.folder / "gradebook.db") as database:
        count = database.execute("SELECT count(*) FROM grade WHERE manual_score = 99").fetchone()[0]
    return f"{count} marks" if count else ""


ATTACKS = [
    Attack(
        name="result-equal-to-everything",
        family="forged results",
        defence=VALUES,
        off=Naive(),
        gained=points,
        double="""\
class Yes:
    def __eq__(self, other):
        return True
def double(x):
    return Yes()
""",
    ),
    Attack(
        name="number-equal-to-everything",
        family="forged results",
        defence=VALUES,
        off=Naive(),
        gained=points,
        double="""\
class Number(int):
    def __eq__(self, other):
        return True
    __radd__ = __rsub__ = __eq__
def double(x):
    return Number(1)
""",
    ),
    Attack(
        name="tensor-whose-comparisons-hold",
        family="forged results",
        defence=VALUES,
        off=Naive(),
        gained=points,
        double="""\
import torch
class Yes(torch.Tensor):
    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        return True
    __eq__ = lambda self, other: True
def double(x):
    return torch.zeros(1).as_subclass(Yes)
""",
    ),
    Attack(
        name="pickled-result",
        family="forged results",
        defence=NO_PICKLE,
        off=Patched(unpickle),
        gained=points,
        last=f"""\
import confined.probe.wire as wire
wire.Encoder.encode = lambda self, value, depth=0: {{"pickle": "{PICKLED}"}}
""",
    ),
    Attack(
        name="asserts-left-out-by-the-parser",
        family="patched libraries",
        defence=OWN_PROCESS,
        off=Naive(),
        gained=points,
        first="""\
import ast
class NoAsserts(ast.NodeTransformer):
    def visit_Assert(self, node):
        return ast.Pass()
get_ipython().ast_transformers.append(NoAsserts())
""",
    ),
    Attack(
        name="asserts-left-out-before-parsing",
        family="patched libraries",
        defence=OWN_PROCESS,
        off=Naive(),
        gained=points,
        first="""\
def without_asserts(lines):
    return [line for line in lines if not line.startswith("assert")]
get_ipython().input_transformers_cleanup.append(without_asserts)
""",
    ),
    Attack(
        name="numpy-agrees-with-everything",
        family="patched libraries",
        defence=OWN_PROCESS,
        off=Naive("numpy"),
        gained=points,
        first="import numpy.testing\nnumpy.testing.assert_allclose = lambda *args, **more: None",
    ),
    Attack(
        name="numpy-testing-replaced",
        family="patched libraries",
        defence=OWN_PROCESS,
        off=Naive("numpy"),
        gained=points,
        first="""\
import sys, types, numpy
fake = types.ModuleType("numpy.testing")
fake.__getattr__ = lambda name: lambda *args, **more: None
sys.modules["numpy.testing"] = numpy.testing = fake
""",
    ),
    Attack(
        name="tracebacks-shown-to-nobody",
        family="swallowed exceptions",
        defence=SILENCE,
        off=Naive(),
        gained=points,
        first="get_ipython()._showtraceback = lambda *args, **more: None",
    ),
    Attack(
        name="exceptions-handled-by-the-student",
        family="swallowed exceptions",
        defence=SILENCE,
        off=Naive(),
        gained=points,
        first="get_ipython().set_custom_exc((BaseException,), lambda *args, **more: None)",
    ),
    Attack(
        name="points-in-metadata",
        family="gradebook",
        defence=RELEASE,
        off=Otherwise(stock_points),
        gained=points,
        edit=forge_metadata,
    ),
    Attack(
        name="score-cell-twice",
        family="gradebook",
        defence=RELEASE,
        off=Otherwise(stock_batch),
        gained=lambda trace: "the submission is lost" if trace.score is None else "",
        edit=duplicate_score_cells,
    ),
    Attack(
        name="marks-written-into-the-gradebook",
        family="gradebook",
        defence=ABSENT,
        off=Inside(),
        gained=manual_marks,
        first="""\
import sqlite3
with sqlite3.connect("file:@CLASS@/gradebook.db?mode=rw", uri=True) as gradebook:
    gradebook.execute("UPDATE grade SET manual_score = 99, needs_manual_grade = 0")
""",
    ),
]
