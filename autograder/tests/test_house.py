"""The house rules that tools can check: style, types, imports, sizes, and what the files say."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

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


def conda_environment() -> tuple[list[str], list[str]]:
    """environment.yml's own packages, and the lines that it hands to pip."""
    listed = yaml.safe_load((REPOSITORY / "environment.yml").read_text("utf-8"))["dependencies"]
    (for_pip,) = [entry["pip"] for entry in listed if isinstance(entry, dict)]
    return [entry for entry in listed if isinstance(entry, str)], for_pip


def project(folder: str) -> dict:
    return tomllib.loads((REPOSITORY / folder / "pyproject.toml").read_text("utf-8"))["project"]


def test_the_conda_environment_installs_both_packages_with_their_extras():
    _, for_pip = conda_environment()
    assert for_pip[0] == "--constraint constraints.txt"
    installed = {}
    for line in for_pip[1:]:
        folder, extras = re.fullmatch(r"--editable (\w+)\[([\w,]+)\]", line).groups()
        installed[folder] = set(extras.split(","))
        assert installed[folder] <= project(folder)["optional-dependencies"].keys()
    assert installed.keys() == {"lib", "autograder"}
    # The same two, with the same extras, as everywhere else.
    setup = (REPOSITORY / "setup.sh").read_text("utf-8")
    assert installed == {
        folder: set(extras.split(","))
        for folder, extras in re.findall(r"--editable '(\w+)\[([\w,]+)\]'", setup)
    }


def test_the_conda_environment_brings_a_python_that_suits_and_what_pip_cannot_bring():
    own, _ = conda_environment()
    (version,) = [entry.removeprefix("python=") for entry in own if entry.startswith("python=")]
    for folder in ("lib", "autograder"):
        assert SpecifierSet(project(folder)["requires-python"]).contains(version)
        # Two installers of one package would undo each other's work.
        for requirement in project(folder)["dependencies"]:
            assert Requirement(requirement).name not in own
    setup = (REPOSITORY / "setup.sh").read_text("utf-8")
    system = set(re.findall(r'\bpackages="\$packages ([a-z]+)\d*"', setup)) - {"python"}
    assert system == {"bubblewrap", "libseccomp"}
    assert {"pip", *system} <= set(own)


def test_every_requirement_of_an_extra_is_pinned_too():
    pins = (REPOSITORY / "constraints.txt").read_text("utf-8").splitlines()
    names = {canonicalize_name(line.split("==")[0]) for line in pins if "==" in line}
    for folder in ("lib", "autograder"):
        for extra in project(folder)["optional-dependencies"].values():
            for requirement in map(Requirement, extra):
                assert canonicalize_name(requirement.name) in names, requirement


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
