"""One warm sandbox: bubblewrap round a zygote that forks a kernel for every submission.

The process that starts it may share it: other processes of the same user then ask for kernels at a
door, a socket in the run folder, and get them from the same zygote.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO, Any, ClassVar

from . import bubblewrap, layout, seccomp, withhold
from .bubblewrap import student_uid
from .groups import Group, Groups
from .isolation import CGROUP, WATCHDOG, Isolation
from .process import TRIAL, SandboxUnavailable, ZygoteProcess, serving

RUN_FOLDERS = Path("/tmp")
DOOR = "door"


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
    allow_weaker: go on at a lower level where the full one cannot be had; the isolation says so.
    preload: the model that every kernel has ready. "torch": that library alone. Empty: neither.
    libraries: what else is imported once for all kernels.
    """

    withheld: tuple[str, ...] = ()
    hidden: tuple[Path, ...] = ()
    package: Path | None = None
    limits: Limits = field(default_factory=Limits)
    allow_weaker: bool = False
    preload: str = "tiny"
    libraries: tuple[str, ...] = ()
    start_timeout: float = 120.0
    kernel_timeout: float = 30.0


class KernelSource:
    """What a kernel's provisioner needs of a sandbox, in the process that started it or in another."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.folder = Path()
        self.isolation: Isolation | None = None
        self._filter = b""
        self._groups: Groups | None = None

    def fork(self) -> socket.socket:
        """Ask for one monitor; returns the grader's end of its control socket."""
        raise NotImplementedError

    def kernel_folder(self) -> Path:
        """A new private folder for one kernel's sockets."""
        return Path(tempfile.mkdtemp(prefix="k", dir=self.folder))

    def group(self, limits: Limits | None = None) -> Group | None:
        """A control group for one kernel, where they are delegated."""
        if self._groups is None:
            return None
        return self._groups.make((limits or self.settings.limits).memory_bytes)

    def request(self, connection: dict[str, Any], limits: Limits | None = None) -> dict[str, Any]:
        """What a monitor is told about the kernel that it starts."""
        bounds = asdict(limits or self.settings.limits)
        return {"connection": connection, "limits": bounds, "seccomp": self._filter.hex()}


