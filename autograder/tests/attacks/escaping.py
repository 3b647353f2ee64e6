"""Escaping by file system, network, signals, descriptors and /proc; staying; harming a neighbour."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from .arena import ASSIGNMENT, Arena, processes_named
from .attack import Attack, Inside, Otherwise, Trace, says
from .forging import ABSENT
from .reading import canary

NETWORK = "a network namespace of its own"
PROCESSES = "a process namespace of its own"
FILES = "a private file system for each kernel"
CALLS = "the system call filter"
PRIVILEGES = "no capabilities"
STREAMS = "the standard streams lead nowhere"
LIBRARY = "the library is read-only in the sandbox"
NO_LINKS = "intake refuses symbolic links"
CALL = """\
import socket
host = socket.socket(@FAMILY@)
host.settimeout(5)
host.connect(@ADDRESS@)
host.sendall(b"a student got out")
print(host.recv(100).decode())
"""


def call(family: str, address: str) -> str:
    """Source that talks to a server of the instructor's machine."""
    return CALL.replace("@FAMILY@", f"socket.{family}").replace("@ADDRESS@", address)


def written(path: str) -> Callable[[Trace], str]:
    """The gain of attacks that write into the course folder."""

    def gained(trace: Trace) -> str:
        text = (trace.folder / path).read_text()
        return "written" if "owned by a student" in text else ""

    return gained


def neighbour_says(code: str, word: str) -> Callable[[Trace], str]:
    """The gain of attacks on whoever is graded beside or after."""
    return lambda trace: word if word in trace.neighbour(code) else ""


def survivors(trace: Trace) -> str:
    """Processes that are still there when the submission has been graded; they are ended here."""
    found = processes_named(f"86400.{os.getpid()}")
    for process in found:
        process.kill()
    return f"{len(found)} left" if found else ""


def link_to_gradebook(arena: Arena, folder: Path) -> None:
    """A link beside the notebook, to what the instructor's tools can read."""
    (folder / "notes.db").symlink_to(arena.real.folder.gradebook)


def stock_copy(arena: Arena, attack: Attack) -> str:
    """nbgrader copies a submission's other files, and what links point to, into the graded folder."""
    source = arena.decoy.folder.submitted / attack.name / ASSIGNMENT
    target = arena.root / "stock-copy"
    shutil.copytree(source, target)
    secret = arena.canaries["gradebook"].encode()
    return "the gradebook" if secret in (target / "notes.db").read_bytes() else ""


