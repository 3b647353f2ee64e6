"""`solutions/<id>.py` to the executed solution notebook and to the release that students open.

jupytext reads the py:percent source, nbclient runs it, and nbgrader's own generator makes the
release. The build fails where any solution, hidden test or author note would reach the release.
"""

from __future__ import annotations

import copy
import hashlib
import io
import logging
import re
import shutil
import tempfile
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbgrader.converters.base import NbGraderException
from nbgrader.converters.generate_assignment import GenerateAssignment
from nbgrader.coursedir import CourseDirectory
from nbgrader.preprocessors import (
    CheckCellMetadata,
    ClearOutput,
    ClearSolutions,
    ComputeChecksums,
    LockCells,
    SaveCells,
)
from traitlets.config import Config

from . import cells
from .course import Assignment, Course, CourseError
from .leaks import Secrets, find_leaks

BADGE = (
    "[![Open In Colab](https://colab.research.google.com/assets/colab-badge.svg)]"
    "(https://colab.research.google.com/github/{repository}/blob/{release}"
    "/assignments/{id}/{id}.ipynb)"
)
INSTALL = """\
#@title Install steerlab (needed on Colab; does nothing where it is installed)
import importlib.util

if importlib.util.find_spec("steerlab") is None:
    %pip install -q "steerlab[pretrained] @ git+https://github.com/{repository}@{release}#subdirectory=lib"
"""
KERNELSPEC = {"display_name": "Python 3", "language": "python", "name": "python3"}
AUTHOR_TAG, PREDICT_TAG, INSTALL_TAG = "author", "predict", "install"
# Colab's forms. The formatter of our sources wants a space after every "#"; students read Colab's own way.
FORM = re.compile(r"# @(title|param)\b")
PREDICTION = re.compile(r"^(\s*answer\s*=\s*)([^#\n]*?)(\s*#[^\n]*)?$", re.MULTILINE)
EXECUTION_SECONDS = 600
MAX_NOTEBOOK_BYTES = 3_000_000


class BuildError(CourseError):
    """The source cannot be made into an assignment; the message names the cell and the mend."""

    exit_code = 1


class TaskStubs(ClearSolutions):
    """nbgrader's ClearSolutions with the task's name in the stub that it leaves."""

    def preprocess_cell(self, cell, resources, cell_index):
        if found := cells.marker(cell.source, cells.ANSWER_MARKER):
            stub = f'raise NotImplementedError("{found[0]}/{found[1]}: your code here")'
            self.code_stub = {"python": f"# YOUR CODE HERE\n{stub}"}
        return super().preprocess_cell(cell, resources, cell_index)


class BlankPredictions(ClearSolutions):
    """Blank the author's guess in cells tagged `predict`: `answer = None`."""

    def preprocess(self, nb, resources):
        for cell in nb.cells:
            if cell.cell_type == "code" and PREDICT_TAG in cells.tags(cell):
                cell.source = PREDICTION.sub(r"\1None\3", cell.source, count=1)
        return nb, resources


def read_source(course: Course, assignment: Assignment) -> NotebookNode:
    """The author's source as a notebook with points, badge, install cell and stable ids."""
    path = course.solution_source(assignment.id)
    if not path.is_file():
        raise BuildError(f"{path} does not exist. Write the assignment there (py:percent).")
    notebook = jupytext.read(path, fmt="py:percent")
    notebook.cells = [cell for cell in notebook.cells if AUTHOR_TAG not in cells.tags(cell)]
    notebook.metadata = nbformat.from_dict(
        {"kernelspec": KERNELSPEC, "language_info": {"name": "python"}}
    )
    names = {
        "repository": course.student_repository,
        "release": course.release,
        "id": assignment.id,
    }
    for cell in notebook.cells:
        cell.metadata.pop("lines_to_next_cell", None)
        if INSTALL_TAG in cells.tags(cell):
            cell.source = INSTALL.format(**names).strip()
        if cell.cell_type == "code":
            cell.source = FORM.sub(r"#@\1", cell.source)
    badge = nbformat.v4.new_markdown_cell(BADGE.format(**names))
    notebook.cells.insert(0, badge)
    _set_points(notebook, assignment)
    _set_ids(notebook, assignment.id)
    check_structure(notebook, assignment)
    return notebook


def _set_points(notebook: NotebookNode, assignment: Assignment) -> None:
    points = {**assignment.tasks, **assignment.written}
    for cell in notebook.cells:
        role, task = cells.role_of_release_cell(cell)
        if role in (cells.SCORE, cells.WRITTEN):
            if task not in points:
                raise BuildError(f"{assignment.id}: course.toml gives no points for {task!r}.")
            cell.metadata["nbgrader"]["points"] = points[task]


def _set_ids(notebook: NotebookNode, assignment_id: str) -> None:
    """Ids that survive an edit elsewhere: from the task, else from the source."""
    seen: dict[str, int] = {}
    for cell in notebook.cells:
        role, task = cells.role_of_release_cell(cell)
        digest = hashlib.sha256(f"{assignment_id}\n{cell.source}".encode()).hexdigest()[:12]
        identifier = f"{role}-{task}" if task else f"{role}-{digest}"
        identifier = identifier.replace("_", "-")[:60]
        seen[identifier] = seen.get(identifier, 0) + 1
        cell["id"] = identifier if seen[identifier] == 1 else f"{identifier}-{seen[identifier]}"


