"""The two kinds of walls round a kernel: namespaces of its own, or a user number of its own.

Runs inside the sandbox: the standard library only. The zygote makes one of them and hands it to the
monitor and to the kernel, which call its steps in the order in which they stand here.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Collection
from typing import Any, Protocol

from . import confine, landlock

MAX_FILES = 20_000
SWEEP_SECONDS = 10.0


class Walls(Protocol):
    """What the zygote, a monitor and a kernel need of either kind."""

    home: str
    scratch: str
    sealed: bool  # nothing inside can send the kernel SIGKILL

    def settle(self) -> None:
        """In the zygote, once: become what may make kernels."""

    def try_out(self, seccomp: bytes, groups: list[int]) -> dict[str, Any]:
        """In the zygote, once: go through all steps in a child; returns what holds.

        Raises OSError, PermissionError with what this machine refuses.
        """

    def next(self) -> Walls:
        """In the zygote: the walls of the next kernel."""

    def split(self) -> None:
        """In the monitor, before it forks the kernel."""

    def enter(self, limits: dict[str, int]) -> None:
        """In the kernel, first: a file system of its own."""

    def drop(self) -> None:
        """In the kernel, last: no privileges any more."""

    def members(self, root: int, parents: dict[int, int]) -> set[int]:
        """In the monitor: the process numbers that belong to the kernel `root`."""

    def disk_bytes(self, root: int) -> int:
        """In the monitor: bytes in the kernel's private folder."""

    def clear(self) -> None:
        """In the monitor, when the kernel is gone: end and remove whatever it left."""


class Namespaces:
    """Each kernel in namespaces of its own: it sees itself alone, and all ends with it."""

    home, scratch, sealed = confine.HOME, confine.SCRATCH, True

    def __init__(self, uid: int) -> None:
        self._uid = uid

    def settle(self) -> None:
        confine.die_with_parent()
        if self._uid:
            confine.become_unprivileged(self._uid)

    def try_out(self, seccomp: bytes, groups: list[int]) -> dict[str, Any]:
        def steps() -> dict[str, Any]:
            joined = _joined(groups)
            confine.enter_user_namespace()
            confine.unshare(confine.KERNEL_NAMESPACES)
            if (inner := os.fork()) == 0:
                confine.private_filesystem(1 << 20)
                self.drop()
                confine.load_seccomp(seccomp)
                os._exit(0 if confine.no_privileges() else 1)
            if os.waitstatus_to_exitcode(os.waitpid(inner, 0)[1]) != 0:
                raise PermissionError("a private file system cannot be mounted")
            return {"groups": joined}

        return _tried(steps)

    def next(self) -> Namespaces:
        return self

    def split(self) -> None:
        confine.die_with_parent()
        confine.enter_user_namespace()
        confine.unshare(confine.KERNEL_NAMESPACES)

    def enter(self, limits: dict[str, int]) -> None:
        confine.die_with_parent()
        confine.private_filesystem(limits["disk_bytes"])

    def drop(self) -> None:
        confine.drop_capabilities()

    def members(self, root: int, parents: dict[int, int]) -> set[int]:
        # Orphans of a process namespace fall to its first process, so the tree is complete.
        family = {root}
        grown = True
        while grown:
            more = {pid for pid, parent in parents.items() if parent in family} - family
            family |= more
            grown = bool(more)
        return family

    def disk_bytes(self, root: int) -> int:
        try:
            disk = os.statvfs(f"/proc/{root}/root{confine.PRIVATE}")
        except OSError:
            return 0
        return (disk.f_blocks - disk.f_bfree) * disk.f_frsize

    def clear(self) -> None:
        return  # the namespaces' end was the end of all that was in them


