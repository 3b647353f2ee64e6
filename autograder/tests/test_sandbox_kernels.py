"""Kernels from start to end: what they may use, how they end, and that nothing outlives them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from autograder.sandbox import (
    Limits,
    Sandbox,
    SandboxKernelManager,
    SandboxUnavailable,
    Settings,
    check,
)
from autograder.sandbox.pool import remove_stale_folders
from kernel_notebook import Notebook
from nbclient import NotebookClient

GRADER = """
import asyncio, sys
from autograder.sandbox import Sandbox, Settings, kernel_manager
sandbox = Sandbox(Settings(preload=""))
sandbox.start()
manager = kernel_manager(sandbox)
asyncio.run(manager.start_kernel())
print(sandbox.folder, flush=True)
sys.stdin.read()
"""
AS_ORDINARY_USER = """
import os
from autograder.sandbox import check
check()
print("user", os.getuid())
"""
NO_NAMESPACES = """
from autograder.sandbox import SandboxUnavailable, check
try:
    check()
except SandboxUnavailable as error:
    print(error)
"""


def processes_with(text: str) -> list[int]:
    """Process numbers whose command line has `text`."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            if folder.name.isdigit() and text in (folder / "cmdline").read_text():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def test_nbclient_runs_a_notebook_in_the_sandbox(sandbox):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("import os; os.getpid()")])
    NotebookClient(notebook, kernel_manager_class=SandboxKernelManager).execute()
    assert notebook.cells[0].outputs[0]["data"]["text/plain"] == "1"


def test_every_kernel_starts_from_the_same_numbers(sandbox):
    texts = set()
    for _ in range(2):
        notebook = Notebook(sandbox)
        texts.add(
            notebook.run(
                "import random, numpy, torch\n"
                "print(random.random(), numpy.random.rand(), torch.rand(1), set('abcdefgh'))"
            ).text
        )
        notebook.close()
    assert len(texts) == 1


def test_concurrent_kernels_share_neither_files_nor_processes(sandbox):
    one, other = Notebook(sandbox), Notebook(sandbox)
    try:
        one.run("for p in ('/tmp/x', '/dev/shm/x', 'x'): open(p, 'w').write('mine')")
        assert one.run("import os; pair = os.openpty(); print(os.listdir('/dev/pts'))").text
        seen = other.run(
            "import os, glob\n"
            "print(*[os.path.exists(p) for p in ('/tmp/x', '/dev/shm/x', 'x', '/dev/pts/0')])\n"
            "try: os.kill(-1, 9)\nexcept OSError as e: print(e.errno)"
        )
        assert seen.text.split() == ["False", "False", "False", "False", "3"]
        assert one.run("print('alive')").text == "alive\n"
    finally:
        one.close()
        other.close()


def test_a_kernel_restarts_on_fresh_ground(notebook):
    notebook.run("x = 1; open('left', 'w').write('behind')")
    notebook.wait(notebook.manager.restart_kernel(now=True))
    notebook.wait(notebook.client.wait_for_ready(timeout=30))
    seen = notebook.run("import os; print('x' in globals(), os.listdir('.'))")
    assert seen.text == "False []\n"


def test_an_interrupted_cell_leaves_the_kernel_usable(notebook):
    notebook.send("import time; print('begun', flush=True); time.sleep(100)")
    while notebook.wait(notebook.client.get_iopub_msg(timeout=20))["msg_type"] != "stream":
        continue
    notebook.wait(notebook.manager.interrupt_kernel())
    notebook.wait(notebook.client.get_shell_msg(timeout=20))
    assert notebook.run("print('still here')").text == "still here\n"


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import os; os._exit(3)", "exited"),
        ("import ctypes; ctypes.string_at(0)", "signal"),
        ("import os; os.abort()", "signal"),
    ],
)
def test_a_kernel_that_ends_itself_says_how(notebook, code, why):
    notebook.send(code)
    ended = notebook.end()
    assert ended.why == why
    assert (ended.code == 3) == (why == "exited")


def test_killing_everything_harms_only_oneself(notebook):
    seen = notebook.run("""
import os, subprocess
child = subprocess.Popen(["sleep", "100"])
try: os.kill(-1, 9)
except OSError: pass
print(child.wait())
os.kill(os.getpid(), 15); os.kill(os.getpid(), 9)
print("alive")
""")
    assert seen.text.split() == ["-9", "alive"]


