"""What Colab, browsers and students do to a notebook between release and hand-in, as operators.

Each operator changes a `Draft` and says what that may cost: most keep every mark ("preserving"), some
lose exactly the task that they hit ("destroying"). `mutants(...)` is the hypothesis strategy that
draws a few of them; no two hit one task, so that the label of the whole stays exact.

The order in which they act is that of life: first the cells are worked on, then single answers,
then the editor saves its metadata, then the file is encoded, named and wrapped.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import nbformat
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from nbformat import NotebookNode

Draw = Callable[[st.SearchStrategy[Any]], Any]
Cell = dict[str, Any]


@dataclass
class Draft:
    """A student's notebook on its way to being handed in; cells carry `_task` until it is written."""

    assignment: str
    cells: list[Cell]
    stubs: dict[str, str]
    metadata: dict[str, Any] = field(default_factory=dict)
    hit: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)

    def at(self, task: str) -> int:
        """Where the answer cell of a task stands."""
        return next(i for i, cell in enumerate(self.cells) if cell.get("_task") == task)

    def others(self) -> list[int]:
        """Where the cells stand that are no answers."""
        return [at for at, cell in enumerate(self.cells) if "_task" not in cell]

    def __repr__(self) -> str:
        return f"Draft({self.assignment}, {len(self.cells)} cells)"

    def text(self) -> str:
        """The notebook as an .ipynb file's text."""
        cells = [{k: v for k, v in c.items() if k != "_task"} for c in self.cells]
        return json.dumps(
            {"cells": cells, "metadata": self.metadata, "nbformat": 4, "nbformat_minor": 5}
        )


@dataclass(frozen=True)
class Mutant:
    """What is handed in: files by name, the operators behind them, and the tasks that must be lost."""

    files: dict[str, bytes]
    operators: tuple[str, ...]
    lost: frozenset[str]

    def __repr__(self) -> str:
        return f"Mutant({' + '.join(self.operators) or 'untouched'}, lost={sorted(self.lost)})"


def draft_of(assignment: str, solved: NotebookNode, release: NotebookNode) -> Draft:
    """A draft of a notebook in which every task is answered."""
    marker = re.compile(rf"# graded: {assignment}/(\w+)")
    cells: list[Cell] = json.loads(nbformat.writes(solved))["cells"]
    for cell in cells:
        cell["source"] = "".join(cell["source"])
        if cell["cell_type"] == "code" and (found := marker.match(cell["source"])):
            cell["_task"] = found.group(1)
    stubs = {
        found.group(1): cell.source
        for cell in release.cells
        if cell.cell_type == "code" and (found := marker.match(cell.source))
    }
    metadata = json.loads(nbformat.writes(solved))["metadata"]
    return Draft(assignment, cells, stubs, metadata)


def code(source: str) -> Cell:
    """A code cell that somebody inserted."""
    fresh: Cell = json.loads(json.dumps(nbformat.v4.new_code_cell(source)))
    return fresh


def text(source: str) -> Cell:
    """A text cell that somebody inserted."""
    fresh: Cell = json.loads(json.dumps(nbformat.v4.new_markdown_cell(source)))
    return fresh


# ------------------------------------------------------------------- the cells are worked on

SCRATCH = (
    "x = 41 + 1\nprint(x)",
    "1 / 0",
    "this is not Python at all",
    "!nvidia-smi\n%matplotlib inline",
    "import numpy as np\nnp.zeros(3)",
    "# back to this later",
)


def inserted_scratch_cell(draft: Draft, draw: Draw) -> None:
    spot = draw(st.sampled_from([0.0, 0.3, 0.5, 0.7, 1.0]))
    draft.cells.insert(round(spot * len(draft.cells)), code(draw(st.sampled_from(SCRATCH))))


def inserted_text_cell(draft: Draft, draw: Draw) -> None:
    at = draw(st.integers(0, len(draft.cells)))
    draft.cells.insert(at, text(draw(st.text(max_size=30))))


def inserted_empty_cells(draft: Draft, draw: Draw) -> None:
    for _ in range(draw(st.integers(1, 5))):
        draft.cells.insert(draw(st.integers(0, len(draft.cells))), code("\n  \n"))


