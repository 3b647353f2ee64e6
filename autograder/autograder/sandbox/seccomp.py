"""Which system calls a student's kernel may not make, compiled by libseccomp.

Namespaces already keep the student's process from everything that matters; this takes away the calls
by which namespaces, and the kernel under them, have been attacked, and the few ways to hold memory
that no per-process limit sees. Compiled once in the trusted process; the child only loads the bytes.
"""

from __future__ import annotations

import errno
import functools
import os
import socket
import tempfile

DENIED = [
    "mount",
    "umount2",
    "pivot_root",
    "chroot",
    "move_mount",
    "open_tree",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "mount_setattr",
    "unshare",
    "setns",
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "process_madvise",
    "process_mrelease",
    "kcmp",
    "pidfd_getfd",
    "bpf",
    "perf_event_open",
    "userfaultfd",
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    "keyctl",
    "add_key",
    "request_key",
    "kexec_load",
    "kexec_file_load",
    "init_module",
    "finit_module",
    "delete_module",
    "reboot",
    "swapon",
    "swapoff",
    "acct",
    "quotactl",
    "quotactl_fd",
    "syslog",
    "personality",
    "settimeofday",
    "clock_settime",
    "clock_adjtime",
    "adjtimex",
    "name_to_handle_at",
    "open_by_handle_at",
    "fanotify_init",
    "vhangup",
    "iopl",
    "ioperm",
    "modify_ldt",
    "landlock_create_ruleset",
    "lookup_dcookie",
    "mbind",
    "migrate_pages",
    "move_pages",
    "set_mempolicy",
    "memfd_create",
    "memfd_secret",
    "shmget",
    "shmat",
    "shmctl",
    "semget",
    "msgget",
    "mq_open",
]

#: Without one of these denied the filter would not be one: they exist wherever we run.
ESSENTIAL = frozenset(
    {"mount", "ptrace", "bpf", "keyctl", "perf_event_open", "userfaultfd", "unshare", "setns"}
    | {"clone", "clone3", "io_uring_setup", "socket", "connect", "bind", "sendto", "socketpair"}
)

NAMESPACE_FLAGS = 0x7E020080  # CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET,TIME}
SHARED_ANONYMOUS = (
    0x21  # MAP_SHARED | MAP_ANONYMOUS: memory that no limit counts once it is unmapped
)
FAMILIES = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6)  # no netlink, packet, vsock, alg
PR_SET_DUMPABLE = 4  # a process that is not dumpable hides its memory use from the monitor


class SeccompUnavailable(RuntimeError):
    """libseccomp or its Python binding is missing; the message says how to get it."""


@functools.cache
def compiled_filter(sockets: bool = True) -> bytes:
    """The filter as BPF instructions for this machine; raises SeccompUnavailable.

    Without `sockets`, for kernels that share the machine's network: none can be made, bound or
    connected, and those handed over lead only where they led.
    """
    try:
        import pyseccomp
    except (ImportError, RuntimeError, OSError) as error:
        raise SeccompUnavailable(
            "The seccomp filter cannot be made: run `apt-get install libseccomp2` and "
            "`pip install pyseccomp`."
        ) from error
    refuse = pyseccomp.ERRNO(errno.EPERM)
    rules = pyseccomp.SyscallFilter(defaction=pyseccomp.ALLOW)
    # Calls by another architecture's numbers (i386, x32) would not be what the rules say.
    rules.set_attr(pyseccomp.Attr.ACT_BADARCH, pyseccomp.KILL_PROCESS)
    for name in DENIED:
        _deny(rules, refuse, name)
    for bit in range(32):
        if NAMESPACE_FLAGS >> bit & 1:
            flag = 1 << bit
            _deny(rules, refuse, "clone", pyseccomp.Arg(0, pyseccomp.MASKED_EQ, flag, flag))
    # The flags of clone3 lie behind a pointer that no filter may follow; glibc falls back to clone.
    _deny(rules, pyseccomp.ERRNO(errno.ENOSYS), "clone3")
    shared = SHARED_ANONYMOUS
    _deny(rules, refuse, "mmap", pyseccomp.Arg(3, pyseccomp.MASKED_EQ, shared, shared))
    _deny(rules, refuse, "prctl", pyseccomp.Arg(0, pyseccomp.EQ, PR_SET_DUMPABLE))
    # ZeroMQ asks netlink for interfaces, and takes this error, unlike others, for "there are none".
    none = pyseccomp.ERRNO(errno.EOPNOTSUPP)
    if not sockets:
        _deny_sockets(rules, none)
        return _exported(rules)
    for family in range(max(FAMILIES)):
        if family not in FAMILIES:
            _deny(rules, none, "socket", pyseccomp.Arg(0, pyseccomp.EQ, family))
    _deny(rules, none, "socket", pyseccomp.Arg(0, pyseccomp.GT, max(FAMILIES)))
    return _exported(rules)


def _deny_sockets(rules: object, none: int) -> None:
    """No new socket but connected pairs, and no address but the one that a socket has."""
    import pyseccomp

    unreachable = pyseccomp.ERRNO(errno.ENETUNREACH)
    for name in ("connect", "bind"):
        _deny(rules, unreachable, name)
    _deny(rules, none, "socket", pyseccomp.Arg(0, pyseccomp.EQ, socket.AF_NETLINK))
    _deny(rules, unreachable, "socket", pyseccomp.Arg(0, pyseccomp.NE, socket.AF_NETLINK))
    _deny(rules, unreachable, "sendto", pyseccomp.Arg(4, pyseccomp.NE, 0))
    # The address of sendmsg lies behind a pointer; only datagram sockets would heed it.
    for kind in (socket.SOCK_DGRAM, socket.SOCK_RAW):
        _deny(rules, unreachable, "socketpair", pyseccomp.Arg(1, pyseccomp.MASKED_EQ, 0xF, kind))


def _deny(rules: object, action: int, name: str, *arguments: object) -> None:
    import pyseccomp

    try:
        number = pyseccomp.resolve_syscall(pyseccomp.Arch.NATIVE, name)
    except (ValueError, RuntimeError) as error:
        if name in ESSENTIAL:
            raise SeccompUnavailable(
                f"libseccomp is too old to deny {name}: run `apt-get install libseccomp2` for 2.5 "
                "or newer."
            ) from error
        return  # this machine's architecture or libseccomp has no such call
    rules.add_rule(action, number, *arguments)  # type: ignore[attr-defined]


def _exported(rules: object) -> bytes:
    with tempfile.TemporaryFile() as file:
        rules.export_bpf(file)  # type: ignore[attr-defined]
        file.flush()
        os.lseek(file.fileno(), 0, os.SEEK_SET)
        return os.read(file.fileno(), 1 << 20)
