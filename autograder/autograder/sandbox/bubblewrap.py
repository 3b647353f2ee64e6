"""bubblewrap: the command that walls the zygote in, and what its failures mean."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from . import confine, layout
from .process import SandboxUnavailable, environment, start_code

ROOTS_STUDENT_UID = 64555  # whom root becomes before any student's code runs
#: What `docker run` must be told, so that root in the container may make the sandbox's namespaces.
CONTAINER_OPTIONS = "--security-opt seccomp=unconfined --cap-add SYS_ADMIN --cap-add NET_ADMIN"


def program_path() -> str:
    program = shutil.which("bwrap")
    if program is None:
        raise SandboxUnavailable(
            "bubblewrap is not installed: run `sudo apt-get install bubblewrap`."
        )
    return program


def arguments(folder: Path, hidden: tuple[Path, ...]) -> list[str]:
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
    for name, value in environment(confine.HOME, confine.SCRATCH).items():
        words += ["--setenv", name, value]
    words += ["--chdir", "/", sys.executable, "-s", "-P", "-B", "-c", start_code(layout.LAB)]
    return words


def student_uid() -> int:
    """The user that root becomes: an unused one that this (perhaps nested) user namespace has."""
    if os.geteuid() != 0:
        return 0
    with open("/proc/self/uid_map") as handle:
        ranges = [(int(line.split()[0]), int(line.split()[2])) for line in handle]
    if any(first <= ROOTS_STUDENT_UID < first + count for first, count in ranges):
        return ROOTS_STUDENT_UID
    return max(first + count - 1 for first, count in ranges)


def explain(last: str) -> str:
    """One line from the last that bubblewrap or the zygote said: what is wrong, how to mend it."""
    # Only root can keep students apart without namespaces.
    instead = " Or accept the level `uid`: --allow-weaker-sandbox." if os.geteuid() == 0 else ""
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
            return (
                f"User namespaces are switched off here: run `sudo sysctl -w {setting}`.{instead}"
            )
    # RTM_NEWADDR: a new network's loopback wants its own capability, whatever errno bwrap then shows.
    signs = ("amespace", "Operation not permitted", "uid map", "RTM_NEWADDR")
    if any(sign in last for sign in signs):
        return (
            f"This machine does not let the sandbox make namespaces ({last}): inside a container, "
            f"start that with `{CONTAINER_OPTIONS}`." + instead
        )
    return f"The sandbox did not start: {last}"
