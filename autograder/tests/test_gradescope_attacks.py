"""Hostile notebooks of the attack suite, graded by the Gradescope package where namespaces are denied.

One container for all: in it the package grades one notebook after the other, as it would grade a
submission each. Beside what Gradescope shows, the graded notebook is looked at, where an attack would
have printed its loot. What an attack reads or leaves running is tried once more as root, the grader's
own user, so that there was something to gain.
"""

from __future__ import annotations

import base64
import json
import os
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import pytest
from attacks import escaping, forging, reading
from attacks.arena import MARKER
from attacks.attack import FULL_MARKS, Attack, Trace, leaked
from autograder.gradescope.package import write_package
from container import python_words, run_in_container
from gradescope_container import Gradescope, packaged_course
from nbformat.v4 import new_code_cell
from toy_course import CANARY, answer, solved

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="Gradescope's containers run as root")
READING = (
    "hidden-tests-read-from-disk",
    "hidden-tests-imported",
    "tests-read-from-the-callers-frame",
    "tests-read-from-memory",
    "graders-environment-read",
)
FORGING = (
    "result-equal-to-everything",
    "pickled-result",
    "asserts-left-out-by-the-parser",
    "exceptions-handled-by-the-student",
    "points-in-metadata",
)
OUTLIVING = (
    "daemon-that-stays",
    "own-monitor-killed",
    "everybody-else-killed",
    "namespace-of-its-own",
    "network-of-the-host",
)
ALL = {a.name: a for a in [*reading.ATTACKS, *forging.ATTACKS, *escaping.ATTACKS]}
ATTACKS = [ALL[name] for name in (*READING, *FORGING, *OUTLIVING)]
#: What gains something as root in the same container: the canary, or a process that stays.
AS_ROOT = ("hidden-tests-read-from-disk", "hidden-tests-imported", "graders-environment-read")
SCRIPT = """
import json, os, shutil, subprocess, sys, time
from pathlib import Path
sys.path[:0] = ["/autograder/source/lib", "/autograder/source/autograder"]
os.umask(0o077)
from autograder.gradescope import results_file, submission
root, notebook = Path("/autograder"), []
graded = results_file.graded

def noted(result, *rest):
    notebook.append(result.notebook)
    return graded(result, *rest)

def processes():
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try: found.append((int(name), os.stat(f"/proc/{name}").st_uid,
                           Path(f"/proc/{name}/cmdline").read_text()))
        except OSError: pass
    return found

def stayed():
    return [(pid, uid) for pid, uid, line in processes() if uid != 0 or line.startswith("sleep")]

results_file.graded = noted
said = {}
for path in sorted((root / "handed-in").iterdir()):
    shutil.copy(path, root / "submission" / "01_toy.ipynb")
    notebook.clear()
    code = submission.main([str(root)])
    said[path.stem] = {
        "code": code, "results": (root / "results" / "results.json").read_text(),
        "notebook": "".join(notebook), "stayed": stayed(),
        "files": sorted(os.listdir(root / "results")),
    }
for name, source in json.loads(sys.argv[1]).items():
    with open("/tmp/as-root", "w+") as out:  # no pipe: what stays would keep it open
        subprocess.run([sys.executable, "-c", source], stdout=out, stderr=subprocess.DEVNULL)
    said[name]["as root"] = Path("/tmp/as-root").read_text()
    waited_for = time.monotonic() + (10 if name == "daemon-that-stays" else 0)
    while not (left := stayed()) and time.monotonic() < waited_for:
        time.sleep(0.05)  # between the fork and its new name it is no `sleep` yet
    said[name]["stayed as root"] = left
    for pid, _ in left: os.kill(pid, 9)
(root / "said.json").write_text(json.dumps(said))
"""


def filled(source: str, port: int) -> str:
    """An attack's source with what the attacker has found out about such a container."""
    facts = {"@COURSE@": "/autograder/source", "@PORT@": str(port), "@PID@": str(os.getpid())}
    for name, value in facts.items():
        source = source.replace(name, value)
    assert "@CLASS@" not in source
    return source


def handed_in(course: Any, attack: Attack, port: int) -> nbformat.NotebookNode:
    """The attack as a notebook of the toy assignment."""
    notebook = solved(course)
    answer(notebook, "double", MARKER + filled(attack.double, port))
    if attack.first:
        notebook.cells.insert(0, new_code_cell(filled(attack.first, port)))
    if attack.last:
        notebook.cells.append(new_code_cell(filled(attack.last, port)))
    if attack.edit:
        attack.edit(notebook)
    return notebook


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, dict[str, Any]]]:
    """What came of each notebook, a good one among them, and of what was tried as root."""
    course = packaged_course(tmp_path_factory.mktemp("gradescope-attacks") / "course")
    package = tmp_path_factory.mktemp("package") / "toy.zip"
    write_package(course, course.assignment("01_toy"), package)
    with server() as (port, hits):
        there = Gradescope(tmp_path_factory.mktemp("container") / "autograder", package)
        (there.root / "handed-in").mkdir()
        for attack in ATTACKS:
            notebook = handed_in(course, attack, port)
            nbformat.write(notebook, there.root / "handed-in" / f"{attack.name}.ipynb")
        nbformat.write(solved(course), there.root / "handed-in" / "good.ipynb")
        as_root = {name: filled(ALL[name].first, port) for name in (*AS_ROOT, "daemon-that-stays")}
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("COURSE_SECRET", CANARY)
            run = run_in_container(
                [*python_words(SCRIPT), json.dumps(as_root)], {there.root: "/autograder"}
            )
        assert run.returncode == 0, run.stdout + run.stderr
        found: dict[str, dict[str, Any]] = json.loads((there.root / "said.json").read_text())
        for one in found.values():
            one["printed by the grader"] = run.stdout + run.stderr
            one["hits"] = list(hits)
        yield found


@contextmanager
def server() -> Iterator[tuple[int, list[bytes]]]:
    """A server of the machine that a student's code should not reach: its port, what it was sent."""
    hits: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    with listening.accept()[0] as caller:
                        hits.append(caller.recv(1000))
                        caller.sendall(b"hello from the host")
                except OSError:
                    return

        threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1], hits
        listening.shutdown(socket.SHUT_RDWR)


def test_a_good_notebook_among_them_gets_everything(seen):
    assert json.loads(seen["good"]["results"])["score"] == FULL_MARKS


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_a_hostile_notebook_gains_nothing_there(seen, attack):
    found = seen[attack.name]
    content = json.loads(found["results"])
    assert content.get("score", 0) <= attack.earns + 1e-6
    notebook = nbformat.reads(found["notebook"], as_version=4)
    trace = Trace(content.get("score"), Path("/nowhere"), notebook, page=lambda: found["results"])
    if attack.name != "daemon-that-stays":  # its gain is looked for in the container
        assert attack.gained(trace) == ""
    everything = found["results"] + found["notebook"] + found["printed by the grader"]
    for text in re.findall(r"[A-Za-z0-9+/]{40,}={0,2}", trace.printed):
        everything += base64.b64decode(text + "==").decode("utf-8", "replace")
    assert leaked([CANARY], everything) == ""
    assert found["hits"] == []
    assert found["stayed"] == []
    assert found["files"] == ["results.json"]
    assert content["extra_data"]["isolation"]["level"] == "uid"


@pytest.mark.parametrize("name", AS_ROOT)
def test_as_root_the_same_code_reads_what_is_secret(seen, name):
    said = seen[name]["as root"]
    assert leaked([CANARY], said) == CANARY


def test_as_root_the_same_daemon_stays(seen):
    assert seen["daemon-that-stays"]["stayed as root"] != []
