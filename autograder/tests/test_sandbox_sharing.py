"""Submissions side by side: what one of them floods, hoards or hogs harms neither grader nor neighbour."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from autograder.probe import CallLimits, StudentDead
from autograder.sandbox import Limits
from autograder.sandbox.gate import Gate, listener
from autograder.sandbox.groups import Groups, remove_stale
from kernel_notebook import Notebook

FLOODS = {
    "one endless message": "socket.send_multipart([b'k.x.stream'] + [big] * 400, copy=False)",
    "many messages": "for _ in range(400): socket.send_multipart([b'k.x.stream', big], copy=False)",
}


@pytest.mark.parametrize("name", sorted(FLOODS))
def test_a_flood_on_the_wire_ends_the_kernel_and_not_the_grader(notebook, name):
    before = psutil.Process().memory_info().rss
    notebook.send(
        "socket = get_ipython().kernel.iopub_thread.socket\n"
        f"big = b'x' * (8 << 20)\n{FLOODS[name]}\nimport time; time.sleep(60)"
    )
    assert notebook.end().why == "killed"
    assert notebook.provisioner.flooded
    assert psutil.Process().memory_info().rss - before < 400 << 20


def test_the_gate_passes_everything_both_ways_up_to_its_allowance(tmp_path):
    flooded = threading.Event()
    with listener(tmp_path / "in") as kernels:
        gate = Gate([tmp_path / "out"], [tmp_path / "in"], flooded.set, max_bytes=3_000_000)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / "out"))
            kernel, _ = kernels.accept()
            with kernel:
                sent = os.urandom(1_000_000)
                for one, other in ((client, kernel), (kernel, client)):
                    writer = threading.Thread(target=one.sendall, args=(sent,))
                    writer.start()
                    got = b""
                    while len(got) < len(sent):
                        got += other.recv(1 << 16)
                    writer.join()
                    assert got == sent
                assert not flooded.is_set()
                kernel.settimeout(10)
                with suppress(OSError):  # broken pipe or reset: either will do
                    while not flooded.is_set():
                        kernel.sendall(bytes(100_000))
                        client.recv(1 << 20)
                assert flooded.wait(10)
        gate.close()
        gate.close()


def test_a_submission_that_is_starved_by_others_is_not_held_responsible(sandbox, limited):
    """Time in which others had the processors is known, and time spent asleep is not in it."""
    victim = Notebook(sandbox)
    hogs = [limited(Limits(processes=64, cpu_seconds=300)) for _ in range(2)]
    try:
        for hog in hogs:
            hog.send(
                "import os, time\nfor _ in range(24): os.fork() or exec('while True: pass')\n"
                "time.sleep(100)"
            )
        time.sleep(1)
        before = victim.wait(victim.provisioner.usage())
        started = time.monotonic()
        victim.run(
            "import time\nend = time.process_time() + 1\nwhile time.process_time() < end: pass"
        )
        elapsed = time.monotonic() - started
        after = victim.wait(victim.provisioner.usage())
        delay = after.delay_seconds - before.delay_seconds
        computed = after.cpu_seconds - before.cpu_seconds
        assert delay >= 0.5 * (elapsed - computed) - 0.3
        assert delay <= elapsed + 0.5
    finally:
        for hog in hogs:
            hog.provisioner.control.kill()
    asleep = victim.wait(victim.provisioner.usage())
    victim.run("import time; time.sleep(1)")
    awake = victim.wait(victim.provisioner.usage())
    assert awake.delay_seconds - asleep.delay_seconds < 0.9
    victim.close()


def test_all_calls_of_a_submission_together_have_a_bound(notebook):
    notebook.run("import time\ndef nap(x):\n    time.sleep(0.5)\n    return x")
    notebook.take("nap")
    student = notebook.student(CallLimits(wall_seconds=60, all_seconds=2))
    started = time.monotonic()
    answered = 0
    while student.dead is None and answered < 50:
        with suppress(StudentDead):
            assert student.nap(answered) == answered
        answered += 1
    assert student.dead.reason == "wall time"
    assert time.monotonic() - started < 30


def test_one_long_call_ends_with_the_submissions_time(notebook):
    notebook.run("import time\ndef nap(x):\n    time.sleep(60)")
    notebook.take("nap")
    student = notebook.student(CallLimits(wall_seconds=60, all_seconds=1))
    with pytest.raises(StudentDead, match="time is used up"):
        student.nap(1)


def test_a_foreign_system_call_table_is_no_way_round_the_filter(notebook):
    """x86-64 knows its calls by second numbers (x32): whoever tries them is ended."""
    if os.uname().machine != "x86_64":
        pytest.skip("other machines have one table")
    notebook.send("import ctypes; ctypes.CDLL(None).syscall(0x40000000 + 101, 0, 0, 0, 0)")
    ended = notebook.end()
    assert (ended.why, ended.code) == ("signal", -31)


@pytest.fixture
def groups():
    found = Groups.find()
    if found is None:
        pytest.skip("no control groups are delegated here")
    yield found
    found.close()
    assert not any(folder.exists() for folder in found.folders)


def test_groups_in_use_are_left_alone_and_those_of_killed_graders_removed(groups):
    (first, *_) = groups.folders
    group = groups.make()
    killed = "import os, signal\nfrom autograder.sandbox.groups import Groups\n" + (
        "found = Groups.find(); found.make()\nprint(*found.folders, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    run = subprocess.run([sys.executable, "-c", killed], capture_output=True, text=True)
    left = [Path(path) for path in run.stdout.split()]
    assert left
    assert all(path.exists() for path in left)
    for folder in (*left, first):
        remove_stale(folder.parent)
    assert not any(path.exists() for path in left)
    assert all(path.exists() for path in (*groups.folders, *group.folders))


def test_a_process_in_a_group_cannot_have_more_memory_than_the_group(groups):
    group = groups.make(64 << 20)
    ready, go = os.pipe()
    if (child := os.fork()) == 0:
        os.read(ready, 1)
        hoard = bytearray(b"x") * (256 << 20)
        os._exit(0 if hoard else 1)
    for folder in group.folders:
        (folder / "cgroup.procs").write_text(str(child))
    os.write(go, b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9
    assert group.ran_out()
    group.close()
    assert not any(folder.exists() for folder in group.folders)


def test_a_kernel_is_bounded_by_its_group_where_there_is_one(sandbox):
    if "cgroup" not in str(sandbox.isolation):
        pytest.skip("no control groups are delegated here")
    notebook = Notebook(sandbox, Limits(memory_bytes=700 << 20))
    (folder,) = [
        folder
        for folder in notebook.provisioner.control.group.folders
        if any((folder / name).exists() for name in ("memory.max", "memory.limit_in_bytes"))
    ]
    inside = (folder / "cgroup.procs").read_text().split()
    assert inside
    # Faster than the watchdog looks: many processes at once, each below its own bound.
    notebook.send("""
import mmap, os, time
for _ in range(8):
    if os.fork() == 0:
        hoard = mmap.mmap(-1, 200 << 20, flags=mmap.MAP_PRIVATE)
        for start in range(0, 200 << 20, 4096): hoard[start] = 1
        time.sleep(100)
time.sleep(100)
""")
    deadline = time.monotonic() + 30
    control = notebook.provisioner.control
    while control.poll() is None and not control.group.ran_out() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert control.group.ran_out() or control.poll().why == "memory"
    notebook.provisioner.control.kill()
    notebook.end()
    notebook.close()
    assert not Path(folder).exists()
