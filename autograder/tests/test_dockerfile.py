"""The Dockerfile: linted, every file that it copies is there, and its steps do what the README's set-up does.

No container engine is needed. The steps run outside one: the set-up in a copy of just the files that the
image has by then, with pip resolving everything and installing nothing.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from fnmatch import fnmatch
from pathlib import Path

import pytest
from autograder.sandbox.bubblewrap import CONTAINER_OPTIONS, explain
from container import CAPABILITIES, python_words, run_in_container

REPOSITORY = Path(__file__).resolve().parents[2]
DOCKERFILE = REPOSITORY / "Dockerfile"
GUIDE = (REPOSITORY / "docs" / "instructor-guide.md").read_text("utf-8")


def instructions(text: str) -> list[tuple[str, str]]:
    """(instruction, arguments) in order: comments left out, continued lines joined."""
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [
        (name.upper(), rest.strip())
        for name, _, rest in (line.partition(" ") for line in joined.splitlines() if line.strip())
    ]


STEPS = instructions(DOCKERFILE.read_text("utf-8"))


def of(name: str) -> list[str]:
    return [rest for instruction, rest in STEPS if instruction == name]


def ignored() -> list[str]:
    lines = (REPOSITORY / ".dockerignore").read_text("utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def is_ignored(path: str) -> bool:
    """Whether .dockerignore keeps a path, or a folder that it lies in, out of the build."""
    return any(
        fnmatch(name, pattern.removeprefix("**/"))
        for pattern in ignored()
        for name in (Path(path).parts if pattern.startswith("**/") else [Path(path).parts[0]])
    )


def system_packages() -> set[str]:
    """What the RUN steps install with apt-get."""
    return {
        word
        for step in of("RUN")
        for command in step.split("&&")
        if "apt-get install" in command
        for word in shlex.split(command)[2:]
        if not word.startswith("-")
    }


def test_hadolint_has_nothing_to_say():
    beside = Path(sys.executable).with_name("hadolint")
    program = shutil.which("hadolint") or (str(beside) if beside.is_file() else None)
    if program is None:
        pytest.skip("hadolint is not installed (autograder's extra `test` has it)")
    run = subprocess.run(
        [program, "--no-color", str(DOCKERFILE)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_comments_and_continued_lines_are_read_as_docker_reads_them():
    text = "# a\nFROM x:1\nRUN one \\\n    # between\n    && two\n\ncopy a b ./\n"
    assert instructions(text) == [("FROM", "x:1"), ("RUN", "one && two"), ("COPY", "a b ./")]


def test_the_image_begins_with_one_named_debian_that_has_a_new_enough_python():
    (base,) = of("FROM")
    found = re.fullmatch(r"debian:(\d+)-slim", base)
    assert found
    assert int(found[1]) >= 12  # with Python 3.11
    assert STEPS[0][0] == "FROM"


def test_every_file_that_is_copied_is_there_and_reaches_the_build():
    for copied in of("COPY"):
        *sources, _ = shlex.split(copied)
        for source in sources:
            assert (REPOSITORY / source).exists(), source
            assert source == "." or not is_ignored(source), source


def test_what_an_image_must_not_hold_stays_out():
    for name in (".git/HEAD", ".venv/bin/python", "lib/steerlab/__pycache__/x.pyc"):
        assert is_ignored(name), name
    for name in (
        "course.toml",
        "lib/steerlab/tiny/checkpoint/config.json",
        "solutions/01_mean_diff.py",
    ):
        assert not is_ignored(name), name
    listed = subprocess.run(
        ["git", "ls-files"], cwd=REPOSITORY, capture_output=True, text=True, check=False
    ).stdout.split()
    assert not [name for name in listed if is_ignored(name) and not name.startswith(".ci/")]


def test_the_set_up_is_that_of_the_readme_and_finds_its_system_packages_there():
    runs = [command.strip() for step in of("RUN") for command in step.split("&&")]
    assert runs.count("./setup.sh") == 1
    assert "@./setup.sh" in (REPOSITORY / "Makefile").read_text("utf-8")  # what `make demo` calls
    assert not [command for command in runs if "pip install" in command]
    setup = (REPOSITORY / "setup.sh").read_text("utf-8")
    asked = set(re.findall(r'\bpackages="\$packages ([\w-]+)"', setup))
    assert len(asked) >= 4
    assert asked <= system_packages()
    # What the set-up reads has been copied by then, and an edit of a notebook does not repeat it.
    before = STEPS[: STEPS.index(("RUN", "./setup.sh"))]
    copied = {word for name, rest in before if name == "COPY" for word in shlex.split(rest)[:-1]}
    (read,) = re.findall(r"\(cat ([^|]+) \| cksum\)", setup)
    assert {Path(name).parts[0] for name in read.split()} == copied


def test_the_commands_are_the_autograders_and_the_class_comes_from_outside():
    assert [json.loads(each) for each in of("ENTRYPOINT")] == [["autograder"]]
    assert of("WORKDIR")[-1] in of("VOLUME")
    (path,) = [each for each in of("ENV") if each.startswith("PATH=")]
    assert f"{of('WORKDIR')[0]}/.venv/bin" in path


def test_the_guide_builds_this_image_and_says_what_it_needs_to_run():
    assert "docker build" in GUIDE
    shown = re.search(r"docker run [^\n]*", GUIDE)
    assert shown
    assert CONTAINER_OPTIONS in shown[0]
    assert f":{of('WORKDIR')[-1]}" in shown[0]


@pytest.mark.parametrize(
    "said",
    [
        "bwrap: Creating new namespace failed: Operation not permitted",  # neither option
        "bwrap: loopback: Failed RTM_NEWADDR: No child processes",  # SYS_ADMIN alone
    ],
)
def test_a_container_without_these_options_is_told_them(said):
    assert f"`{CONTAINER_OPTIONS}`" in explain(said)


@pytest.mark.check
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a container with capabilities")
def test_a_container_with_these_options_gives_the_full_level():
    code = """
        from autograder.sandbox import Sandbox, Settings
        with Sandbox(Settings(preload="")) as sandbox:
            print("level:", sandbox.isolation.level)
        """
    more = re.findall(r"--cap-add (\w+)", CONTAINER_OPTIONS)
    run = run_in_container(
        python_words(textwrap.dedent(code)), capabilities=(*CAPABILITIES, *more), filtered=False
    )
    assert "level: full" in run.stdout, run.stdout + run.stderr


@pytest.mark.check
def test_the_system_packages_are_ones_that_debian_has():
    if shutil.which("apt-get") is None:
        pytest.skip("no apt-get here")
    command = ["apt-get", "install", "--simulate", "--no-install-recommends", *system_packages()]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    if "Unable to locate package" in run.stderr and not list(
        Path("/var/lib/apt/lists").glob("*_*")
    ):
        pytest.skip("apt-get has no lists of packages here")
    assert run.returncode == 0, run.stderr


@pytest.mark.check
def test_the_set_up_runs_in_a_copy_of_what_the_image_has_by_then(tmp_path):
    """All of ./setup.sh, with a pip that resolves and builds every requirement and installs none."""
    for name, rest in STEPS[: STEPS.index(("RUN", "./setup.sh"))]:
        if name == "COPY":
            *sources, target = shlex.split(rest)
            for source in sources:
                if (REPOSITORY / source).is_dir():
                    skip = shutil.ignore_patterns("__pycache__", "*.egg-info", "submitted")
                    shutil.copytree(REPOSITORY / source, tmp_path / target, ignore=skip)
                else:
                    shutil.copy2(REPOSITORY / source, tmp_path / target)
    beside = tmp_path.parent / f"{tmp_path.name}-python"
    subprocess.run([sys.executable, "-m", "venv", str(beside)], check=True)
    # An option, and not PIP_DRY_RUN: the pip that fetches the build's own tools would obey that, too.
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(
        f'#!/bin/sh\n[ "$2" = pip ] && set -- "$@" --dry-run\nexec "{beside}/bin/python" "$@"\n'
    )
    python.chmod(0o755)
    run = subprocess.run(
        ["./setup.sh"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    if "No matching distribution found for setuptools" in run.stderr:
        pytest.skip("no package index in reach")
    assert run.returncode == 0, run.stdout + run.stderr
    assert (tmp_path / ".venv" / ".installed").read_text()
    assert not list(beside.glob("lib/*/site-packages/torch"))
