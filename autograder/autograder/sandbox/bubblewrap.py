"""bubblewrap itself: the command that walls the zygote in, its process, and what its failures mean."""

from __future__ import annotations

import json
import os
import select
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from . import confine, layout

ROOTS_STUDENT_UID = 64555  # whom root becomes before any student's code runs
ENVIRONMENT = {
    "PATH": f"{sys.prefix}/bin:/usr/bin:/bin",
    "HOME": confine.HOME,
    "TMPDIR": confine.SCRATCH,
    "MPLCONFIGDIR": f"{confine.HOME}/.config/matplotlib",
    "LANG": "C.UTF-8",
    "PYTHONHASHSEED": "0",  # sets of strings iterate in the same order every time
    "PYTHONDONTWRITEBYTECODE": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "ARROW_DEFAULT_MEMORY_POOL": "system",  # its other allocators start a thread, and we fork
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TQDM_DISABLE": "1",
    "STEERLAB_ONLY_MODEL": "tiny",
}
START = (
    f"import sys; sys.path.insert(0, {layout.LAB!r}); "
    "from confined.sandbox.zygote import main; main()"
)


class SandboxUnavailable(RuntimeError):
    """No sandbox on this machine; the message is one line: what is missing, how to mend it."""


class Bubblewrap:
    """The bubblewrap process and the control socket to the zygote in it."""

    def __init__(self, command: list[str], log: Path) -> None:
        self.master, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._started = threading.Event()
        # "Die with parent" means the thread that started it: this one lives as long as the process.
        words = (*command, str(theirs.fileno()), str(student_uid()))
        self._keeper = threading.Thread(target=self._keep, args=(words, theirs), daemon=True)
        self._keeper.start()
        self._started.wait()

    def _keep(self, command: tuple[str, ...], theirs: socket.socket) -> None:
        with self._log.open("wb") as log, theirs:
            try:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env={},
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
            finally:
                theirs.close()
                self._started.set()
        self._process.wait()

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def wait_until_ready(self, timeout: float) -> dict[str, Any]:
        """The zygote's report; raises SandboxUnavailable with what it says went wrong."""
        if not select.select([self.master], [], [], timeout)[0]:
            raise SandboxUnavailable(f"The sandbox was not ready within {timeout:g} seconds.")
        packet = self.master.recv(1 << 16)
        report: dict[str, Any] = json.loads(packet) if packet else {}
        if not report.get("ready"):
            said = report.get("error") or self._log.read_text(errors="replace")
            raise SandboxUnavailable(explain(said))
        return report

    def stop(self) -> None:
        """Close the socket, which ends the zygote; kill what does not go by itself."""
        self.master.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._keeper.join()


def program_path() -> str:
    program = shutil.which("bwrap")
    if program is None:
        raise SandboxUnavailable(
            "bubblewrap is not installed: run `sudo apt-get install bubblewrap`."
        )
    return program


def arguments(folder: Path, hidden: tuple[Path, ...], trial: bool = False) -> list[str]:
    words = [
        "--die-with-parent",
        "--unshare-pid",
        "--unshare-net",
        "--unshare-ipc",
        "--unshare-uts",
    ]
    root = os.geteuid() == 0
    if root:
        if unreadable := layout.unreadable_to_others():
            raise SandboxUnavailable(
                f"{unreadable[0]} is readable by root alone, and the sandbox is not root: "
                f"run `chmod -R o+rX {sys.prefix} {sys.base_prefix}`."
            )
        words += ["--cap-drop", "ALL"]
        for capability in ("SYS_ADMIN", "SETUID", "SETGID", "SETPCAP"):
            words += ["--cap-add", f"CAP_{capability}"]
    else:
        words += ["--unshare-user", "--uid", "1000", "--gid", "1000"]
    words += layout.mounts(folder, hidden)
    words += ["--dev", "/dev", "--remount-ro", "/dev"]
    # /tmp is what a kernel's own is mounted on, unless the environment lies in it.
    own_tmp = [] if layout.shows_something_in("/tmp") else ["/tmp"]
    for place in (*own_tmp, confine.PRIVATE, "/dev/shm"):
        words += ["--perms", "1777", "--tmpfs", place]
    for place in (confine.HOME, confine.SCRATCH):
        words += ["--perms", "1777", "--dir", place]
    # Root mounts /proc itself, after bubblewrap: see confine.become_unprivileged.
    words += ["--dir", "/proc"] if root else ["--proc", "/proc"]
    words += ["--remount-ro", "/", "--clearenv"]
    for name, value in ENVIRONMENT.items():
        words += ["--setenv", name, value]
    words += ["--chdir", "/", sys.executable, "-s", "-P", "-B", "-c", START]
    return [*words, "trial" if trial else "serve"]


def student_uid() -> int:
    """The user that root becomes: an unused one that this (perhaps nested) user namespace has."""
    if os.geteuid() != 0:
        return 0
    with open("/proc/self/uid_map") as handle:
        ranges = [(int(line.split()[0]), int(line.split()[2])) for line in handle]
    if any(first <= ROOTS_STUDENT_UID < first + count for first, count in ranges):
        return ROOTS_STUDENT_UID
    return max(first + count - 1 for first, count in ranges)


def explain(said: str) -> str:
    """One line from what bubblewrap or the zygote said: what is wrong and how to mend it."""
    for path, bad, setting in (
        ("/proc/sys/kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
        (
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            "1",
            "kernel.apparmor_restrict_unprivileged_userns=0",
        ),
        ("/proc/sys/user/max_user_namespaces", "0", "user.max_user_namespaces=15000"),
    ):
        if os.path.exists(path) and Path(path).read_text().strip() == bad:
            return f"User namespaces are switched off here: run `sudo sysctl -w {setting}`."
    last = said.strip().splitlines()[-1] if said.strip() else "it said nothing"
    if "amespace" in last or "Operation not permitted" in last or "uid map" in last:
        return (
            f"This machine does not let the sandbox make namespaces ({last}): inside a container, "
            "start that with `--security-opt seccomp=unconfined --cap-add SYS_ADMIN`."
        )
    return f"The sandbox did not start: {last}"
