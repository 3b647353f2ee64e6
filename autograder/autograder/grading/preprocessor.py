"""nbgrader's own pipeline, led through the sandbox: `nbgrader autograde` gives the same scores.

Two preprocessors, named in the configuration that `autograder init` writes. `Intake` takes the
place of nbgrader's clean-up of submitted cells, `SandboxExecute` that of its Execute: it grades in
the sandbox, or takes the stored result of the very same notebook, and writes finite, clamped scores.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nbformat import NotebookNode
from nbgrader.preprocessors import NbGraderPreprocessor
from traitlets import Unicode

from .. import cells
from ..course import CourseError
from ..intake import Clean, Refused, clean_notebook
from ..results import GRADED, notebook_digest

#: Where a clean notebook's metadata say what intake did, for the preprocessor that grades it.
NOTED = "steerlab"


class Ungraded(Exception):
    """This submission gets no score; nbgrader reports it and goes on with the next."""


def with_repairs(clean: Clean) -> NotebookNode:
    """A clean notebook that says in its metadata what had to be repaired."""
    metadata = NotebookNode({**clean.notebook.metadata, NOTED: {"repairs": list(clean.repairs)}})
    return NotebookNode({**clean.notebook, "metadata": metadata})


class Intake(NbGraderPreprocessor):
    """Clean a submitted notebook before nbgrader's checks see it."""

    course_folder = Unicode("", help="The course folder that `autograder init` made.").tag(
        config=True
    )

    def preprocess(self, nb: NotebookNode, resources: Any) -> tuple[NotebookNode, Any]:
        """Replace the notebook by its clean form; raises Ungraded."""
        from .session import session_for

        assignment_id = resources["nbgrader"]["assignment"]
        release = session_for(Path(self.course_folder), assignment_id).release
        try:
            clean = clean_notebook(nb, assignment_id, release)
        except Refused as refusal:
            raise Ungraded(str(refusal)) from refusal
        return with_repairs(clean), resources


class SandboxExecute(NbGraderPreprocessor):
    """Run the notebook in the sandbox, score it in this process, freeze and sanitise its outputs."""

    course_folder = Unicode("", help="The course folder that `autograder init` made.").tag(
        config=True
    )

    def preprocess(self, nb: NotebookNode, resources: Any) -> tuple[NotebookNode, Any]:
        """The graded notebook; raises Ungraded where the machinery failed."""
        from .session import session_for

        assignment_id = resources["nbgrader"]["assignment"]
        session = session_for(Path(self.course_folder), assignment_id)
        repairs = tuple(nb.metadata.pop(NOTED, {}).get("repairs", ()))
        if not any(cells.role(cell) == cells.ANSWER for cell in nb.cells):
            raise CourseError("SandboxExecute needs Intake before it: see nbgrader_config.py.")
        digest = notebook_digest(nb)
        result = session.grade(Clean(nb, repairs))
        if result.status != GRADED:
            raise Ungraded(result.reason)
        if session.ledger is not None:
            student = resources["nbgrader"]["student"]
            session.ledger.append(student, result, "nbgrader autograde", digest)
        return session.page(result), resources
