"""What an attack is, how its defence is switched off, and what a run of it leaves to look at."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from autograder.leaks import disguises
from autograder.results import Result
from autograder.sandbox import Limits
from nbformat import NotebookNode

if TYPE_CHECKING:
    from .arena import Arena

WRONG = "def double(x):\n    return 0\n"
#: Points of a notebook whose `double` is wrong and whose `shift` is right.
SHIFT_ALONE = 3.0
FULL_MARKS = 5.0


@dataclass(frozen=True)
class Naive:
    """Off: grade as stock nbgrader does, with the tests as code in the student's own process.

    tests: "assert" or "numpy", what the test cells are written with.
    """

    tests: str = "assert"


@dataclass(frozen=True)
class Patched:
    """Off: one thing of the trusted side replaced while the control runs."""

    patch: Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Inside:
    """Off: one wall of the sandbox, by its name in `weakened.py`, or the given limits raised.

    Without a name, what the second sandbox lacks for all its kernels: the course's folders show in
    it, its library can be written, and the grader's environment is passed on.
    """

    walls: tuple[str, ...] = ()
    limits: Limits | None = None


@dataclass(frozen=True)
class Otherwise:
    """Off: what stock tools do with the submission; returns what they let out, "" for nothing."""

    stock: Callable[[Arena, Attack], str]


@dataclass(frozen=True)
class Attack:
    """One hostile notebook.

    defence: the one that it meets, in words.
    off: how the control switches that defence off.
    gained: what the attack got from a run, as text; "" for nothing.
    first, double, last: a cell before all others, the answer of the first task (after its marker),
    a cell after all others. In them @CLASS@, @COURSE@, @PORT@, @NAME@ and @PID@ are filled in.
    edit: further changes to the submitted notebook.
    earns: what its honest part is worth. A notebook that is refused or ends itself earns less.
    both: a patch for both runs, to make them short.
    neighbour: "before" or "after": when a second student's idle kernel is started, if at all.
    files: changes to the submission's folder.
    """

    name: str
    family: str
    defence: str
    off: Naive | Patched | Inside | Otherwise
    gained: Callable[[Trace], str]
    first: str = ""
    double: str = WRONG
    last: str = ""
    edit: Callable[[NotebookNode], None] | None = None
    earns: float = SHIFT_ALONE
    both: Callable[[pytest.MonkeyPatch], None] | None = None
    neighbour: str = ""
    files: Callable[[Arena, Path], None] | None = None


@dataclass
class Trace:
    """What one run left.

    score: points given; None where the submission was not graded.
    notebook: as graded, its outputs sanitised (or not, in a control).
    said: what leaves with it: graded notebook, feedback page, notes.
    folder: the class folder that the attack could have reached.
    neighbour: runs code in the second student's kernel, if there is one.
    seen: what the arena saw happen outside the sandbox.
    """

    score: float | None
    folder: Path
    notebook: NotebookNode = field(default_factory=nbformat.v4.new_notebook)
    result: Result | None = None
    page: Callable[[], str] = str
    neighbour: Callable[[str], str] = str
    seen: dict[str, Any] = field(default_factory=dict)

    @property
    def said(self) -> str:
        """The graded notebook and the feedback page."""
        return nbformat.writes(self.notebook) + self.page()

    @property
    def printed(self) -> str:
        """What the cells put out, as text."""
        outputs = [out for cell in self.notebook.cells for out in cell.get("outputs", [])]
        texts = [
            out.get("text", "") or out.get("data", {}).get("text/plain", "") for out in outputs
        ]
        return "\n".join(text for text in texts if isinstance(text, str))

    @property
    def details(self) -> str:
        """What the failed tests say, and the tasks' notes."""
        tasks = self.result.tasks if self.result else ()
        return "\n".join(
            part for t in tasks for part in [t.note, *(test.detail for test in t.tests)]
        )


def points(trace: Trace) -> str:
    """The gain of attacks that are after marks."""
    more = trace.score is not None and trace.score > SHIFT_ALONE
    return f"{trace.score} points" if more else ""


def says(pattern: str) -> Callable[[Trace], str]:
    """The gain of attacks that print their success."""

    def gained(trace: Trace) -> str:
        found = re.search(pattern, trace.printed)
        return found.group(0) if found else ""

    return gained


def leaked(canaries: list[str], text: str) -> str:
    """Which canary stands in a text, plain or disguised."""
    return next((c for c in canaries if any(form in text for form in disguises(c))), "")
