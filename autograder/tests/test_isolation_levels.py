"""The ladder of isolation: what each level is, what is stored under it, and "uid" tried for real."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from autograder.course import create_folder
from autograder.grading.session import GradingSession
from autograder.intake import Clean
from autograder.results import GRADED, Result, key_at
from autograder.sandbox import (
    FULL,
    LADDER,
    UID,
    WEAKER,
    Isolation,
    Sandbox,
    SandboxUnavailable,
    Settings,
    UserSandbox,
    level_of,
    levels_down_to,
    sandbox_for,
)
from autograder.sandbox import groups as control_groups
from autograder.sandbox.groups import Groups
from container import python_words, run_in_container
from toy_course import make_toy_course, solved

ALL = Isolation(
    namespaces=True,
    own_files=True,
    no_network=True,
    no_privileges=True,
    process_limits=True,
    memory_bound=True,
    seccomp=True,
    ordinary_user=True,
)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become other users")


def test_everything_in_force_is_full_and_without_namespaces_uid():
    assert ALL.level == FULL
    assert replace(ALL, namespaces=False).level == UID


@pytest.mark.parametrize("layer", sorted(set(ALL.layers()) - {"namespaces"}))
def test_any_other_missing_layer_is_weaker_and_named(layer):
    lacking = replace(ALL, **{layer: False})
    assert lacking.level == WEAKER
    assert layer in str(lacking)
    assert replace(lacking, namespaces=False).level == WEAKER


def test_the_level_is_one_line_and_can_be_read_back():
    for isolation in (ALL, replace(ALL, namespaces=False), replace(ALL, seccomp=False)):
        assert "\n" not in str(isolation)
        assert level_of(str(isolation)) == isolation.level
    assert level_of("something else") == WEAKER


def test_who_asks_for_a_level_is_content_with_every_stronger_one():
    assert levels_down_to(FULL) == (FULL,)
    assert levels_down_to(UID) == (FULL, UID)
    assert levels_down_to(WEAKER) == LADDER


def test_every_level_has_keys_of_its_own():
    assert len({key_at("k" * 40, level) for level in LADDER}) == len(LADDER)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    root = tmp_path_factory.mktemp("levels")
    course = make_toy_course(root / "course")
    folder = create_folder(root / "class", course.repository)
    return course, folder, Clean(solved(course))


def stored_at(toy, level: str) -> None:
    course, folder, clean = toy
    session = GradingSession(folder, course, course.assignment("01_toy"), allow_weaker=True)
    text = str({FULL: ALL, UID: replace(ALL, namespaces=False)}.get(level, "weaker (…)"))
    key = key_at(session.key(clean.notebook), level)
    session.keep(Result(key, "01_toy", GRADED, record={"isolation": text}))


@pytest.mark.parametrize("level", [UID, WEAKER])
def test_a_result_from_behind_weaker_walls_is_never_taken_for_a_full_one(toy, level):
    course, folder, clean = toy
    stored_at(toy, level)
    assignment = course.assignment("01_toy")
    full = GradingSession(folder, course, assignment)
    weaker = GradingSession(folder, course, assignment, allow_weaker=True)
    found = weaker.stored(clean)
    assert found is not None
    assert weaker.accepts(found)
    assert full.stored(clean) is None
    assert not full.accepts(found)


def test_a_full_result_serves_whoever_would_take_less(toy):
    course, folder, clean = toy
    for level in (WEAKER, FULL):
        stored_at(toy, level)
    session = GradingSession(folder, course, course.assignment("01_toy"), allow_weaker=True)
    found = session.stored(clean)
    assert found is not None
    assert level_of(found.record["isolation"]) == FULL


def unavailable(*_: object, **__: object) -> None:
    raise SandboxUnavailable("no namespaces here")


def test_less_than_full_is_chosen_only_where_it_is_allowed_and_needed(monkeypatch):
    strict, lenient = Settings(), Settings(allow_weaker=True)
    assert type(sandbox_for(lenient)) is Sandbox
    monkeypatch.setattr("autograder.sandbox.separate_user.check", unavailable)
    assert type(sandbox_for(strict)) is Sandbox  # which will say what is missing when it starts
    if os.geteuid() == 0:
        assert type(sandbox_for(lenient)) is UserSandbox
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(SandboxUnavailable, match="no namespaces here"):
        sandbox_for(lenient)


def test_without_landlock_the_level_uid_is_refused_unless_less_is_allowed(monkeypatch, tmp_path):
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("autograder.sandbox.landlock.abi", lambda: 0)
    refusing = UserSandbox(Settings())
    refusing.folder = tmp_path
    with pytest.raises(SandboxUnavailable, match="--allow-weaker-sandbox"):
        refusing._start_zygote(None)


# What follows tries the level "uid" in a container that forbids namespaces, with the network open.

LOOKS = {
    "user": "import os; print(os.getuid() not in (0, 1000), os.getuid() == os.getgid())",
    "status": "print(open('/proc/self/status').read())",
    "root again": """