class Sandbox(KernelSource):
    """`with Sandbox(settings) as sandbox:` a warm sandbox; everything in it ends with the block.

    Kernels are started by `provisioner.SandboxProvisioner`, which finds the innermost running
    sandbox of this process (`Sandbox.current()`) unless it is given one.

    Raises: SandboxUnavailable; ValueError for unknown withheld names.
    """

    _running: ClassVar[list[Sandbox]] = []

    def __init__(self, settings: Settings | None = None) -> None:
        super().__init__(settings or Settings())
        self.report: dict[str, Any] = {}  # what the zygote said when it was ready
        self._lock = threading.Lock()
        self._zygote: ZygoteProcess | None = None
        self._door: socket.socket | None = None

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
        self._filter = self._make_filter()
        remove_stale_folders()
        self.folder, self._folder_lock = _run_folder()
        try:
            layout.write_inside(self.folder)
            package = self.settings.package or withhold.package_folder()
            copy = withhold.copy_without(package, self.folder / "lab", self.settings.withheld)
            layout.make_readable(copy)
            self._groups = Groups.find()
            self._zygote = self._start_zygote(self._groups)
        except BaseException:
            self.stop()
            raise

    def _make_filter(self) -> bytes:
        return _seccomp_filter(self.settings.allow_weaker)

    def _start_zygote(self, groups: Groups | None) -> ZygoteProcess:
        mode = serving(self.settings.preload, self.settings.libraries)
        return _in_bubblewrap(self.folder, self.settings.hidden, self._filter, groups, mode)

    def _explain(self, last: str) -> str:
        return bubblewrap.explain(last)

    def start(self) -> None:
        """Launch the zygote, unless that has been done, and wait until it is warm."""
        if self._zygote is None:
            self.launch()
        assert self._zygote is not None
        try:
            timeout = self.settings.start_timeout
            self.report = self._zygote.wait_until_ready(timeout, self._explain)
        except BaseException:
            self.stop()
            raise
        if self._groups is not None and not self.report["groups"]:
            self._groups.close()  # kernels could not enter them
            self._groups = None
        self.isolation = self._in_force()
        Sandbox._running.append(self)

    def _in_force(self) -> Isolation:
        return Isolation(
            namespaces=True,
            own_files=True,
            no_network=True,
            no_privileges=True,
            process_limits=True,
            memory_bound=True,
            seccomp=bool(self._filter),
            ordinary_user=os.geteuid() != 0 or student_uid() != 0,
            memory_by=self._memory_by(),
        )

    def _memory_by(self) -> str:
        return CGROUP if self._groups is not None else WATCHDOG

    def stop(self) -> None:
        """End every kernel and the zygote, and remove the run folder. May be called twice."""
        if self in Sandbox._running:
            Sandbox._running.remove(self)
        if self._door is not None:
            self._door.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for callers
            self._door.close()
            self._door = None
        if self._zygote is not None:
            self._zygote.stop()
            self._zygote = None
        if self._groups is not None:
            self._groups.close()
            self._groups = None
        if self.folder != Path():
            shutil.rmtree(self.folder, ignore_errors=True)
            self._folder_lock.close()
            self.folder = Path()

    @property
    def alive(self) -> bool:
        """Whether the zygote still runs."""
        return self._zygote is not None and self._zygote.alive

    def fork(self) -> socket.socket:
        """Ask for one monitor; returns the grader's end of its control socket."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                self._pass_on(theirs.fileno())
            except SandboxUnavailable:
                ours.close()
                raise
        return ours

    def share(self) -> Ticket:
        """Open the door to other processes of this user; what `SharedSandbox` needs to find it."""
        if self._door is None:
            self._door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._door.bind(os.fspath(self.folder / DOOR))  # in a folder that only we may enter
            self._door.listen(64)
            threading.Thread(target=self._answer_door, args=(self._door,), daemon=True).start()
        assert self.isolation is not None
        return Ticket(self.folder, self.settings, self._filter, self.isolation, self._groups)

    def _answer_door(self, door: socket.socket) -> None:
        """Hand every caller's own socket to the zygote: it becomes that kernel's control socket."""
        while True:
            try:
                caller, _ = door.accept()
            except OSError:
                return  # closed by stop()
            with caller, suppress(SandboxUnavailable):
                self._pass_on(caller.fileno())

    def _pass_on(self, control: int) -> None:
        with self._lock:
            if self._zygote is None:
                raise SandboxUnavailable("The sandbox is not running.")
            try:
                socket.send_fds(self._zygote.master, [b"k"], [control])
            except OSError as error:
                raise SandboxUnavailable(f"The sandbox is gone ({error}).") from error


@dataclass(frozen=True)
class Ticket:
    """Where another process's sandbox is, and how it is set up; plain data."""

    folder: Path
    settings: Settings
    filter: bytes
    isolation: Isolation
    groups: Groups | None = None


class SharedSandbox(KernelSource):
    """A sandbox that another process of this user runs; kernels end with whoever asked for them."""

    def __init__(self, ticket: Ticket) -> None:
        super().__init__(ticket.settings)
        self.folder, self._filter, self.isolation = ticket.folder, ticket.filter, ticket.isolation
        self._groups = ticket.groups

    def fork(self) -> socket.socket:
        """Ask at the door; raises SandboxUnavailable when nobody answers there any more."""
        ours = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            ours.connect(os.fspath(self.folder / DOOR))
        except OSError as error:
            ours.close()
            raise SandboxUnavailable(f"The sandbox is gone ({error}).") from error
        return ours


def check(allow_weaker: bool = False) -> None:
    """Raise SandboxUnavailable, with the command that mends it, unless a sandbox can start here."""
    filter_code = _seccomp_filter(allow_weaker)
    with _scratch_folder() as folder:
        layout.write_inside(folder)
        trial = _in_bubblewrap(folder, (), filter_code, None, TRIAL)
        try:
            trial.wait_until_ready(30, bubblewrap.explain)
        finally:
            trial.stop()


def _in_bubblewrap(
    folder: Path,
    hidden: tuple[Path, ...],
    filter_code: bytes,
    groups: Groups | None,
    mode: str,
) -> ZygoteProcess:
    command = [bubblewrap.program_path(), *bubblewrap.arguments(folder, hidden), mode]
    walls = ("namespaces", str(student_uid()))
    group = groups.make() if groups else None
    return ZygoteProcess(command, walls, {}, folder / "log", filter_code, group)


def _seccomp_filter(allow_weaker: bool) -> bytes:
    try:
        return seccomp.compiled_filter()
    except seccomp.SeccompUnavailable as error:
        if allow_weaker:
            return b""
        raise SandboxUnavailable(str(error)) from error


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
