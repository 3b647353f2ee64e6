"""The sandbox for machines without namespaces: kernels as users of their own, behind Landlock.

Containers of hosted graders forbid new namespaces. There root, which such a grader is, starts the
zygote as an ordinary process; each kernel becomes a user of its own before any student's code runs.
Needs root and seccomp; Landlock too, unless less is allowed.
"""

from __future__ import annotations

import json
import os
import pwd
import socket
import sys

from . import landlock, layout, seccomp
from .groups import Groups
from .isolation import Isolation
from .pool import Sandbox, Settings, check
from .process import SandboxUnavailable, ZygoteProcess, environment, serving, start_code
from .walls import end_users

UIDS = range(64100, 64500)
BLOCKS = 8  # graders on one machine, each with numbers of its own
ZYGOTE_HOME = "zygote"


class UserSandbox(Sandbox):
    """A `Sandbox` of the level "uid": the same kernels, walled in without a namespace.

    Raises: SandboxUnavailable where the machine cannot separate users or filter system calls.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        super().__init__(settings)
        self._users: list[int] = []  # first the one who ends the others
        self._claim: socket.socket | None = None

    def _make_filter(self) -> bytes:
        try:
            return seccomp.compiled_filter(sockets=False)
        except seccomp.SeccompUnavailable as error:
            raise SandboxUnavailable(str(error)) from error

    def _start_zygote(self, groups: Groups | None) -> ZygoteProcess:
        if os.geteuid() != 0:
            raise SandboxUnavailable(
                "Without namespaces, student code can only be kept apart under another user, and "
                "only root may do that: run the grader as root in a container of its own."
            )
        with_landlock = landlock.abi() > 0
        if not with_landlock and not self.settings.allow_weaker:
            raise SandboxUnavailable(
                "This kernel has no Landlock, so other files of the machine would stay readable: "
                "allow it with --allow-weaker-sandbox, or grade on Linux 5.13 or newer."
            )
        # Kernels' users may pass through the run folder, and read in it what is made for them.
        self.folder.chmod(0o711)
        home = self.folder / ZYGOTE_HOME
        (home / ".config" / "matplotlib").mkdir(parents=True, mode=0o700)
        lab = self.folder / "lab"
        sites = layout.site_folders()
        self._claim, self._users = claim_users()
        numbers = self._users
        walls = {
            "folder": str(self.folder),
            "shown": layout.landlocked(lab, self.settings.hidden),
            "secrets": [str(path) for path in self.settings.hidden if path.exists()],
            "needed": [os.__file__, str(lab / "steerlab" / "__init__.py"), *sites],
            "with_landlock": with_landlock,
            "sweeper": numbers[0],
            "uids": numbers[1:],
        }
        described = self.folder / "walls.json"
        described.write_text(json.dumps(walls))
        described.chmod(0o600)
        # Without `site`: no hook of an editable installation runs, and none is left behind.
        command = [sys.executable, "-I", "-S", "-B", "-c", start_code(str(lab), sites)]
        command.append(serving(self.settings.preload, self.settings.libraries))
        variables = environment(str(home), str(home))
        return ZygoteProcess(
            command,
            ("user", str(described)),
            variables,
            self.folder / "log",
            self._filter,
            groups.make() if groups else None,
        )

    def stop(self) -> None:
        """End every kernel and the zygote, and see that no process of theirs is left."""
        super().stop()
        if self._users:
            end_users(self._users[0], self._users[1:])
        if self._claim is not None:
            self._claim.close()

    def _explain(self, last: str) -> str:
        said = last.partition(": ")[2] or last
        return f"Students' code cannot be kept apart here: {said}."

    def _in_force(self) -> Isolation:
        walled = bool(self.report.get("landlock"))
        return Isolation(
            namespaces=False,
            own_files=walled,
            no_network=True,
            no_privileges=True,
            process_limits=True,
            memory_bound=True,
            seccomp=True,
            ordinary_user=True,
            memory_by=self._memory_by(),
        )


def sandbox_for(settings: Settings) -> Sandbox:
    """The strongest sandbox that these settings permit here, not yet launched.

    Raises: SandboxUnavailable where a weaker one is permitted and none can be had either.
    """
    if settings.allow_weaker:
        try:
            check(allow_weaker=True)
        except SandboxUnavailable as error:
            if os.geteuid() == 0:
                return UserSandbox(settings)
            raise error
    return Sandbox(settings)


def claim_users() -> tuple[socket.socket, list[int]]:
    """User numbers that no other grader of this machine uses while the socket is open.

    Raises: SandboxUnavailable when all are in use.
    """
    free = unused_users()
    size = max(3, len(free) // BLOCKS)
    for start in range(0, len(free) - 2, size):
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            claim.bind(f"\0steerlab-users-{free[start]}")  # gone with the process, and no file
        except OSError:
            claim.close()
            continue
        return claim, free[start : start + size]
    raise SandboxUnavailable("Too many graders run on this machine at once: wait for one to end.")


def unused_users() -> list[int]:
    """User numbers that nobody has, which this user namespace maps; raises SandboxUnavailable."""
    with open("/proc/self/uid_map") as handle:
        ranges = [(int(line.split()[0]), int(line.split()[2])) for line in handle]
    mapped = [uid for uid in UIDS if any(a <= uid < a + count for a, count in ranges)]
    if not mapped:
        first, count = max(ranges, key=lambda pair: pair[1])
        mapped = list(range(max(first + 1, first + count - 400), first + count))
    taken = {entry.pw_uid for entry in pwd.getpwall()}
    free = [uid for uid in mapped if uid not in taken]
    if len(free) < 3:
        raise SandboxUnavailable(
            "This container has no second user number to run students' code under."
        )
    return free