def pasted_image(draft: Draft, draw: Draw) -> None:
    image = "![plot](data:image/png;base64," + "iVBORw0KGgo" * 30_000 + ")"
    draft.cells.insert(draw(st.integers(0, len(draft.cells))), text(image))


def deleted_other_cells(draft: Draft, draw: Draw) -> None:
    """Texts, imports, checks, demonstrations, score cells: whatever is no answer."""
    if not (others := draft.others()):
        return
    gone = draw(st.sets(st.sampled_from(others), min_size=1, max_size=len(others)))
    draft.cells = [cell for i, cell in enumerate(draft.cells) if i not in gone]


def deleted_all_but_the_answers(draft: Draft, draw: Draw) -> None:
    draft.cells = [cell for cell in draft.cells if "_task" in cell]


def emptied_other_cells(draft: Draft, draw: Draw) -> None:
    others = draft.others()
    for at in draw(st.lists(st.sampled_from(others), max_size=4)) if others else []:
        draft.cells[at]["source"] = ""


def shuffled_cells(draft: Draft, draw: Draw) -> None:
    draft.cells = draw(st.permutations(draft.cells))


def moved_a_cell(draft: Draft, draw: Draw) -> None:
    cell = draft.cells.pop(draw(st.integers(0, len(draft.cells) - 1)))
    draft.cells.insert(draw(st.integers(0, len(draft.cells))), cell)


def duplicated_other_cell(draft: Draft, draw: Draw) -> None:
    """Copy and paste keeps the id in some editors."""
    if not (others := draft.others()):
        return
    at = draw(st.sampled_from(others))
    draft.cells.insert(at + 1, deepcopy(draft.cells[at]))


def duplicated_the_whole_notebook(draft: Draft, draw: Draw) -> None:
    again = deepcopy(draft.cells)
    for cell in again:
        cell.pop("_task", None)
    draft.cells = again + draft.cells if draw(st.booleans()) else draft.cells + again


def forged_score_cells(draft: Draft, draw: Draw) -> None:
    for cell in draft.cells:
        if cell["source"].startswith("# score:"):
            cell["source"] += "\n100"
            cell["metadata"]["nbgrader"] = {"points": 1000, "grade": True, "grade_id": "mine"}


def retyped_other_cells(draft: Draft, draw: Draw) -> None:
    others = draft.others()
    for at in draw(st.lists(st.sampled_from(others), max_size=3)) if others else []:
        text_already = draft.cells[at]["cell_type"] == "markdown"
        _retype(draft.cells[at], "raw" if text_already else "markdown")


def _retype(cell: Cell, kind: str) -> None:
    cell["cell_type"] = kind
    for key in ("outputs", "execution_count"):
        cell.pop(key, None)


# ------------------------------------------------------------------- single answers: preserving


def duplicated_answer(draft: Draft, task: str, draw: Draw) -> None:
    at = draft.at(task)
    copy = deepcopy(draft.cells[at])
    del copy["_task"]
    draft.cells.insert(at + draw(st.integers(0, 1)), copy)


def earlier_version_kept(draft: Draft, task: str, draw: Draw) -> None:
    at = draft.at(task)
    old = code(draft.stubs[task].split("\n")[0] + f"\ndef {task}(*args):\n    return 'first try'")
    draft.cells.insert(draw(st.integers(0, at)), old)


def stub_pasted_again(draft: Draft, task: str, draw: Draw) -> None:
    at = draw(st.integers(0, len(draft.cells)))
    draft.cells.insert(at, code(draft.stubs[task]))


def split_answer(draft: Draft, task: str, draw: Draw) -> None:
    """The editor's "split cell", once or twice, at any line."""
    for _ in range(draw(st.integers(1, 2))):
        at = draft.at(task)
        lines = draft.cells[at]["source"].rstrip("\n").split("\n")
        if len(lines) < 2:
            return
        cut = draw(st.integers(1, len(lines) - 1))
        draft.cells[at]["source"] = "\n".join(lines[:cut])
        draft.cells.insert(at + 1, code("\n".join(lines[cut:])))