def check_structure(notebook: NotebookNode, assignment: Assignment) -> None:
    """Every task is an answer cell with a score cell right after it; raises BuildError."""
    roles = [cells.role_of_release_cell(cell) for cell in notebook.cells]
    for task in assignment.tasks:
        where = [index for index, role in enumerate(roles) if role == (cells.ANSWER, task)]
        if len(where) != 1:
            raise BuildError(
                f"{assignment.id}: task {task} needs one answer cell that begins with "
                f"'# graded: {assignment.id}/{task}', found {len(where)}."
            )
        index = where[0]
        if index + 1 >= len(roles) or roles[index + 1] != (cells.SCORE, task):
            raise BuildError(
                f"{assignment.id}: the score cell of {task} must follow its answer cell."
            )
        if f"def {task}(" not in notebook.cells[index].source:
            raise BuildError(
                f"{assignment.id}: the answer cell of {task} defines no function {task}."
            )
    known = {(cells.ANSWER, task) for task in assignment.tasks}
    known |= {(cells.WRITTEN, task) for task in assignment.written}
    for role in roles:
        if role[0] in (cells.ANSWER, cells.WRITTEN) and role not in known:
            raise BuildError(f"{assignment.id}: cell {role[1]!r} has no points in course.toml.")
    for cell in notebook.cells:
        if PREDICT_TAG in cells.tags(cell) and not PREDICTION.search(cell.source):
            raise BuildError(f"{assignment.id}: a cell tagged `predict` has no line `answer = …`.")
    for task in assignment.written:
        if (cells.WRITTEN, task) not in roles:
            raise BuildError(f"{assignment.id}: the written question {task!r} has no cell.")


def execute(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """Run the solution in a fresh kernel; any cell that raises fails the build."""
    executed = copy.deepcopy(notebook)
    client = NotebookClient(
        executed,
        timeout=EXECUTION_SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()
    for cell in executed.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            output.get("metadata", {}).clear()
    executed.metadata.pop("widgets", None)
    executed.metadata["language_info"] = {"name": "python"}
    size = len(nbformat.writes(executed).encode())
    if size > MAX_NOTEBOOK_BYTES:
        raise BuildError(f"The executed notebook is {size / 1e6:.1f} MB: make its outputs smaller.")
    return executed


def generate_release(notebook: NotebookNode, assignment: Assignment) -> NotebookNode:
    """The student's notebook, made by nbgrader's GenerateAssignment in a scratch course."""
    with tempfile.TemporaryDirectory(prefix="build-") as scratch:
        write_source(notebook, assignment, Path(scratch))
        run_generator(assignment, generator_config(Path(scratch)))
        path = Path(scratch) / "release" / assignment.id / f"{assignment.id}.ipynb"
        release = nbformat.read(path, as_version=4)
    release.metadata = nbformat.from_dict(
        {"kernelspec": KERNELSPEC, "language_info": {"name": "python"}}
    )
    return release


def write_source(notebook: NotebookNode, assignment: Assignment, course_root: Path) -> Path:
    """Put the unexecuted source where nbgrader looks for it; nothing else may lie in that folder."""
    folder = course_root / "source" / assignment.id
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    path = folder / f"{assignment.id}.ipynb"
    nbformat.write(notebook, path)
    return path


def generator_config(course_root: Path) -> Config:
    """nbgrader's configuration for generating an assignment from our sources."""
    config = Config()
    config.CourseDirectory.root = str(course_root)
    config.CourseDirectory.db_url = f"sqlite:///{course_root / 'gradebook.db'}"
    config.GenerateAssignment.force = True
    config.TaskStubs.text_stub = "*Your answer here.*"
    return config


def run_generator(assignment: Assignment, config: Config, *, database: bool = False) -> None:
    """nbgrader's generator over one assignment; `database` fills the gradebook too."""
    config.CourseDirectory.assignment_id = assignment.id
    coursedir = CourseDirectory(config=config)
    said = io.StringIO()
    generator = GenerateAssignment(coursedir=coursedir, config=config, log=_log_into(said))
    chain: list[Any] = [
        LockCells,
        BlankPredictions,
        TaskStubs,
        ClearOutput,
        CheckCellMetadata,
        ComputeChecksums,
    ]
    if database:
        chain.append(SaveCells)
    generator.no_database = not database
    generator.preprocessors = chain
    try:
        generator.start()
    except NbGraderException as error:
        lines = [line for line in said.getvalue().splitlines() if line.strip()]
        why = next(
            (line for line in reversed(lines) if re.match(r"[\w.]+(Error|Exception)", line)), error
        )
        raise BuildError(f"nbgrader could not generate {assignment.id}: {why}") from error


def _log_into(stream: io.StringIO) -> logging.Logger:
    """A logger for nbgrader whose errors are kept for our message and not printed."""
    log = logging.getLogger(f"autograder.build.{id(stream)}")
    log.propagate = False
    log.setLevel(logging.ERROR)
    log.addHandler(logging.StreamHandler(stream))
    return log


def build(course: Course, assignment: Assignment, *, run: bool = True) -> list[Path]:
    """Make the solution and release notebooks of one assignment; returns the files written.

    Raises BuildError for a source that breaks the rules, a leak into the release, or a cell that
    fails. `run=False` keeps the executed solution notebook as it is.
    """
    notebook = read_source(course, assignment)
    release = generate_release(notebook, assignment)
    hidden = Secrets.of(course, assignment)
    if leaks := find_leaks(nbformat.writes(release), hidden):
        raise BuildError(f"{assignment.id}: the release would leak {leaks[0]}.")
    targets = [(release, course.release_notebook(assignment.id))]
    if run:
        executed = execute(notebook, course.repository)
        targets.append((executed, course.solution_notebook(assignment.id)))
    for content, path in targets:
        path.parent.mkdir(parents=True, exist_ok=True)
        nbformat.validate(content)
        path.write_text(nbformat.writes(content) + "\n", encoding="utf-8")
    return [path for _, path in targets]
