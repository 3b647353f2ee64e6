"""What the documents name is there: functions, notebook parts, commands and their options."""

from __future__ import annotations

import importlib
import io
import re
import tomllib
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path

import autograder.cli
import pytest
import steerlab.cli
import yaml
from autograder.course import load_course

REPOSITORY = Path(__file__).resolve().parents[2]
FRONT = [REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md")]
DOCUMENTS = sorted([*FRONT, *(REPOSITORY / "docs").glob("*.md")])
MAIN = {"autograder": autograder.cli.main, "steerlab": steerlab.cli.main}
NAME = re.compile(r"`(steerlab(?:\.\w+)+)`")
PART = re.compile(r"\b(0[1-7]) · (Part \d+)(?: and (Part \d+))?")
CODE = re.compile(r"^```\w*\n(.*?)^```|`([^`\n]+)`", re.M | re.S)
COMMAND = re.compile(r"^(autograder|steerlab) ([a-z][a-z-]+)((?: [^\n#|]*)?)", re.M)
LINK = re.compile(r"\]\((?!https?:|#)([^)#]+)")


@pytest.fixture(params=DOCUMENTS, ids=lambda path: path.name)
def document(request):
    return request.param


def object_of(name: str) -> object:
    """What a dotted name means; raises ImportError, AttributeError."""
    words = name.split(".")
    for end in range(len(words), 0, -1):
        try:
            found = importlib.import_module(".".join(words[:end]))
        except ModuleNotFoundError:
            continue
        for word in words[end:]:
            # A field of a dataclass without a default is no attribute of its class.
            fields = getattr(found, "__dataclass_fields__", {})
            found = fields[word] if word in fields else getattr(found, word)
        return found
    raise ImportError(name)


@cache
def parts_of(number: str) -> frozenset[str]:
    """The parts that a notebook's source has."""
    (source,) = (REPOSITORY / "solutions").glob(f"{number}_*.py")
    return frozenset(re.findall(r"^# ## (Part \d+) ·", source.read_text("utf-8"), re.M))


@cache
def help_of(program: str, command: str) -> str:
    """What `program command --help` prints."""
    said = io.StringIO()
    with redirect_stdout(said), redirect_stderr(said), pytest.raises(SystemExit) as ended:
        MAIN[program]([command, "--help"])
    assert ended.value.code == 0, said.getvalue()
    return said.getvalue()


def test_every_function_that_a_document_names_is_there(document):
    for name in NAME.findall(document.read_text("utf-8")):
        object_of(name)


def test_every_part_of_a_notebook_that_a_document_names_is_there(document):
    for number, *parts in PART.findall(document.read_text("utf-8")):
        assert {part for part in parts if part} <= parts_of(number), (number, parts)


def test_every_command_and_option_that_a_document_shows_is_there(document):
    code = "\n".join("".join(found) for found in CODE.findall(document.read_text("utf-8")))
    for program, command, rest in COMMAND.findall(code):
        shown = help_of(program, command)
        for option in re.findall(r"(?<=\s)--[a-z][a-z-]+", rest):
            assert option in shown, f"{program} {command} has no {option}"


def test_every_file_that_a_document_links_to_is_there(document):
    for target in LINK.findall(document.read_text("utf-8")):
        assert (document.parent / target).exists(), target


def test_the_citation_and_both_packages_have_the_version_and_licence_of_the_release():
    cited = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text("utf-8"))
    course = load_course(REPOSITORY)
    assert f"v{cited['version']}" == course.release
    assert cited["repository-code"] == f"https://github.com/{course.student_repository}"
    assert {"cff-version", "message", "title", "authors"} <= set(cited)
    for name in ("lib", "autograder"):
        text = (REPOSITORY / name / "pyproject.toml").read_text("utf-8")
        project = tomllib.loads(text)["project"]
        assert (project["version"], project["license"]) == (cited["version"], cited["license"])
    licence = (REPOSITORY / "LICENSE").read_text("utf-8")
    assert "Apache License\n                           Version 2.0, January 2004" in licence
    assert "END OF TERMS AND CONDITIONS" in licence