ATTACKS = [
    Attack(
        name="feedback-of-another-overwritten",
        family="escaping by filesystem",
        defence=ABSENT,
        off=Inside(),
        gained=written("feedback/zoe/01_toy/01_toy.html"),
        first='open("@CLASS@/feedback/zoe/01_toy/01_toy.html", "a").write("owned by a student")',
    ),
    Attack(
        name="graders-configuration-overwritten",
        family="environment",
        defence=ABSENT,
        off=Inside(),
        gained=written("nbgrader_config.py"),
        first='open("@CLASS@/nbgrader_config.py", "a").write("# owned by a student")',
    ),
    Attack(
        name="link-to-the-gradebook",
        family="escaping by filesystem",
        defence=NO_LINKS,
        off=Otherwise(stock_copy),
        gained=canary,
        files=link_to_gradebook,
    ),
    Attack(
        name="library-poisoned-for-the-next",
        family="environment",
        defence=LIBRARY,
        off=Inside(),
        gained=neighbour_says("import steerlab.poison; print(steerlab.poison.NAME)", "owned"),
        first='open("/lab/steerlab/poison.py", "w").write("NAME = \'owned\'")',
        neighbour="after",
    ),
    Attack(
        name="start-up-file-for-the-next",
        family="environment",
        defence=FILES,
        off=Inside(("files",)),
        gained=neighbour_says("print(OWNED)", "owned"),
        first="""\
import os
folder = os.environ["IPYTHONDIR"] + "/profile_default/startup"
os.makedirs(folder, exist_ok=True)
open(folder + "/00-first.py", "w").write("OWNED = 'owned'")
""",
        neighbour="after",
    ),
    Attack(
        name="note-left-for-a-neighbour",
        family="other students",
        defence=FILES,
        off=Inside(("files",)),
        gained=neighbour_says(
            "import glob; print([open(p).read() for p in glob.glob('/student/tmp/note*')])", "psst"
        ),
        first="import os; open(os.environ['TMPDIR'] + '/note', 'w').write('psst')",
        neighbour="before",
    ),
    Attack(
        name="network-of-the-host",
        family="escaping by network",
        defence=NETWORK,
        off=Inside(("network",)),
        gained=says("hello from the host"),
        first=call("AF_INET", '("127.0.0.1", @PORT@)'),
    ),
    Attack(
        name="abstract-socket-of-the-host",
        family="escaping by network",
        defence=NETWORK,
        off=Inside(("network",)),
        gained=says("hello from the host"),
        first=call("AF_UNIX", '"\\0steerlab-arena-@PORT@"'),
    ),
    Attack(
        name="socket-in-the-course-folder",
        family="escaping by network",
        defence=ABSENT,
        off=Inside(),
        gained=says("hello from the host"),
        first=call("AF_UNIX", '"@CLASS@/s"'),
    ),
    Attack(
        name="everybody-else-killed",
        family="attacking a concurrent submission",
        defence=PROCESSES,
        off=Inside(("processes",)),
        gained=neighbour_says("print('alive')", "gone"),
        first="""\
import os
for name in os.listdir("/proc"):
    if name.isdigit() and int(name) not in (1, 2, os.getpid(), os.getppid()):
        os.kill(int(name), 9)
""",
        neighbour="before",
    ),
    Attack(
        name="own-monitor-killed",
        family="escaping by signals",
        defence=PROCESSES,
        off=Inside(("processes",)),
        gained=lambda trace: "the submission is lost" if trace.score is None else "",
        first="import os\nif os.getppid():\n    os.kill(os.getppid(), 9)\n    os.wait()",
    ),
    Attack(
        name="forged-line-in-the-graders-log",
        family="escaping by descriptors",
        defence=STREAMS,
        off=Inside(("streams",)),
        gained=lambda trace: "logged" if "full marks for all" in trace.seen["log"] else "",
        first="""\
import os
for name in os.listdir("/proc/self/fd"):
    try:
        if os.readlink(f"/proc/self/fd/{name}").startswith("/"):
            os.write(int(name), b"2026-01-01 grader: full marks for all\\n")
    except OSError:
        pass
""",
    ),
    Attack(
        name="processes-of-others-listed",
        family="escaping by /proc",
        defence=PROCESSES,
        off=Inside(("processes",)),
        gained=says(r"others: [1-9]"),
        first="""\
import os
others = [n for n in os.listdir("/proc") if n.isdigit() and int(n) != os.getpid()]
print("others:", len(others), [open(f"/proc/{n}/cmdline").read() for n in others])
""",
    ),
    Attack(
        name="namespace-of-its-own",
        family="escaping by /proc",
        defence=CALLS,
        off=Inside(("calls",)),
        gained=says("a new namespace"),
        first="""\
import ctypes, os
libc = ctypes.CDLL(None)
if os.fork() == 0:
    os._exit(7 if libc.unshare(0x10000000) == 0 else 0)
if os.waitstatus_to_exitcode(os.wait()[1]) == 7:
    print("a new namespace")
""",
    ),
    Attack(
        name="memory-that-no-limit-counts",
        family="escaping by descriptors",
        defence=CALLS,
        off=Inside(("calls",)),
        gained=says("hidden memory"),
        first="""\
import os
descriptor = os.memfd_create("hoard")
os.ftruncate(descriptor, 1 << 20)
print("hidden memory")
""",
    ),
    Attack(
        name="host-name-changed",
        family="environment",
        defence=PRIVILEGES,
        off=Inside(("privileges",)),
        gained=says("now I am root"),
        first="import socket\nsocket.sethostname('root')\nprint('now I am', socket.gethostname())",
    ),
    Attack(
        name="daemon-that-stays",
        family="surviving the grader",
        defence=PROCESSES,
        off=Inside(("processes",)),
        gained=survivors,
        first="""\
import subprocess
subprocess.Popen(["sh", "-c", "setsid sleep 86400.@PID@ & exit"], start_new_session=True).wait()
""",
    ),
]