def test_an_endless_loop_is_ended_by_its_computing_time(limited):
    notebook = limited(Limits(cpu_seconds=2))
    notebook.send("while True: pass")
    assert notebook.end().why == "cpu"


def test_computing_time_of_children_counts(limited):
    notebook = limited(Limits(cpu_seconds=2))
    notebook.send("import os\nfor _ in range(3): os.fork()\nwhile True: pass")
    ended = notebook.end()
    assert ended.why == "cpu"


def test_computing_time_of_children_counts_even_when_nobody_asks_for_it(limited):
    notebook = limited(Limits(cpu_seconds=3))
    notebook.send("""
import os, signal, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # their times are forgotten
while True:
    if os.fork() == 0:
        while time.process_time() < 1.0: pass
        os._exit(0)
    time.sleep(1.0)
""")
    assert notebook.end(60).why == "cpu"


def test_usage_counts_computing_and_not_waiting(notebook):
    before = notebook.wait(notebook.provisioner.usage())
    notebook.run("import time; time.sleep(0.5)")
    waited = notebook.wait(notebook.provisioner.usage())
    notebook.run(
        "import time\nend = time.process_time() + 0.5\nwhile time.process_time() < end: pass"
    )
    computed = notebook.wait(notebook.provisioner.usage(exact=True))
    assert waited.cpu_seconds - before.cpu_seconds < 0.3
    assert computed.cpu_seconds - waited.cpu_seconds >= 0.45
    assert 0 < computed.memory_bytes < 1 << 30


def test_one_process_cannot_take_more_memory_than_allowed(limited):
    notebook = limited(Limits(memory_bytes=1 << 30))
    seen = notebook.run("x = bytearray(2 << 30)")
    assert seen.error == "MemoryError"
    assert notebook.run("print(1)").text == "1\n"


def test_many_processes_together_cannot_take_more_memory_than_allowed(limited):
    notebook = limited(Limits(memory_bytes=800 << 20))
    notebook.send("""
import os, time
for _ in range(6):
    if os.fork() == 0:
        hoard = bytearray(b"x") * (200 << 20)
        time.sleep(100)
time.sleep(100)
""")
    assert notebook.end().why == "memory"


def test_a_full_private_disk_counts_as_memory_and_ends_at_its_size(limited):
    notebook = limited(Limits(disk_bytes=64 << 20))
    seen = notebook.run("""
total = 0
try:
    for n in range(100):
        for place in ("/student/tmp", "/dev/shm", "/student/home"):
            total += open(f"{place}/{n}", "wb").write(bytes(8 << 20))
except OSError as error:
    print(total < 65 << 20, error.errno)
""")
    assert seen.text.split() == ["True", "28"]
    used = notebook.provisioner.control.usage(exact=True)
    assert used.memory_bytes > 50 << 20


def test_a_fork_bomb_meets_its_limit_and_leaves_the_neighbour_alone(sandbox, limited):
    neighbour = Notebook(sandbox)
    bomb = limited(Limits(processes=64, cpu_seconds=3))
    bomb.send("""
import os
while True:
    try: os.fork()
    except OSError: pass
""")
    assert neighbour.run("print(sum(range(10)))").text == "45\n"
    assert bomb.end().why in ("cpu", "memory")
    neighbour.close()


def test_a_flood_of_output_can_be_stopped(notebook):
    notebook.send("while True: print('x' * 10000)")
    time.sleep(0.5)
    notebook.provisioner.control.kill()
    assert notebook.end().why == "killed"


def test_a_hidden_process_is_still_counted(limited):
    """A process that could make itself unreadable would escape the memory watchdog."""
    notebook = limited(Limits(memory_bytes=700 << 20))
    notebook.send("""
import ctypes, os, time
ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)
os.setsid() if os.fork() == 0 else None
for _ in range(4):
    if os.fork() == 0:
        hoard = bytearray(b"x") * (200 << 20)
        time.sleep(100)
time.sleep(100)
""")
    assert notebook.end().why == "memory"


def test_cleaning_up_twice_is_harmless(sandbox):
    notebook = Notebook(sandbox)
    folder = Path(notebook.manager.ip).parent
    notebook.close()
    loop_free = notebook.provisioner
    assert not folder.exists()
    assert loop_free.exit_info.why == "killed"
    assert loop_free.control is None


