"""One warm sandbox: bubblewrap round a zygote that forks a kernel for every submission."""

from __future__ import annotations

import fcntl
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, ClassVar

from . import confine, layout, seccomp, withhold
from .isolation import Isolation

RUN_FOLDERS = Path("/tmp")
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


@dataclass(frozen=True)
class Limits:
    """What one submission may use; times in seconds, sizes in bytes.

    `cpu_seconds` counts all its processes together, `memory_bytes` too (beside a bound on each).
    """

    cpu_seconds: int = 120
    memory_bytes: int = 3 << 30
    disk_bytes: int = 256 << 20
    processes: int = 96
    open_files: int = 256
    threads: int = 1


@dataclass(frozen=True)
class Settings:
    """How a sandbox is made.

    withheld: names whose bodies the sandbox's steerlab lacks (`withhold.copy_without`).
    hidden: folders that must not show (course folder, hidden tests, solutions), wherever they lie.
    package: steerlab's source; found by import when not given.
    allow_weaker: go on without seccomp where it cannot be had; the isolation says so.
    """

    withheld: tuple[str, ...] = ()
    hidden: tuple[Path, ...] = ()
    package: Path | None = None
    limits: Limits = field(default_factory=Limits)
    allow_weaker: bool = False
    start_timeout: float = 120.0
    kernel_timeout: float = 30.0


class Sandbox:
    """`with Sandbox(settings) as sandbox:` a warm sandbox; everything in it ends with the block.

    Kernels are started by `provisioner.SandboxProvisioner`, which finds the innermost running
    sandbox of this process (`Sandbox.current()`) unless it is given one.

    Raises: SandboxUnavailable; ValueError for unknown withheld names.
    """

    _running: ClassVar[list[Sandbox]] = []

    def __init__(self, settings: Settings | None = None) -> None:
        self.settings = settings or Settings()
        self.folder = Path()
        self.isolation: Isolation | None = None
        self.report: dict[str, Any] = {}  # what the zygote said when it was ready
        self._filter = b""
        self._kernels = 0
        self._lock = threading.Lock()
        self._bubblewrap: _Bubblewrap | None = None

    @classmethod
    def current(cls) -> Sandbox:
        """The sandbox that runs in this process; raises SandboxUnavailable."""
        if not cls._running:
            raise SandboxUnavailable("No sandbox is running: use `with Sandbox(): ...`.")
        return cls._running[-1]

    def __enter__(self) -> Sandbox:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def launch(self) -> None:
        """Make the run folder and the cut copy, and start the zygote without waiting for it."""
        program = _bubblewrap_program()
        self._filter = _seccomp_filter(self.settings.allow_weaker)
        remove_stale_folders()
        self.folder, self._folder_lock = _run_folder()
        try:
            layout.write_inside(self.folder)
            package = self.settings.package or withhold.package_folder()
            copy = withhold.copy_without(package, self.folder / "lab", self.settings.withheld)
            layout.make_readable(copy)
            command = [program, *_bubblewrap_arguments(self.folder, self.settings.hidden)]
            self._bubblewrap = _Bubblewrap(command, self.folder / "log")
        except BaseException:
            self.stop()
            raise

    def start(self) -> None:
        """Launch the zygote, unless that has been done, and wait until it is warm."""
        if self._bubblewrap is None:
            self.launch()
        assert self._bubblewrap is not None
        try:
            self.report = self._bubblewrap.wait_until_ready(self.settings.start_timeout)
        except BaseException:
            self.stop()
            raise
        self.isolation = Isolation(
            namespaces=True,
            read_only_system=True,
            no_network=True,
            no_privileges=True,
            process_limits=True,
            memory_watchdog=True,
            seccomp=bool(self._filter),
            ordinary_user=os.geteuid() != 0 or _student_uid() != 0,
        )
        Sandbox._running.append(self)

    def stop(self) -> None:
        """End every kernel and the zygote, and remove the run folder. May be called twice."""
        if self in Sandbox._running:
            Sandbox._running.remove(self)
        if self._bubblewrap is not None:
            self._bubblewrap.stop()
            self._bubblewrap = None
        if self.folder != Path():
            shutil.rmtree(self.folder, ignore_errors=True)
            self._folder_lock.close()
            self.folder = Path()

    @property
    def alive(self) -> bool:
        """Whether the zygote still runs."""
        return self._bubblewrap is not None and self._bubblewrap.alive

    def fork(self) -> socket.socket:
        """Ask for one monitor; returns the grader's end of its control socket."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, self._lock:
            if self._bubblewrap is None:
                raise SandboxUnavailable("The sandbox is not running.")
            try:
                socket.send_fds(self._bubblewrap.master, [b"k"], [theirs.fileno()])
            except OSError as error:
                ours.close()
                raise SandboxUnavailable(f"The sandbox is gone ({error}).") from error
        return ours

    def kernel_folder(self) -> Path:
        """A new private folder for one kernel's sockets."""
        with self._lock:
            self._kernels += 1
            folder = self.folder / f"k{self._kernels}"
        folder.mkdir(mode=0o700)
        return folder

    def request(self, connection: dict[str, Any], limits: Limits | None = None) -> dict[str, Any]:
        """What a monitor is told about the kernel that it starts."""
        bounds = asdict(limits or self.settings.limits)
        return {"connection": connection, "limits": bounds, "seccomp": self._filter.hex()}


