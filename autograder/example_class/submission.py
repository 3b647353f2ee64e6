"""One invented submission: a release notebook with answers put under its markers."""

from __future__ import annotations

import ast
import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from textwrap import dedent

import jupytext
import nbformat
from nbformat import NotebookNode

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
Answers = Mapping[str, str]


@dataclass(frozen=True)
class Assignment:
    """What submissions of one assignment are made of."""

    id: str

    @cached_property
    def solution(self) -> Answers:
        """The authors' answers by task, without their solution marks and comments."""
        notebook = jupytext.read(REPOSITORY / "solutions" / f"{self.id}.py", fmt="py:percent")
        marker = f"# graded: {self.id}/"
        return {
            cell.source.split("\n")[0].removeprefix(marker): ast.unparse(ast.parse(cell.source))
            for cell in notebook.cells
            if cell.source.startswith(marker)
        }

    def release(self) -> NotebookNode:
        """The notebook that students are given."""
        path = REPOSITORY / "assignments" / self.id / f"{self.id}.ipynb"
        return nbformat.read(path, as_version=4)

    def from_bank(self, **names: str) -> Answers:
        """Entries of the mistake bank, by task, without their docstring and labels."""
        found = {}
        for task, name in names.items():
            source = (HERE.parent / "mistakes" / self.id / f"{name}.py").read_text("utf-8")
            tree = ast.parse(source)
            labels = {"TASK", "EXPECT"}
            tree.body = [
                node
                for node in tree.body
                if not (isinstance(node, ast.Expr) or _binds_one_of(node, labels))
            ]
            found[task] = ast.unparse(tree)
        return found

    def answered(self, choices: Mapping[str, str]) -> NotebookNode:
        """A submission with, for each task, "solution", "untouched" or a mistake bank entry."""
        answers = {}
        for task, choice in choices.items():
            if choice == "solution":
                answers[task] = self.solution[task]
            elif choice != "untouched":
                answers.update(self.from_bank(**{task: choice}))
        return self.handed_in(answers)

    def handed_in(
        self, answers: Answers, *, model: str | None = None, essay: str = ""
    ) -> NotebookNode:
        """The release with these answers, each under its marker, and an essay."""
        notebook = copy.deepcopy(self.release())
        for cell in notebook.cells:
            for task, source in answers.items():
                if cell.source.startswith(f"# graded: {self.id}/{task}\n"):
                    cell.source = f"# graded: {self.id}/{task}\n{dedent(source).strip()}\n"
            if model is not None:
                cell.source = cell.source.replace('MODEL = "tiny"', f'MODEL = "{model}"')
            if essay and cell.source.startswith("<!-- graded:"):
                cell.source = cell.source.replace("*Your answer here.*", essay)
        return notebook

    def with_cell(
        self, notebook: NotebookNode, source: str, after: str | None = None
    ) -> NotebookNode:
        """An added code cell after the answer cell of a task, or at the end."""
        place = len(notebook.cells)
        for index, cell in enumerate(notebook.cells):
            if after is not None and cell.source.startswith(f"# graded: {self.id}/{after}\n"):
                place = index + 1
        source = dedent(source).strip()
        cell = nbformat.v4.new_code_cell(source)
        cell["id"] = "own-" + hashlib.sha256(source.encode()).hexdigest()[:12]
        notebook.cells.insert(place, cell)
        return notebook


def _binds_one_of(node: ast.stmt, names: set[str]) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else []
    return any(isinstance(target, ast.Name) and target.id in names for target in targets)