def test_kernels_leave_no_descriptor_and_no_process_behind(sandbox):
    def held() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), len(psutil.Process().children(recursive=True))

    Notebook(sandbox).close()
    time.sleep(0.3)
    descriptors, processes = held()
    for _ in range(3):
        Notebook(sandbox).close()
    time.sleep(0.3)
    now = held()
    assert now[0] <= descriptors
    assert now[1] <= processes


def test_nothing_outlives_a_grader_that_is_killed():
    grader = subprocess.Popen(
        [sys.executable, "-c", GRADER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert grader.stdout is not None
    folder = grader.stdout.readline().strip()
    assert processes_with(f"{folder}/lab")
    grader.send_signal(signal.SIGKILL)
    grader.communicate()
    deadline = time.monotonic() + 10
    while processes_with(f"{folder}/lab") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not processes_with(f"{folder}/lab")
    remove_stale_folders()
    assert not Path(folder).exists()


def test_the_run_folder_of_a_running_sandbox_is_left_alone(sandbox):
    remove_stale_folders()
    assert (sandbox.folder / "lab" / "steerlab").is_dir()


def test_a_machine_without_bubblewrap_is_told_how_to_get_it(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(SandboxUnavailable, match=r"apt-get install bubblewrap"):
        check()


def test_a_machine_without_user_namespaces_is_told_how_to_switch_them_on():
    """Tried for real, in a user namespace that forbids further ones."""
    switched_off = f"echo 0 > /proc/sys/user/max_user_namespaces; exec {sys.executable} -"
    told = subprocess.run(
        ["unshare", "--user", "--map-root-user", "sh", "-c", switched_off],
        input=NO_NAMESPACES,
        capture_output=True,
        text=True,
    )
    assert "sudo sysctl -w user.max_user_namespaces" in told.stdout, told.stderr
    assert len(told.stdout.splitlines()) == 1


def test_this_machine_can_run_a_sandbox():
    check()


@pytest.mark.skipif(os.geteuid() != 0, reason="all other tests run as an ordinary user then")
def test_an_ordinary_user_needs_no_rights_for_a_sandbox():
    """Root opens the way to interpreter and packages, in a mount namespace, and becomes a user."""
    import steerlab

    packages = [Path(str(steerlab.__file__)).parents[1], Path(__file__).parents[1]]
    needed = {os.path.realpath(str(path)) for path in (sys.prefix, sys.base_prefix, *packages)}
    closed = {
        next((str(p) for p in reversed(Path(path).parents) if not p.stat().st_mode & 0o001), "")
        for path in needed
    } - {""}
    words = ["bwrap", "--dev-bind", "/", "/"]
    for path in sorted(closed):
        words += ["--perms", "0755", "--tmpfs", path]
    for path in sorted(needed):
        if any(path.startswith(f"{folder}/") for folder in closed):
            for parent in reversed(Path(path).parents):
                if any(str(parent).startswith(f"{folder}/") for folder in closed):
                    words += ["--perms", "0755", "--dir", str(parent)]
            words += ["--ro-bind", path, path]
    words += ["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups", "env", "-i"]
    words += ["PATH=/usr/bin:/bin", f"PYTHONPATH={':'.join(map(str, packages))}"]
    told = subprocess.run(
        [*words, sys.executable, "-B", "-c", AS_ORDINARY_USER],
        capture_output=True,
        text=True,
        cwd="/",
    )
    assert told.stdout == "user 12345\n", told.stderr


def test_without_a_running_sandbox_a_kernel_says_so(monkeypatch):
    monkeypatch.setattr(Sandbox, "_running", [])
    with pytest.raises(SandboxUnavailable, match="with Sandbox"):
        Sandbox.current()


@pytest.mark.parametrize("preload", ["", "torch"])
def test_pytorch_is_ready_where_the_course_asks_for_it(preload):
    with Sandbox(Settings(preload=preload)) as sandbox:
        notebook = Notebook(sandbox)
        said = notebook.run(
            "import sys\nprint('torch' in sys.modules)\nimport torch\nprint(torch.get_num_threads())"
        )
        notebook.close()
    assert said.text.split() == [str(preload == "torch"), "1"]


def test_an_unknown_withheld_name_stops_the_start_and_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", None)
    before = set(Path("/tmp").glob("sl-*"))
    with pytest.raises(ValueError, match=r"steerlab\.nowhere:nothing"):
        Sandbox(Settings(withheld=("steerlab.nowhere:nothing",))).start()
    assert set(Path("/tmp").glob("sl-*")) <= before