class SeparateUser:
    """Each kernel as a user of its own, on a machine that has no namespaces for it.

    folder: where private folders are made; shown: what Landlock shows, by kind of access;
    secrets, needed: what must turn out unreadable, and readable, when the walls are tried;
    sweeper: the user number of whoever ends all processes of a kernel's user; uids: those of
    kernels, used in turn, so that no kernel meets what an earlier one left.
    """

    sealed = False

    def __init__(
        self,
        folder: str,
        shown: dict[str, list[str]],
        secrets: list[str],
        needed: list[str],
        with_landlock: bool,
        sweeper: int,
        uids: list[int],
        turn: int = 0,
    ) -> None:
        self._settings = (folder, shown, secrets, needed, with_landlock, sweeper, uids)
        self._sweeper = sweeper
        self._shown, self._landlock = shown, with_landlock
        self._secrets, self._needed = secrets, needed
        self._turn, self.uid = turn, uids[turn % len(uids)]
        self.private = f"{folder}/p{self.uid}"
        self.home, self.scratch = f"{self.private}/home", f"{self.private}/tmp"

    @classmethod
    def described(cls, path: str) -> SeparateUser:
        """From the file that the grader wrote for the zygote."""
        with open(path) as handle:
            return cls(**json.load(handle))

    def settle(self) -> None:
        confine.die_with_parent()

    def try_out(self, seccomp: bytes, groups: list[int]) -> dict[str, Any]:
        trial = self.next()

        def steps() -> dict[str, Any]:
            joined = _joined(groups)
            version = landlock.abi() if self._landlock else 0
            trial.split()
            trial.enter({"disk_bytes": 1 << 20})
            trial.drop()
            confine.load_seccomp(seccomp)
            trial.prove(bool(seccomp))
            return {"groups": joined, "landlock": version}

        try:
            return _tried(steps)
        finally:
            trial.clear()

    def next(self) -> SeparateUser:
        self._turn += 1
        return SeparateUser(*self._settings, turn=self._turn)

    def split(self) -> None:
        """The private folder; the monitor stays what it is, and ends with its grader's socket."""
        shutil.rmtree(self.private, ignore_errors=True)
        for folder in (self.private, self.home, f"{self.home}/work", self.scratch):
            os.mkdir(folder, 0o700)
            os.chown(folder, self.uid, self.uid)

    def enter(self, limits: dict[str, int]) -> None:
        os.umask(0o077)
        os.chdir(f"{self.home}/work")

    def drop(self) -> None:
        confine.shrink_bounding_set()
        os.setgroups([])
        os.setresgid(self.uid, self.uid, self.uid)
        os.setresuid(self.uid, self.uid, self.uid)
        confine.drop_capabilities()
        confine.prctl(confine.PR_SET_DUMPABLE, 1)  # else its own /proc folder belongs to root
        confine.die_with_parent()  # after the change of user, which would clear it
        if self._landlock:
            own = [*self._shown["readable"], "/proc/self"]
            shown = self._shown
            landlock.restrict(own, shown["listed"], shown["devices"], [self.private])

    def prove(self, filtered: bool) -> None:
        """In the trial child, after all steps: what must be impossible is tried.

        Raises PermissionError naming what was possible.
        """
        for gain in (lambda: os.setuid(0), lambda: os.setgid(0)):
            if _succeeds(gain):
                raise PermissionError("a kernel's user could become root again")
        if not confine.no_privileges():
            raise PermissionError("a kernel's user keeps capabilities")
        for path in self._needed:
            if not _succeeds(lambda path=path: os.close(os.open(path, os.O_RDONLY))):
                raise PermissionError(
                    f"{path} is hidden from other users: run `chmod o+rX` on it and its folders"
                )
        for path in self._secrets:
            if _succeeds(lambda path=path: os.close(os.open(path, os.O_RDONLY))):
                raise PermissionError(f"{path} can be read by every user: run `chmod go= {path}`")
        if filtered and _succeeds(lambda: socket.socket(socket.AF_INET).close()):
            raise PermissionError("the system call filter lets a socket through")

    def members(self, root: int, parents: dict[int, int]) -> set[int]:
        # By user and not by parent: who forks twice is somebody else's child, but nobody else.
        return {pid for pid in parents if _user_of(pid) == self.uid}

    def disk_bytes(self, root: int) -> int:
        total = files = 0
        for folder, _, names in os.walk(self.private):
            for name in names:
                try:
                    total += os.lstat(f"{folder}/{name}").st_blocks * 512
                except OSError:
                    continue
            files += 1 + len(names)
            if files > MAX_FILES:
                return 1 << 62  # nobody needs so many: over any limit
        return total

    def clear(self) -> None:
        """End every process of the kernel's user, then remove its folder; raises TimeoutError."""
        end_users(self._sweeper, [self.uid])
        shutil.rmtree(self.private, ignore_errors=True)


def end_users(sweeper: int, uids: Collection[int]) -> None:
    """End every process of these users, as root; raises TimeoutError where some do not end."""
    deadline = time.monotonic() + SWEEP_SECONDS
    while left := {_user_of(pid): pid for pid in _all_processes() if _lives(pid)}.keys() & set(
        uids
    ):
        if time.monotonic() > deadline:
            raise TimeoutError(f"processes of users {sorted(left)} do not end")
        for uid in left:
            _kill_all(sweeper, uid)
        time.sleep(0.002)


def _kill_all(sweeper: int, uid: int) -> None:
    """SIGKILL to all processes of a user at once, from a child with the right to that alone.

    Its effective user is theirs, its real and saved one nobody's: so it may signal them, and they
    may not signal it.
    """
    if (child := os.fork()) == 0:
        try:
            os.setresuid(sweeper, uid, sweeper)
            os.kill(-1, signal.SIGKILL)
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def from_arguments(words: list[str]) -> Walls:
    """The walls that the zygote's command line asks for."""
    kind, detail = words
    return SeparateUser.described(detail) if kind == "user" else Namespaces(int(detail))


def join_groups(descriptors: list[int]) -> None:
    """Enter the control groups whose lists of processes are open here; raises OSError."""
    for descriptor in descriptors:
        os.write(descriptor, b"0")
        os.close(descriptor)


def _joined(groups: list[int]) -> bool:
    try:
        join_groups(groups)
    except OSError:
        return False
    return bool(groups)


def _tried(steps: Any) -> dict[str, Any]:
    """Run `steps` in a child; returns its answer, raises PermissionError with what it said."""
    told, tell = os.pipe()
    if (child := os.fork()) == 0:
        try:
            os.write(tell, json.dumps(steps()).encode())
            os._exit(0)
        except OSError as error:
            os.write(tell, (error.strerror or str(error)).encode())
        finally:
            os._exit(1)
    os.close(tell)
    with os.fdopen(told, "rb") as pipe:
        said = pipe.read().decode()
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0:
        raise PermissionError(said or "the walls round a kernel cannot be built")
    found: dict[str, Any] = json.loads(said)
    return found


def _succeeds(attempt: Any) -> bool:
    try:
        attempt()
    except OSError as error:
        return error.errno in (errno.EMFILE, errno.ENFILE)  # says nothing about the wall
    return True


def _all_processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _user_of(pid: int) -> int:
    """A process's real user number; -1 when it is gone."""
    try:
        with open(f"/proc/{pid}/status", "rb") as handle:
            for line in handle:
                if line.startswith(b"Uid:"):
                    return int(line.split()[1])
    except OSError:
        return -1
    return -1


def _lives(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", "rb") as handle:
            return handle.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except OSError:
        return False