def answer_as_text(draft: Draft, task: str, draw: Draw) -> None:
    _retype(draft.cells[draft.at(task)], draw(st.sampled_from(["markdown", "raw"])))


def lost_marker(draft: Draft, task: str, draw: Draw) -> None:
    cell = draft.cells[draft.at(task)]
    cell["source"] = cell["source"].split("\n", 1)[1]


def retyped_marker(draft: Draft, task: str, draw: Draw) -> None:
    cell = draft.cells[draft.at(task)]
    name = f"{draft.assignment}/{task}"
    variants = [f"#graded:{name}", f"# Graded: {name}  ", f"## graded: {name} (done)"]
    variants += [f"  # graded : {draft.assignment} / {task}", f"# graded: {name}\t"]
    cell["source"] = draw(st.sampled_from(variants)) + "\n" + cell["source"].split("\n", 1)[1]


def lines_above_the_marker(draft: Draft, task: str, draw: Draw) -> None:
    cell = draft.cells[draft.at(task)]
    above = ["#@title My answer { run: 'auto' }", "%%time", "\n\n", "# I had help from Ben\n#\n#"]
    cell["source"] = draw(st.sampled_from(above)) + "\n" + cell["source"]


def helpers_above_the_marker(draft: Draft, task: str, draw: Draw) -> None:
    cell = draft.cells[draft.at(task)]
    helper = "\n".join(f"helper_{n} = {n}" for n in range(12))
    cell["source"] = helper + "\n" + cell["source"]


def answered_below_the_stub(draft: Draft, task: str, draw: Draw) -> None:
    """The marked cell is left as it came; the function stands in a new cell below it."""
    at = draft.at(task)
    answer = draft.cells[at]["source"].split("\n", 1)[1]
    draft.cells[at]["source"] = draft.stubs[task]
    draft.cells.insert(at + draw(st.integers(1, 2)), code(answer))


def answered_in_the_score_cell(draft: Draft, task: str, draw: Draw) -> None:
    at = draft.at(task)
    found = [
        c for c in draft.cells if c["source"].startswith(f"# score: {draft.assignment}/{task}")
    ]
    if not found:
        return
    answer = draft.cells[at]["source"].split("\n", 1)[1]
    draft.cells[at]["source"] = draft.stubs[task]
    found[0]["source"] += "\n" + answer


def answered_in_a_check_cell(draft: Draft, task: str, draw: Draw) -> None:
    """Typed above the code of another cell of the assignment, which keeps its id."""
    at = draft.at(task)
    hosts = [
        c for c in draft.cells if c["cell_type"] == "code" and c.get("id") and "_task" not in c
    ]
    hosts = [c for c in hosts if f"({task}" in c["source"] or f"{task}(" in c["source"]]
    hosts = [c for c in hosts if "def " not in c["source"]]
    if not hosts:
        return
    answer = draft.cells[at]["source"].split("\n", 1)[1]
    draft.cells[at]["source"] = draft.stubs[task]
    hosts[0]["source"] = answer + "\n\n" + hosts[0]["source"]


def merged_with_the_next(draft: Draft, task: str, draw: Draw) -> None:
    at = draft.at(task)
    _merge(draft, at, at + 1, task)


def merged_with_the_one_above(draft: Draft, task: str, draw: Draw) -> None:
    at = draft.at(task)
    _merge(draft, at - 1, at, task)


def _merge(draft: Draft, first: int, second: int, task: str) -> None:
    """Nothing where one of the two is no code, is worked on otherwise, or would break the other."""
    if first < 0 or second >= len(draft.cells):
        return
    above, below = draft.cells[first], draft.cells[second]
    others = {above.get("_task"), below.get("_task")} - {task}
    slow = "explore" in below["metadata"].get("tags", [])
    useless = below["source"] in SCRATCH or not below["source"].strip()
    if (
        others & draft.hit
        or slow
        or useless
        or {above["cell_type"], below["cell_type"]} != {"code"}
    ):
        return
    above["source"] = above["source"].rstrip("\n") + "\n" + below["source"]
    above["_task"] = task
    del draft.cells[second]