import os
for gain in (lambda: os.setuid(0), lambda: os.setresuid(-1, 0, -1), lambda: os.setgroups([0])):
    try: gain(); print("gained")
    except OSError: pass
""",
    "hidden files": """
for path in HIDDEN:
    for reach in (path, "/proc/self/root" + path, "/proc/self/cwd/../../../../.." + path):
        try: print(open(reach).read())
        except OSError: pass
        try: print(os.listdir(reach))
        except OSError: pass
""",
    "other processes": """
import os
seen = 0
for pid in set(range(1, 400)) - set(map(int, os.listdir("/proc/self/task"))):
    for name in ("environ", "maps", "mem", "fd", "cmdline", "root/etc/passwd"):
        path = f"/proc/{pid}/{name}"
        try:
            os.listdir(path) if name == "fd" else open(path, "rb").read(1)
            print(path)
        except PermissionError: seen += 1
        except OSError: pass
print("refused", seen > 0)
""",
    "the grader's package": """
try:
    import autograder; print("imported")
except ImportError: pass
print(__import__("steerlab").__file__.endswith("lab/steerlab/__init__.py"))
""",
    "signals": """
import signal
threads = set(map(int, os.listdir("/proc/self/task")))
for pid in set(range(1, 400)) - threads:
    try: os.kill(pid, 0); print("may signal", pid)
    except OSError: pass
""",
    "writing": """
for folder, folders, files in os.walk("/"):
    folders[:] = [n for n in folders if folder != "/" or n not in ("proc", "sys")]
    if folder.count("/") > 3 or folder.startswith(os.environ["TMPDIR"].rsplit("/", 1)[0]):
        folders[:] = []; continue
    try: open(os.path.join(folder, "written"), "w"); print(folder)
    except OSError: pass
for path in ("/tmp/written", "/dev/shm/written", "/var/tmp/written"):
    try: open(path, "w"); print(path)
    except OSError: pass
open(os.environ["TMPDIR"] + "/mine", "w").write("x"); open("mine", "w").write("x")
""",
    "network": """
