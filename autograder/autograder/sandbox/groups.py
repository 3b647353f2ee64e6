"""Control groups, where they are delegated to the grader: Linux itself bounds a submission then.

Each kernel gets a group of its own for memory, and for its share of the processors, below the group
that the grader is in. Where that cannot be had, the monitor's watchdog bounds memory alone.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PREFIX = "steerlab-"
CONTROLLERS = ("memory", "cpu")
REMOVE_SECONDS = 2.0


@dataclass(frozen=True)
class Groups:
    """The groups of one sandbox: one folder a hierarchy (one in all for version 2)."""

    folders: tuple[Path, ...]

    @classmethod
    def find(
        cls, mounts: Path = Path("/proc/self/mountinfo"), own: Path = Path("/proc/self/cgroup")
    ) -> Groups | None:
        """Groups below this process's own, if memory may be bounded there; else None."""
        name = f"{PREFIX}{os.getpid()}-{next(_numbers)}"
        made: list[Path] = []
        for folder, version in _own_folders(mounts.read_text(), own.read_text()):
            with suppress(OSError):
                remove_stale(folder)
                if version == 2:
                    _open_to_children(folder)
                (folder / name).mkdir()
                made.append(folder / name)
                _held[folder / name] = _locked(folder / name)
                if version == 2:
                    _enable(folder / name)
                # All kernels together may have every core; among them each has the same share.
                _set_share(folder / name, os.cpu_count() or 1)
        if not any((folder / limit).exists() for folder in made for limit in LIMITS):
            _remove(made)
            return None
        return cls(tuple(made))

    def make(self, memory_bytes: int = 0) -> Group:
        """A new group for one kernel; 0 bytes sets no bound. Raises OSError."""
        name = f"{os.getpid()}-{next(_numbers)}"
        group = Group(tuple(folder / name for folder in self.folders))
        for folder in group.folders:
            folder.mkdir()
            if memory_bytes:
                bound = str(memory_bytes)
                _write(folder, dict.fromkeys(LIMITS, bound))
                _write(folder, {"memory.swap.max": "0", "memory.memsw.limit_in_bytes": bound})
                _write(folder, {"memory.oom.group": "1"})  # all of it ends, not one process
            _set_share(folder, 1)
        return group

    def close(self) -> None:
        """End what is still in the groups, and remove them."""
        for folder in self.folders:
            with suppress(OSError):
                _remove([child for child in folder.iterdir() if child.is_dir()])
        _remove(self.folders)
        for folder in self.folders:
            if (lock := _held.pop(folder, None)) is not None:
                os.close(lock)


class Group:
    """The group of one kernel, in each hierarchy."""

    def __init__(self, folders: tuple[Path, ...]) -> None:
        self.folders = folders
        self._descriptors: list[int] = []

    @property
    def descriptors(self) -> list[int]:
        """What a process writes "0" to, to enter; made on first use."""
        if not self._descriptors:
            self._descriptors = [
                os.open(folder / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
                for folder in self.folders
            ]
        return self._descriptors

    def sent(self) -> None:
        """Close the descriptors: the kernel has its own."""
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors = []

    def ran_out(self) -> bool:
        """Whether Linux ended a process of the group because its memory was used up."""
        return any(_count_of_kills(folder) > 0 for folder in self.folders)

    def close(self) -> None:
        """End what is still in the group, and remove it. May be called twice."""
        self.sent()
        _remove(self.folders)


LIMITS = ("memory.max", "memory.limit_in_bytes")
_numbers = itertools.count()
#: Locks on the folders of this process's groups, by which others know them to be in use.
_held: dict[Path, int] = {}


def remove_stale(parent: Path) -> None:
    """Remove the groups of graders that are gone (killed): nobody holds their lock.

    Not by process number: a grader in another container has other numbers, or the same ones. What
    still has processes in it stays.
    """
    for folder in parent.glob(f"{PREFIX}[0-9]*"):
        with suppress(OSError):
            lock = _locked(folder)
            try:
                for child in folder.iterdir():
                    if child.is_dir():
                        child.rmdir()
                folder.rmdir()
            finally:
                os.close(lock)


def _locked(folder: Path) -> int:
    """A descriptor that holds a folder's lock; raises OSError when another process holds it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def _own_folders(mounts: str, own: str) -> Iterator[tuple[Path, int]]:
    """Where this process's own groups are: (folder, version), of the hierarchies that help."""
    paths = {}
    for line in own.splitlines():
        _, controllers, path = line.split(":", 2)
        paths.update(dict.fromkeys(controllers.split(",") if controllers else [""], path))
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        root, place = before.split()[3:5]
        kind, _, options = after.split()[:3]
        names = options.split(",") if kind == "cgroup" else [""] if kind == "cgroup2" else []
        for name in names:
            if name in paths and (name in CONTROLLERS or kind == "cgroup2"):
                folder = Path(place) / os.path.relpath(paths[name], root)
                if kind == "cgroup" or _offers_memory(folder):
                    yield folder, 2 if kind == "cgroup2" else 1


def _offers_memory(folder: Path) -> bool:
    try:
        return "memory" in (folder / "cgroup.controllers").read_text().split()
    except OSError:
        return False


def _open_to_children(folder: Path) -> None:
    """Let groups below a version 2 group have controllers; raises OSError where it is not ours.

    A group with processes in it cannot, so they step aside into a group below, but only where
    whoever started us has marked the group as handed over.
    """
    if "memory" in (folder / "cgroup.subtree_control").read_text().split():
        return
    if os.getxattr(folder, "user.delegate") != b"1":
        raise PermissionError(f"{folder} is not delegated")
    aside = folder / f"{PREFIX}grader"
    aside.mkdir(exist_ok=True)
    for number in (folder / "cgroup.procs").read_text().split():
        (aside / "cgroup.procs").write_text(number)
    _enable(folder)


def _enable(folder: Path) -> None:
    offered = (folder / "cgroup.controllers").read_text().split()
    wanted = " ".join(f"+{name}" for name in CONTROLLERS if name in offered)
    (folder / "cgroup.subtree_control").write_text(wanted)


def _set_share(folder: Path, cores: int) -> None:
    _write(folder, {"cpu.weight": str(min(100 * cores, 10_000)), "cpu.shares": str(1024 * cores)})


def _write(folder: Path, values: dict[str, str]) -> None:
    """Write each value whose file this hierarchy has."""
    for name, value in values.items():
        if (folder / name).exists():
            (folder / name).write_text(value)


def _count_of_kills(folder: Path) -> int:
    for name in ("memory.events", "memory.oom_control"):
        with suppress(OSError):
            for line in (folder / name).read_text().splitlines():
                if line.startswith("oom_kill "):
                    return int(line.split()[1])
    return 0


def _remove(folders: tuple[Path, ...] | list[Path]) -> None:
    """Remove groups of this process's own, ending what is still in them."""
    deadline = time.monotonic() + REMOVE_SECONDS
    for folder in folders:
        while folder.exists():
            try:
                folder.rmdir()
            except OSError:
                if time.monotonic() > deadline:
                    break
                with suppress(OSError):
                    for number in map(int, (folder / "cgroup.procs").read_text().split()):
                        if number > 0:  # 0 stands for a process that is not seen from here
                            os.kill(number, signal.SIGKILL)
                time.sleep(0.01)