def name_reused_below(draft: Draft, task: str, draw: Draw) -> None:
    draft.cells.append(code(f"{task} = None"))


# ------------------------------------------------------------------- single answers: destroying


def deleted_answer(draft: Draft, task: str, draw: Draw) -> None:
    del draft.cells[draft.at(task)]


def emptied_answer(draft: Draft, task: str, draw: Draw) -> None:
    draft.cells[draft.at(task)]["source"] = draw(st.sampled_from(["", "\n", "  \n"]))


def reset_answer(draft: Draft, task: str, draw: Draw) -> None:
    draft.cells[draft.at(task)]["source"] = draft.stubs[task]


def broken_answer(draft: Draft, task: str, draw: Draw) -> None:
    cell = draft.cells[draft.at(task)]
    broken = ["\nreturn (", "\nif True", "\n  )", "\nprint 'done'"]
    cell["source"] = cell["source"].rstrip("\n") + draw(st.sampled_from(broken))


def renamed_function(draft: Draft, task: str, draw: Draw) -> None:
    cell = draft.cells[draft.at(task)]
    cell["source"] = cell["source"].replace(f"def {task}(", f"def my_{task}(")


def answer_that_raises(draft: Draft, task: str, draw: Draw) -> None:
    cell = draft.cells[draft.at(task)]
    marker = draft.stubs[task].split("\n")[0]
    cell["source"] = f"{marker}\ndef {task}(*args, **kwargs):\n    raise RuntimeError('not yet')"


# ------------------------------------------------------------------- the editor saves


def colab_metadata(draft: Draft, draw: Draw) -> None:
    """Colab gives ids of its own, keeps them in the metadata, and knows nothing of nbgrader's."""
    draft.metadata = {
        "colab": {"provenance": [], "gpuType": "T4", "toc_visible": True},
        "accelerator": "GPU",
        "kernelspec": {"name": "python3", "display_name": "Python 3"},
        "language_info": {"name": "python"},
    }
    for number, cell in enumerate(draft.cells):
        identifier = f"{number:04d}qXtB{draw(st.integers(0, 9))}"
        cell["id"] = identifier
        cell["metadata"] = {"id": identifier, "colab": {"base_uri": "https://localhost:8080/"}}
        if cell["cell_type"] == "code":
            cell["metadata"]["outputId"] = "a1b2"


def lost_nbgrader_metadata(draft: Draft, draw: Draw) -> None:
    for cell in draft.cells:
        cell["metadata"] = {}


def new_cell_ids(draft: Draft, draw: Draw) -> None:
    for number, cell in enumerate(draft.cells):
        cell["id"] = f"vscode-{number}"


def one_id_for_all(draft: Draft, draw: Draw) -> None:
    for cell in draft.cells:
        cell["id"] = "same"


def forged_metadata(draft: Draft, draw: Draw) -> None:
    for cell in draft.cells:
        cell["metadata"] = {
            "nbgrader": {"grade": True, "points": 99, "solution": True, "grade_id": "x"},
            "steerlab": {"role": "score", "task": "x"},
            "tags": "explore",
        }


def unknown_kernelspec(draft: Draft, draw: Draw) -> None:
    names = ["python2", "ir", "conda-env-ml-py", "", "../../evil"]
    name = draw(st.sampled_from(names))
    draft.metadata["kernelspec"] = {"name": name, "display_name": name, "language": "R"}
    draft.metadata["language_info"] = {"name": "R", "version": "4.3"}


def no_notebook_metadata(draft: Draft, draw: Draw) -> None:
    draft.metadata = {}


def own_outputs(draft: Draft, draw: Draw) -> None:
    shown = {"text/plain": "1000000.0", "text/html": "<script>alert(1)</script>"}
    for cell in draft.cells:
        if cell["cell_type"] == "code":
            cell["execution_count"] = 7
            cell["outputs"] = [
                {
                    "output_type": "execute_result",
                    "data": shown,
                    "metadata": {},
                    "execution_count": 7,
                },
                {"output_type": "stream", "name": "stderr", "text": "warning\n" * 50},
                {"output_type": "error", "ename": "E", "evalue": "v", "traceback": ["\x1b[31mE"]},
            ]
    widgets = {"application/vnd.jupyter.widget-state+json": {"state": {"a": "b" * 1000}}}
    draft.metadata["widgets"] = widgets