import socket
for family, kind, address in ((socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", PORT)),
        (socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", PORT)),
        (socket.AF_INET6, socket.SOCK_STREAM, ("::1", PORT)),
        (socket.AF_UNIX, socket.SOCK_STREAM, ABSTRACT), (socket.AF_UNIX, socket.SOCK_DGRAM, ABSTRACT)):
    try: socket.socket(family, kind).connect(address); print("connected", address)
    except OSError: pass
for kind in (socket.SOCK_DGRAM, socket.SOCK_RAW):
    try: socket.socketpair(socket.AF_UNIX, kind)[0].sendmsg([b"x"], [], 0, ABSTRACT); print("sent")
    except OSError: pass
one, other = socket.socketpair(); one.send(b"still a pair"); print(other.recv(20).decode())
""",
    "programs": "!echo hello && python -c 'print(1 + 1)'",
    "model": """
import matplotlib.pyplot as plt
from steerlab.models import load_model
plt.plot([1, 2]); plt.show()
print(load_model("gpt2").cfg.d_model > 0)
""",
    "system calls": """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
for name, call in {"unshare": (272, 0x10000000), "ptrace": (101, 16, 1, 0, 0), "bpf": (321, 0, 0, 0),
        "mount": (165, b"none", b"/tmp", b"tmpfs", 0, 0), "keyctl": (250, 0, 0),
        "io_uring": (425, 1, 0), "userfaultfd": (323, 0), "perf": (298, 0, 0, -1, -1, 0)}.items():
    ctypes.set_errno(0)
    if libc.syscall(*call) != -1 or ctypes.get_errno() != 1: print(name, ctypes.get_errno())
""",
}
SCRIPT = """
import json, os, sys, time
from pathlib import Path
from kernel_notebook import Notebook
from autograder.sandbox import Limits, Settings, UserSandbox
given = json.loads(sys.argv[1])
hidden = Path("/tmp/hidden"); hidden.mkdir(mode=0o700)
(hidden / "test.py").write_text("HIDDEN TEXT")
said = {}

def users():
    found = set()
    for name in os.listdir("/proc"):
        try: found.add(os.stat(f"/proc/{name}").st_uid) if name.isdigit() else None
        except OSError: pass
    return sorted(found - {0})

with UserSandbox(Settings(hidden=(hidden,))) as sandbox:
    said["isolation"] = [sandbox.isolation.level, str(sandbox.isolation)]
    one = Notebook(sandbox)
    one.run("import os; HIDDEN = ['/tmp/hidden', '/tmp/hidden/test.py', '%s/door', '%s/log', '%s']; "
            "PORT = %d; ABSTRACT = %r" % (sandbox.folder, sandbox.folder, sandbox.folder / "walls.json",
                                          given["port"], given["abstract"]))
    for name, code in given["looks"].items():
        cell = one.run(code)
        said[name] = cell.text + cell.error
    other = Notebook(sandbox)
    said["neighbours"] = [other.run(code).text for code in (
        f"import os, pathlib; print(os.getuid()); mine = pathlib.Path(os.environ['HOME']).parents[1]",
        "for name in os.listdir('/proc'):\\n"
        "    try: name.isdigit() and int(name) != os.getpid() and (os.kill(int(name), 9), print(name))\\n"
        "    except OSError: pass",
        f"try: print(os.listdir('{sandbox.folder}'))\\nexcept OSError: print('no')")]
    said["neighbour lives"] = one.run("print('alive')").text
    other.close()
    one.run('''
import subprocess, sys
lasting = "import os, signal, time\\\\n" \\
    "[signal.signal(s, signal.SIG_IGN) for s in (1, 2, 15)]\\\\n" \\
    "while True: os.fork() or os.setsid(); time.sleep(0.2)"
subprocess.Popen([sys.executable, "-c", lasting], start_new_session=True)
time = __import__("time"); time.sleep(1.5)
''')
    said["before the end"] = users()
    one.close()
    said["after the end"] = users()
    said["left in the run folder"] = sorted(p.name for p in sandbox.folder.glob("p*"))
    hog = Notebook(sandbox, Limits(memory_bytes=1500 << 20))
    hog.send('''
import os, time
for _ in range(6):
    if os.fork() == 0:
        os.setsid()
        if os.fork(): os._exit(0)
        hoard = bytearray(b"x") * (200 << 20)
        time.sleep(100)
time.sleep(100)
''')
    said["memory"] = hog.end(60).why
    hog.close()
    filler = Notebook(sandbox, Limits(disk_bytes=64 << 20, memory_bytes=1 << 30))
    filler.send('''
import time
for n in range(100):
    open(f"{n}", "wb").write(bytes(60 << 20)); time.sleep(0.1)
''')
    said["disk"] = filler.end(60).why
    filler.close()
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def seen() -> Iterator[dict]:
    """What cells saw in a sandbox of the level "uid"; one container for all tests below."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        abstract = f"\0steerlab-test-{os.getpid()}"
        reached = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        reached.bind(abstract)
        given = {"port": listening.getsockname()[1], "abstract": abstract, "looks": LOOKS}
        run = run_in_container([*python_words(SCRIPT), json.dumps(given)])
        assert run.returncode == 0, run.stdout + run.stderr
        yield json.loads(run.stdout.splitlines()[-1])
        reached.close()


@needs_root
def test_the_level_without_namespaces_is_called_uid(seen):
    level, text = seen["isolation"]
    assert level == UID
    assert text.startswith("uid (without namespaces")


@needs_root
def test_a_kernel_is_a_user_of_its_own_without_privileges(seen):
    assert seen["user"].split() == ["True", "True"]
    status = dict(line.split(":\t", 1) for line in seen["status"].splitlines() if ":\t" in line)
    assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {
        "0" * 16
    }
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert seen["root again"] == ""


@needs_root
def test_neither_hidden_files_nor_the_grader_can_be_read(seen):
    assert seen["hidden files"] == ""
    assert seen["the grader's package"].split() == ["True"]
    assert seen["other processes"].split() == ["refused", "True"]


@needs_root
def test_only_the_private_folder_can_be_written(seen):
    assert seen["writing"] == ""


@needs_root
def test_there_is_no_network_although_the_machine_has_one(seen):
    assert seen["network"].split("\n") == ["still a pair", ""]


@needs_root
def test_dangerous_system_calls_are_refused_at_this_level_too(seen):
    assert seen["system calls"] == ""


@needs_root
def test_ordinary_notebooks_run_as_ever(seen):
    assert seen["programs"].split() == ["hello", "2"]
    assert "True" in seen["model"]


@needs_root
def test_neighbours_can_neither_signal_nor_look_at_each_other(seen):
    assert seen["signals"] == ""
    uid, signalled, listed = seen["neighbours"]
    assert uid.strip() not in ("", "0")
    assert signalled == ""
    assert listed == "no\n"
    assert seen["neighbour lives"] == "alive\n"


@needs_root
def test_whatever_a_submission_leaves_running_ends_with_it(seen):
    assert seen["before the end"] != []
    assert seen["after the end"] == []
    assert seen["left in the run folder"] == []


@needs_root
def test_memory_and_disk_of_all_processes_together_are_bounded_without_namespaces(seen):
    assert seen["memory"] == "memory"
    assert seen["disk"] == "memory"


@needs_root
@pytest.mark.parametrize(
    ("without", "deny", "said"),
    [
        ("SETUID", (), "kept apart"),
        ("", ("prctl",), "kept apart"),
    ],
    ids=["no change of user", "no filter"],
)
def test_what_the_level_needs_is_tried_before_any_code_runs(without, deny, said):
    from container import CAPABILITIES

    run = run_in_container(
        python_words(
            "from autograder.sandbox import *\n"
            "sandbox = UserSandbox()\n"
            "try: sandbox.start(); print('started')\n"
            "except SandboxUnavailable as error: print(error)\n"
        ),
        deny=deny,
        capabilities=tuple(name for name in CAPABILITIES if name != without),
    )
    assert said in run.stdout, run.stdout + run.stderr
    assert "started" not in run.stdout


def test_a_hidden_folder_that_others_can_read_stops_the_start(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root can become other users")
    run = run_in_container(
        python_words(
            "from pathlib import Path\nfrom autograder.sandbox import *\n"
            "Path('/tmp/open').mkdir(mode=0o755)\n"
            "sandbox = UserSandbox(Settings(hidden=(Path('/tmp/open'),), allow_weaker=True))\n"
            "from autograder.sandbox import landlock\nlandlock.abi = lambda: 0\n"
            "try: sandbox.start(); print('started')\n"
            "except SandboxUnavailable as error: print(error)\n"
        )
    )
    assert "can be read by every user" in run.stdout, run.stdout + run.stderr


# Control groups, without a sandbox.


def test_no_groups_where_none_are_delegated(tmp_path):
    mounts, own = tmp_path / "mountinfo", tmp_path / "cgroup"
    mounts.write_text("1 0 0:1 / /nowhere rw - tmpfs tmpfs rw\n")
    own.write_text("0::/\n")
    assert Groups.find(mounts, own) is None


def test_a_delegated_group_of_version_2_is_divided_among_kernels(tmp_path, monkeypatch):
    root = tmp_path / "cgroup2"
    ours = root / "user" / "ours"
    ours.mkdir(parents=True)
    for name, text in (("cgroup.controllers", "cpu memory pids"), ("cgroup.procs", "1\n")):
        (ours / name).write_text(text)
    (ours / "cgroup.subtree_control").write_text("")
    mounts, own = tmp_path / "mountinfo", tmp_path / "own"
    mounts.write_text(f"1 0 0:1 / {root} rw shared:1 - cgroup2 cgroup2 rw\n")
    own.write_text("0::/user/ours\n")

    def kernel_makes_files(folder: Path, *_: object, **__: object) -> None:
        os.mkdir(folder)
        for name in ("memory.max", "memory.swap.max", "memory.oom.group", "cpu.weight"):
            (folder / name).write_text("max")
        for name, text in (("cgroup.controllers", "cpu memory pids"), ("cgroup.procs", "")):
            (folder / name).write_text(text)
        (folder / "cgroup.subtree_control").write_text("")

    monkeypatch.setattr(control_groups.Path, "mkdir", kernel_makes_files)
    marks: dict[str, bytes] = {}

    def mark(path: Path, name: str) -> bytes:
        if name not in marks:
            raise OSError(61, "No data available")
        return marks[name]

    monkeypatch.setattr("os.getxattr", mark)
    assert Groups.find(mounts, own) is None, "nobody has handed it over"
    marks["user.delegate"] = b"1"
    found = Groups.find(mounts, own)
    assert found is not None
    assert (ours / "steerlab-grader" / "cgroup.procs").read_text() == "1"
    assert (ours / "cgroup.subtree_control").read_text() == "+memory +cpu"
    group = found.make(1 << 30)
    (folder,) = group.folders
    assert (folder / "memory.max").read_text() == str(1 << 30)
    assert (folder / "memory.swap.max").read_text() == "0"
    assert not group.ran_out()
    (folder / "memory.events").write_text("low 0\noom 2\noom_kill 1\n")
    assert group.ran_out()
