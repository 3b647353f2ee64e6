"""The house rules that tools can check: style, types, imports, sizes, and what the files say."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PYTHON = [REPOSITORY / name for name in ("lib/steerlab", "autograder/autograder", "benchmarks")]


def tracked() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [REPOSITORY / name for name in listed.stdout.split("\0") if name]


@pytest.mark.parametrize("arguments", [["check", "."], ["format", "--check", "."]])
def test_ruff_has_nothing_to_say(arguments):
    run = subprocess.run(
        [sys.executable, "-m", "ruff", *arguments],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.check
def test_types_are_clean():
    run = subprocess.run(
        [sys.executable, "-m", "mypy", *map(str, PYTHON)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout


def test_steerlab_never_imports_autograder():
    for path in (REPOSITORY / "lib").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not any(name.split(".")[0] == "autograder" for name in names), path


def test_no_shipped_code_is_left_unfinished():
    marks = re.compile("TO" + "DO|FIX" + "ME|X" + "XX")
    for folder in PYTHON:
        for path in folder.rglob("*.py"):
            assert not marks.search(path.read_text("utf-8")), path


def test_the_conda_environment_installs_the_same_two_packages():
    text = (REPOSITORY / "environment.yml").read_text("utf-8")
    assert "--editable lib[pretrained,explore]\n" in text
    assert "--editable autograder[test]" in text
    assert "--constraint constraints.txt" in text
    wanted = re.search(r"python=(3\.\d+)", text)
    assert wanted
    for name in ("lib", "autograder"):
        project = tomllib.loads((REPOSITORY / name / "pyproject.toml").read_text("utf-8"))[
            "project"
        ]
        assert project["requires-python"] == ">=3.11"
        assert int(wanted.group(1).split(".")[1]) >= 11


def test_every_pin_belongs_to_a_requirement_or_to_what_it_needs():
    pins = [
        line.split("==")[0].lower().replace("_", "-")
        for line in (REPOSITORY / "constraints.txt").read_text("utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    assert len(pins) == len(set(pins))
    for name in ("lib", "autograder"):
        project = tomllib.loads((REPOSITORY / name / "pyproject.toml").read_text("utf-8"))[
            "project"
        ]
        for requirement in project["dependencies"]:
            package = re.split(r"[<>=\[; ]", requirement)[0].lower()
            assert package == "steerlab" or package in pins, package
            assert "==" not in requirement


@pytest.mark.parametrize(("folder", "package"), [("lib", "steerlab"), ("autograder", "autograder")])
def test_an_installation_takes_every_package_along(folder, package):
    text = (REPOSITORY / folder / "pyproject.toml").read_text("utf-8")
    listed = set(tomllib.loads(text)["tool"]["setuptools"]["packages"])
    found = {
        ".".join(path.parent.relative_to(REPOSITORY / folder).parts)
        for path in (REPOSITORY / folder / package).rglob("__init__.py")
    }
    assert found == listed


def test_the_repository_stays_small():
    files = [path for path in tracked() if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 60_000_000
    assert max(path.stat().st_size for path in files) <= 5_000_000


def test_files_speak_of_the_product_only():
    words = re.compile("/wo" + "rk/|[\"' ]/ro" + "ot/|far" + "m-")
    for path in tracked():
        if path.suffix in {".py", ".toml", ".md", ".yml", ".sh", ".j2"} and path.is_file():
            assert not words.search(path.read_text("utf-8")), path