def windows_line_ends(draft: Draft, draw: Draw) -> None:
    end = draw(st.sampled_from(["\r\n", "\r"]))
    for cell in draft.cells:
        cell["source"] = cell["source"].replace("\n", end)


def trailing_blanks(draft: Draft, draw: Draw) -> None:
    for cell in draft.cells:
        cell["source"] = cell["source"] + "\n\n   \n"


# ------------------------------------------------------------------- the file is written and named


def plain_file(draft: Draft, draw: Draw) -> bytes:
    return draft.text().encode()


def byte_order_mark(draft: Draft, draw: Draw) -> bytes:
    return (
        b"\xef\xbb\xbf"
        + json.dumps(json.loads(draft.text()), indent=1).replace("\n", "\r\n").encode()
    )


def utf_16(draft: Draft, draw: Draw) -> bytes:
    return draft.text().encode("utf-16")


def format_3(draft: Draft, draw: Draw) -> bytes:
    notebook = nbformat.reads(draft.text(), as_version=4)
    return json.dumps(nbformat.convert(notebook, 3)).encode()


def format_4_0(draft: Draft, draw: Draw) -> bytes:
    raw = json.loads(draft.text())
    raw["nbformat_minor"] = draw(st.sampled_from([0, 2, 4]))
    for cell in raw["cells"]:
        cell.pop("id", None)
    return json.dumps(raw).encode()


def odd_structure(draft: Draft, draw: Draw) -> bytes:
    """Sources as lists, fields left out or of the wrong type, entries that are no cells."""
    raw = json.loads(draft.text())
    for cell in raw["cells"]:
        cell["source"] = cell["source"].splitlines(keepends=True)
        for key in draw(st.sets(st.sampled_from(["outputs", "metadata", "id", "execution_count"]))):
            cell[key] = draw(st.sampled_from([None, 3, "odd", []]))
    raw["cells"][1:1] = [None, 7, "text", {}, {"cell_type": "heading", "source": None}]
    raw["metadata"] = draw(st.sampled_from([None, [], {}]))
    raw["surprise"] = {"deep": [[[]]]}
    return json.dumps(raw).encode()


RENAMED = (
    "{id} (1).ipynb",
    "{id}-2.ipynb",
    "Copy of {id}.ipynb",
    "Kopie von {id} (3).ipynb",
    "my homework.ipynb",
    "{id}.ipynb.txt",
    "{id}.ipynb.json",
    "{ID}.IPYNB",
    "handed in/{id}.ipynb",
)


def own_name(draft: Draft, content: bytes, draw: Draw) -> dict[str, bytes]:
    return {f"{draft.assignment}.ipynb": content}


def renamed(draft: Draft, content: bytes, draw: Draw) -> dict[str, bytes]:
    pattern = draw(st.sampled_from(RENAMED))
    return {pattern.format(id=draft.assignment, ID=draft.assignment.upper()): content}


def zipped(draft: Draft, content: bytes, draw: Draw) -> dict[str, bytes]:
    file = io.BytesIO()
    folder = draw(st.sampled_from(["", "homework/"]))
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{folder}{draft.assignment}.ipynb", content)
        archive.writestr(f"__MACOSX/{folder}._{draft.assignment}.ipynb", b"\x00\x05\x16\x07")
    name = draw(st.sampled_from(["homework.zip", f"{draft.assignment}.ipynb"]))
    return {name: file.getvalue()}


def among_other_files(draft: Draft, content: bytes, draw: Draw) -> dict[str, bytes]:
    return {
        f"{draft.assignment}.ipynb": content,
        f".ipynb_checkpoints/{draft.assignment}-checkpoint.ipynb": b"{}",
        f"._{draft.assignment}.ipynb": b"\x00\x05\x16\x07",
        "scratch.ipynb": b"not even JSON",
        "Untitled.pdf": b"%PDF",
    }


# ------------------------------------------------------------------- the strategy

