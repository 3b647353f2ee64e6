"""A Gradescope package of the toy course, and a folder laid out as its container's /autograder."""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import jsonschema
import nbformat
from autograder.course import Course
from container import run_in_container
from toy_course import CANARY, REPOSITORY, make_toy_course

VISIBILITY = {"enum": ["hidden", "after_due_date", "after_published", "visible"]}
FORMAT = {"enum": ["text", "html", "simple_format", "md", "ansi"]}
#: Gradescope's autograder specification, "Output format".
SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "score": {"type": "number"},
        "execution_time": {"type": "integer", "minimum": 0},
        "output": {"type": "string"},
        "output_format": FORMAT,
        "test_output_format": FORMAT,
        "test_name_format": FORMAT,
        "visibility": VISIBILITY,
        "stdout_visibility": VISIBILITY,
        "extra_data": {"type": "object"},
        "leaderboard": {"type": "array"},
        "tests": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["score", "max_score", "name", "output"],
                "properties": {
                    "score": {"type": "number", "minimum": 0},
                    "max_score": {"type": "number", "minimum": 0},
                    "status": {"enum": ["passed", "failed"]},
                    "name": {"type": "string"},
                    "name_format": FORMAT,
                    "number": {"type": "string"},
                    "output": {"type": "string"},
                    "output_format": FORMAT,
                    "tags": {"type": "array", "items": {"type": "string"}},
                    "visibility": VISIBILITY,
                    "extra_data": {"type": "object"},
                },
            },
        },
    },
}


def packaged_course(root: Path) -> Course:
    """The toy course with all that a package is made of."""
    made = make_toy_course(root)
    (root / "autograder" / "autograder").symlink_to(REPOSITORY / "autograder" / "autograder")
    (root / "autograder" / "pyproject.toml").symlink_to(REPOSITORY / "autograder/pyproject.toml")
    (root / "constraints.txt").symlink_to(REPOSITORY / "constraints.txt")
    return made


class Gradescope:
    """A folder laid out as /autograder, and runs of run_autograder in it."""

    def __init__(self, root: Path, package: Path) -> None:
        self.root = root
        for name in ("source", "submission", "results"):
            (root / name).mkdir(parents=True)
        with zipfile.ZipFile(package) as archive:
            archive.extractall(root / "source")  # which loses the modes, as the real one may
        (root / "source" / "run_autograder").chmod(0o755)
        (root / "source").chmod(0o755)

    def run(
        self, notebook: nbformat.NotebookNode | None, after: str = "true", **kinds: Any
    ) -> dict[str, Any]:
        """Hand a notebook in; what results.json says when everything has ended."""
        for path in (self.root / "submission").iterdir():
            path.unlink()
        (self.root / "results" / "results.json").unlink(missing_ok=True)
        if notebook is not None:
            nbformat.write(notebook, self.root / "submission" / "01_toy.ipynb")
        start = (
            f"STEERLAB_ENVIRONMENT={sys.prefix} /autograder/source/run_autograder; "
            f"cp /autograder/results/results.json /autograder/results/first.json; {after}"
        )
        done = run_in_container(["sh", "-c", start], {self.root: "/autograder"}, **kinds)
        self.said = done.stdout + done.stderr
        text = (self.root / "results" / "results.json").read_text()
        assert text == (self.root / "results" / "first.json").read_text(), "changed afterwards"
        content: dict[str, Any] = json.loads(text)
        jsonschema.validate(content, SCHEMA)
        assert CANARY not in text
        return content
