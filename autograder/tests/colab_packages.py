"""What pip does on Colab: the packages that a runtime has, and those that ours add to them.

The facts lie in colab_packages.json beside this file, so that a test needs neither pip nor a network:
for each runtime what Colab lists as installed, and for each package that comes in addition its version
and its own requirements. To make them anew, with Colab's lists from github.com/googlecolab/backend-info:

    python autograder/tests/colab_packages.py 2026.08=3.13=pip-freeze.gpu.txt 2026.07=3.12=…

pip's own resolver is asked. It runs in a folder in which exactly Colab's packages seem to be installed,
so it is as free to replace one of them as it is there; constraints would forbid what we want to see.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from packaging.markers import Environment, default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

FACTS = Path(__file__).with_suffix(".json")
LIBRARY = Path(__file__).resolve().parents[2] / "lib" / "pyproject.toml"
_PINNED = re.compile(r"([\w.-]+)==([^\s;]+)$")
_FROM_A_FILE = re.compile(r"([\w.-]+) @ \S*?-(\d[\w.]*)\.(?:tar\.gz|zip)$")


@dataclass(frozen=True)
class Package:
    """A package that Colab lacks: its version, what it requires, and whether it has no wheel."""

    version: str
    requires: tuple[str, ...] = ()
    source_only: bool = False


@dataclass(frozen=True)
class Runtime:
    """One of Colab's runtimes: {name: version} of what it has, and the packages known beside that."""

    name: str
    python: str
    installed: dict[str, str]
    known: dict[str, Package] = field(default_factory=dict)


@dataclass
class Plan:
    """What an installation would do. `changed` and `unknown` say of each package who asks for it."""

    added: set[str] = field(default_factory=set)
    changed: dict[str, str] = field(default_factory=dict)
    unknown: dict[str, str] = field(default_factory=dict)


def our_requirements(*extras: str) -> list[str]:
    """What `pip install steerlab[extras]` asks for, from lib/pyproject.toml."""
    project = tomllib.loads(LIBRARY.read_text("utf-8"))["project"]
    optional = project["optional-dependencies"]
    return [*project["dependencies"], *(line for extra in extras for line in optional[extra])]


def plan(requirements: list[str], runtime: Runtime) -> Plan:
    """What pip would add and change there, worked out from the facts alone.

    A package that Colab has and that will not do counts as changed; one that is neither there nor
    among the facts, or whose known version will not do, as unknown.
    """
    made = Plan()
    waiting = [(Requirement(line), "steerlab") for line in requirements]
    seen: set[tuple[str, str]] = set()
    while waiting:
        wanted, asker = waiting.pop()
        name = canonicalize_name(wanted.name)
        if (str(wanted), asker) in seen or not _applies(wanted, runtime.python):
            continue
        seen.add((str(wanted), asker))
        have = runtime.installed.get(name)
        package = runtime.known.get(name)
        if have is not None:
            if not wanted.specifier.contains(have, prereleases=True):
                made.changed[name] = f"{asker} asks for {wanted}, Colab has {have}"
            elif wanted.extras:
                made.unknown[name] = f"{asker} asks for {wanted}: what do its extras need?"
        elif package is None or not wanted.specifier.contains(package.version, prereleases=True):
            made.unknown[name] = f"{asker} asks for {wanted}"
        else:
            made.added.add(name)
            waiting += [(Requirement(line), name) for line in package.requires]
    return made