CELLS: tuple[Callable[[Draft, Draw], None], ...] = (
    inserted_scratch_cell,
    inserted_text_cell,
    inserted_empty_cells,
    pasted_image,
    deleted_other_cells,
    deleted_all_but_the_answers,
    emptied_other_cells,
    shuffled_cells,
    moved_a_cell,
    duplicated_other_cell,
    duplicated_the_whole_notebook,
    forged_score_cells,
    retyped_other_cells,
)
PRESERVING: tuple[Callable[[Draft, str, Draw], None], ...] = (
    duplicated_answer,
    earlier_version_kept,
    stub_pasted_again,
    split_answer,
    answer_as_text,
    lost_marker,
    retyped_marker,
    lines_above_the_marker,
    helpers_above_the_marker,
    answered_below_the_stub,
    answered_in_the_score_cell,
    answered_in_a_check_cell,
    merged_with_the_next,
    merged_with_the_one_above,
    name_reused_below,
)
DESTROYING: tuple[Callable[[Draft, str, Draw], None], ...] = (
    deleted_answer,
    emptied_answer,
    reset_answer,
    broken_answer,
    renamed_function,
    answer_that_raises,
)
SAVING: tuple[Callable[[Draft, Draw], None], ...] = (
    colab_metadata,
    lost_nbgrader_metadata,
    new_cell_ids,
    one_id_for_all,
    forged_metadata,
    unknown_kernelspec,
    no_notebook_metadata,
    own_outputs,
    windows_line_ends,
    trailing_blanks,
)
WRITING: tuple[Callable[[Draft, Draw], bytes], ...] = (
    plain_file,
    byte_order_mark,
    utf_16,
    format_3,
    format_4_0,
    odd_structure,
)
NAMING: tuple[Callable[[Draft, bytes, Draw], dict[str, bytes]], ...] = (
    own_name,
    renamed,
    zipped,
    among_other_files,
)
#: A copy of everything also holds a copy of each answer: it must be alone with the answers.
ALONE = duplicated_the_whole_notebook
ALL = tuple(o.__name__ for o in (*CELLS, *PRESERVING, *DESTROYING, *SAVING, *WRITING, *NAMING))


@st.composite
def mutants(draw: Draw, original: Draft) -> Mutant:
    """Mutants of a solved notebook: up to two operators on cells, two on answers, two on saving."""
    draft = deepcopy(original)
    on_cells = draw(st.lists(st.sampled_from(CELLS), max_size=2, unique=True))
    alone = ALONE in on_cells
    for operator in on_cells:
        operator(draft, draw)
    tasks: Sequence[str] = sorted(draft.stubs)
    hit = draw(st.lists(st.sampled_from(tasks), max_size=0 if alone else 2, unique=True))
    draft.hit = set(hit)
    on_answers = []
    for task in hit:
        # One answer at least stays: a notebook without any is refused, and gets no marks at all.
        destroys = len(draft.lost) + 1 < len(tasks) and draw(st.integers(0, 3)) == 0
        operator_on_task = draw(st.sampled_from(DESTROYING if destroys else PRESERVING))
        operator_on_task(draft, task, draw)
        on_answers.append(operator_on_task)
        draft.lost |= {task} if destroys else set()
    saving = draw(st.lists(st.sampled_from(SAVING), max_size=2, unique=True))
    for operator in saving:
        operator(draft, draw)
    write = draw(st.sampled_from(WRITING))
    name = draw(st.sampled_from(NAMING))
    files = name(draft, write(draft, draw), draw)
    names = [o.__name__ for o in (*on_cells, *on_answers, *saving, write, name)]
    return Mutant(files, tuple(names), frozenset(draft.lost))


def each_mutant(original: Draft, count: int, seed: int, act: Callable[[Mutant], None]) -> None:
    """Call `act` with `count` mutants, no two with the same files."""
    seen: set[int] = set()
    while len(seen) < count:

        @seeded(seed)
        @settings(
            max_examples=count,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(mutants(original))
        def draw(mutant: Mutant) -> None:
            key = hash(tuple(mutant.files.items()))
            if key not in seen and len(seen) < count:
                seen.add(key)
                act(mutant)

        draw()
        seed += 1