def check(allow_weaker: bool = False) -> None:
    """Raise SandboxUnavailable, with the command that mends it, unless a sandbox can start here."""
    program = _bubblewrap_program()
    _seccomp_filter(allow_weaker)
    with _scratch_folder() as folder:
        layout.write_inside(folder)
        command = [program, *_bubblewrap_arguments(folder, (), trial=True)]
        trial = _Bubblewrap(command, folder / "log")
        try:
            trial.wait_until_ready(30)
        finally:
            trial.stop()


class _Bubblewrap:
    """The bubblewrap process and the control socket to the zygote in it."""

    def __init__(self, command: list[str], log: Path) -> None:
        self.master, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._started = threading.Event()
        # "Die with parent" means the thread that started it: this one lives as long as the process.
        words = (*command, str(theirs.fileno()), str(_student_uid()))
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
            raise SandboxUnavailable(_explain(said))
        return report

    def stop(self) -> None:
        """Close the socket, which ends the zygote; kill what does not go by itself."""
        self.master.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._keeper.join()


def _bubblewrap_program() -> str:
    program = shutil.which("bwrap")
    if program is None:
        raise SandboxUnavailable(
            "bubblewrap is not installed: run `sudo apt-get install bubblewrap`."
        )
    return program


def _bubblewrap_arguments(folder: Path, hidden: tuple[Path, ...], trial: bool = False) -> list[str]:
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


def _student_uid() -> int:
    """The user that root becomes: an unused one that this (perhaps nested) user namespace has."""
    if os.geteuid() != 0:
        return 0
    with open("/proc/self/uid_map") as handle:
        ranges = [(int(line.split()[0]), int(line.split()[2])) for line in handle]
    if any(first <= ROOTS_STUDENT_UID < first + count for first, count in ranges):
        return ROOTS_STUDENT_UID
    return max(first + count - 1 for first, count in ranges)


def _seccomp_filter(allow_weaker: bool) -> bytes:
    try:
        return seccomp.compiled_filter()
    except seccomp.SeccompUnavailable as error:
        if allow_weaker:
            return b""
        raise SandboxUnavailable(str(error)) from error


def _explain(said: str) -> str:
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


def remove_stale_folders() -> None:
    """Remove run folders of ours whose grader is gone (killed): nobody holds their lock."""
    for folder in RUN_FOLDERS.glob("sl-*"):
        with suppress(OSError), (folder / "lock").open("r+b") as lock:
            if folder.stat().st_uid == os.geteuid():
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)


def _run_folder() -> tuple[Path, IO[bytes]]:
    """A new private run folder, and its lock, which this process holds as long as it lives."""
    # Short, because the paths of the kernels' sockets may have 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="sl-", dir=RUN_FOLDERS))
    lock = (folder / ".lock").open("w+b")
    fcntl.flock(lock, fcntl.LOCK_EX)
    (folder / ".lock").rename(folder / "lock")  # seen by others only when it is held
    return folder, lock


@contextmanager
def _scratch_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="sl-", dir=RUN_FOLDERS) as folder:
        yield Path(folder)