def _applies(wanted: Requirement, python: str) -> bool:
    """Whether a requirement's marker holds on Colab's Linux, without extras."""
    if wanted.marker is None:
        return True
    there: Environment = default_environment()
    there |= {"python_version": python, "python_full_version": f"{python}.0"}
    there |= {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix"}
    there |= {"platform_machine": "x86_64", "platform_python_implementation": "CPython"}
    return wanted.marker.evaluate({**there, "extra": ""})


def read_facts() -> list[Runtime]:
    """The runtimes of colab_packages.json, newest first."""
    runtimes = []
    for raw in json.loads(FACTS.read_text("utf-8")):
        installed = dict(line.split("==") for line in raw["installed"])
        known = {
            name: Package(each["version"], tuple(each["requires"]), each["source_only"])
            for name, each in raw["known"].items()
        }
        runtimes.append(Runtime(raw["name"], raw["python"], installed, known))
    return runtimes


# --------------------------------------------------------------------------- asking pip


class PipFailed(Exception):
    """pip gave no answer; the message is the end of what it said."""


class NoIndex(PipFailed):
    """There is no package index in reach, so that pip has nothing to say."""


def ask_pip(requirements: list[str], runtime: Runtime) -> dict[str, Any]:
    """The report of Colab's own pip (`--dry-run --report`); raises NoIndex, PipFailed.

    It runs on an interpreter of the runtime's version if there is one, else on this one with
    `--python-version`. For that it wants wheels only, so those that the index lacks are built first.
    """
    with tempfile.TemporaryDirectory(prefix="colab-") as scratch:
        installed, report = Path(scratch) / "installed", Path(scratch) / "report.json"
        for name, version in runtime.installed.items():
            _seem_installed(installed, name, version)
        _unpack_pip(runtime.installed["pip"], installed)
        python = _interpreter(runtime.python)
        options = []
        if python is None:
            wheels = Path(scratch) / "wheels"
            options = ["--python-version", runtime.python, "--only-binary", ":all:"]
            options += ["--find-links", str(wheels)]
            sources = [f"{n}=={p.version}" for n, p in runtime.known.items() if p.source_only]
            if sources:
                build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
                _run([*build, "--wheel-dir", str(wheels), *sources])
        command = [python or sys.executable, "-S", "-m", "pip", "install", "--dry-run", "--quiet"]
        command += ["--report", str(report), *options, *requirements]
        _run(command, path=str(installed))
        return dict(json.loads(report.read_text("utf-8")))


def _seem_installed(folder: Path, name: str, version: str) -> None:
    """Leave the traces of an installed package, without its requirements: they are met on Colab."""
    traces = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    traces.mkdir(parents=True)
    head = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    (traces / "METADATA").write_text(head, "utf-8")


def _unpack_pip(version: str, folder: Path) -> None:
    """Put pip of that version beside Colab's packages; raises NoIndex where it cannot be had."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--retries", "0"]
    try:
        _run([*command, "--dest", str(folder), f"pip=={version}"])
    except PipFailed as error:
        raise NoIndex(f"pip {version} cannot be downloaded: {error}") from error
    (wheel,) = folder.glob("pip-*.whl")
    zipfile.ZipFile(wheel).extractall(folder)
    wheel.unlink()


def _interpreter(version: str) -> str | None:
    """A Python of that version, if one is on the path and runs."""
    path = shutil.which(f"python{version}")
    runs = path and not subprocess.run([path, "-V"], capture_output=True, check=False).returncode
    return path if runs else None


def _run(command: list[str], path: str = "") -> None:
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        cwd=tempfile.gettempdir(),
        check=False,
    )
    if done.returncode:
        raise PipFailed(done.stderr[-2000:].strip())


def packages_in(report: dict[str, Any]) -> dict[str, Package]:
    """What pip would install, by name. Requirements that only an extra has are left out."""
    found = {}
    for item in report["install"]:
        about, url = item["metadata"], item["download_info"]["url"]
        requires = [
            line
            for line in about.get("requires_dist", [])
            if "extra ==" not in line.partition(";")[2]
        ]
        found[canonicalize_name(about["name"])] = Package(
            about["version"], tuple(requires), not url.endswith(".whl")
        )
    return dict(sorted(found.items()))


def read_freeze(text: str) -> dict[str, str]:
    """{name: version} of a `pip freeze`."""
    found = {}
    for line in text.splitlines():
        if match := _PINNED.match(line.strip()) or _FROM_A_FILE.match(line.strip()):
            found[canonicalize_name(match[1])] = match[2]
    return found


def main(arguments: list[str]) -> None:
    """Write the facts of each NAME=PYTHON=FREEZE."""
    facts = []
    for argument in arguments:
        name, python, path = argument.split("=", 2)
        runtime = Runtime(name, python, read_freeze(Path(path).read_text("utf-8")))
        known = packages_in(ask_pip(our_requirements("pretrained"), runtime))
        if moved := known.keys() & runtime.installed.keys():
            raise SystemExit(f"On {name}, pip would change {', '.join(sorted(moved))}.")
        facts.append(
            {
                "name": name,
                "python": python,
                "known": {each: asdict(package) for each, package in known.items()},
                "installed": [f"{each}=={version}" for each, version in runtime.installed.items()],
            }
        )
        print(f"{name}, Python {python}: {len(known)} packages beside steerlab")
    FACTS.write_text(json.dumps(facts, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
