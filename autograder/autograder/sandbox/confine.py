"""Namespaces, mounts, limits and privileges of one student kernel, in the words of Linux itself.

Runs inside the sandbox, in the forked child: the standard library only. Each function is one step;
`monitor.py` and `kernel.py` call them in the order in which Linux allows them.
"""

from __future__ import annotations

import ctypes
import os
import resource
import socket

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
KERNEL_NAMESPACES = CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS

MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND = 2, 4, 8, 4096
MS_REC, MS_PRIVATE = 16384, 1 << 18

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP = 1, 4, 22
PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 24, 38, 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
SECCOMP_MODE_FILTER = 2
LINUX_CAPABILITY_VERSION_3 = 0x20080522

STUDENT_UID = 1000  # the student's number inside the kernel's own user namespace
PRIVATE = "/student"  # the one folder that a kernel may write to, whatever else is shown
HOME = f"{PRIVATE}/home"
SCRATCH = f"{PRIVATE}/tmp"

libc = ctypes.CDLL(None, use_errno=True)
libc.mount.argtypes = [
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_ulong,
    ctypes.c_char_p,
]
libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4


class _CapabilityHeader(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _CapabilitySet(ctypes.Structure):
    _fields_ = [
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    ]


class _FilterProgram(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]


def _check(result: int, what: str) -> None:
    if result != 0:
        errno = ctypes.get_errno()
        raise OSError(errno, f"{what}: {os.strerror(errno)}")


def prctl(option: int, *arguments: int) -> None:
    """Call prctl(2); raises OSError."""
    padded = list(arguments) + [0] * (4 - len(arguments))
    _check(libc.prctl(option, *padded), f"prctl {option}")


def unshare(flags: int) -> None:
    """Leave the given namespaces for new ones; raises OSError."""
    _check(libc.unshare(flags), f"unshare {flags:#x}")


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str = "") -> None:
    """Call mount(2); raises OSError naming the target."""
    _check(
        libc.mount(
            source.encode() if source else None,
            target.encode(),
            kind.encode() if kind else None,
            flags,
            data.encode() or None,
        ),
        f"mount {target}",
    )


def die_with_parent() -> None:
    """Ask Linux for SIGKILL when the parent dies, so that no process outlives its grader."""
    prctl(PR_SET_PDEATHSIG, 9)


def enter_user_namespace() -> None:
    """Become an ordinary user of a new user namespace that maps this one user and nobody else."""
    uid, gid = os.getuid(), os.getgid()
    prctl(PR_SET_DUMPABLE, 1)  # else /proc/self belongs to root and the maps cannot be written
    unshare(CLONE_NEWUSER)
    for name, line in (
        ("setgroups", "deny"),
        ("uid_map", f"{STUDENT_UID} {uid} 1"),
        ("gid_map", f"{STUDENT_UID} {gid} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as handle:
            handle.write(line)


def private_filesystem(disk_bytes: int) -> None:
    """Give the kernel its own /proc, /dev/pts, and ONE tmpfs behind its home, /tmp and /dev/shm.

    Where the environment itself lies below /tmp, that stays as it is shown, read-only.

    Everything else stays read-only as bubblewrap mounted it, and is locked: the mounts were made in
    a user namespace above this one.
    """
    unshare(CLONE_NEWNS)
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    size = f"size={disk_bytes},nr_inodes=20000,mode=755"
    mount("tmpfs", PRIVATE, "tmpfs", MS_NOSUID | MS_NODEV, size)
    for folder in (HOME, f"{HOME}/work", SCRATCH, f"{PRIVATE}/shm"):
        os.mkdir(folder, 0o700)
    if not os.listdir("/tmp"):
        mount(SCRATCH, "/tmp", None, MS_BIND)
    mount(f"{PRIVATE}/shm", "/dev/shm", None, MS_BIND)
    # Terminals of its own: those of another kernel would belong to the same user.
    mount("devpts", "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666")
    os.chdir(f"{HOME}/work")
    socket.sethostname("sandbox")


def limit_resources(limits: dict[str, int]) -> None:
    """Set the resource limits of the process; children inherit them and none can raise them."""

    def hard(which: int, value: int) -> None:
        resource.setrlimit(which, (value, value))

    hard(resource.RLIMIT_CORE, 0)
    hard(resource.RLIMIT_DATA, limits["memory_bytes"])
    hard(resource.RLIMIT_NPROC, limits["processes"])
    hard(resource.RLIMIT_FSIZE, limits["disk_bytes"])
    hard(resource.RLIMIT_NOFILE, limits["open_files"])
    hard(resource.RLIMIT_MEMLOCK, 0)
    hard(resource.RLIMIT_MSGQUEUE, 0)
    hard(resource.RLIMIT_CPU, limits["cpu_seconds"])
    with open("/proc/self/oom_score_adj", "w") as handle:
        handle.write("1000")  # when the machine runs out of memory, this process goes first


def shrink_bounding_set() -> None:
    """Empty the set of capabilities that any later program could gain, as far as one may."""
    for capability in range(64):
        if libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:
            break


def drop_capabilities() -> None:
    """Give up every capability for good: bounding, ambient and own sets, and no new privileges.

    Who lacks the right to shrink the bounding set has nothing to gain from it either.
    """
    shrink_bounding_set()
    libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    header = _CapabilityHeader(LINUX_CAPABILITY_VERSION_3, 0)
    nothing = (_CapabilitySet * 2)()
    _check(libc.capset(ctypes.byref(header), ctypes.byref(nothing)), "capset")
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def no_privileges() -> bool:
    """Whether this process has no capability and can gain none, as Linux itself tells it."""
    with open("/proc/self/status") as handle:
        status = {name: value.strip() for name, _, value in (x.partition(":") for x in handle)}
    held = [int(status[name], 16) for name in ("CapPrm", "CapEff", "CapInh", "CapAmb")]
    return not any(held) and status["NoNewPrivs"] == "1"


def load_seccomp(program: bytes) -> None:
    """Load a compiled seccomp filter (`seccomp.py` makes it); an empty program loads nothing."""
    if not program:
        return
    buffer = ctypes.create_string_buffer(program, len(program))
    code = _FilterProgram(len(program) // 8, ctypes.cast(buffer, ctypes.c_void_p))
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(code))


def close_descriptors(keep: set[int]) -> None:
    """Close every descriptor from 3 up but those named."""
    for name in os.listdir("/proc/self/fd"):
        descriptor = int(name)
        if descriptor > 2 and descriptor not in keep:
            try:
                os.close(descriptor)
            except OSError:
                continue  # the descriptor of this very listing


def become_unprivileged(uid: int) -> None:
    """From root to the ordinary user `uid`: RLIMIT_NPROC and file modes do not bind root.

    Mounts /proc first: bubblewrap's own, made as root, has parts covered, and Linux refuses a new
    /proc in a child namespace whose parent's is covered.
    """
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    drop_capabilities()
    prctl(PR_SET_DUMPABLE, 1)
    die_with_parent()  # the change of user cleared it
