"""Landlock, Linux's file rules for processes without privileges, by its three system calls.

Runs inside the sandbox, in the forked child: the standard library only. What no rule names cannot be
opened; TCP, signals and abstract sockets beyond the process's own are refused where the kernel knows
how (ABI 4 and 6). See Documentation/userspace-api/landlock.rst of Linux.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterable

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # the same on every architecture
PATH_BENEATH = 1
ASK_VERSION = 1

EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1, 2, 4, 8
REFER, TRUNCATE, IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
FIRST_RIGHTS = (1 << 13) - 1
ON_FILES = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV  # the others are of folders
TCP = 3  # bind, connect
SCOPES = 3  # abstract sockets, signals

READ = EXECUTE | READ_FILE | READ_DIR
DEVICE = WRITE_FILE | READ_FILE | READ_DIR | IOCTL_DEV

libc = ctypes.CDLL(None, use_errno=True)


class _Ruleset(ctypes.Structure):
    _fields_ = [
        ("files", ctypes.c_uint64),
        ("network", ctypes.c_uint64),
        ("scoped", ctypes.c_uint64),
    ]


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("allowed", ctypes.c_uint64), ("folder", ctypes.c_int32)]


def abi() -> int:
    """The version of Landlock in this kernel; 0 where there is none or it is switched off."""
    version = libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), ASK_VERSION)
    return max(0, int(version))


def rights(version: int) -> int:
    """All rights over files that this version can take away."""
    known = FIRST_RIGHTS
    for since, right in ((2, REFER), (3, TRUNCATE), (5, IOCTL_DEV)):
        known |= right if version >= since else 0
    return known


def restrict(
    readable: Iterable[str], listed: Iterable[str], devices: Iterable[str], writable: Iterable[str]
) -> None:
    """Restrict this process and its children for good; raises OSError.

    readable: read, list and execute; listed: list alone; devices: read and write; writable: all.
    What is not there is passed over. Needs "no new privileges".
    """
    version = abi()
    if not version:
        raise OSError(errno.EOPNOTSUPP, "this kernel has no Landlock")
    every = rights(version)
    wanted = _Ruleset(every, TCP if version >= 4 else 0, SCOPES if version >= 6 else 0)
    # Older kernels know a shorter structure, and refuse a longer one unless its rest is zero.
    size = ctypes.c_size_t(ctypes.sizeof(wanted))
    ruleset = _checked(libc.syscall(CREATE_RULESET, ctypes.byref(wanted), size, 0))
    for paths, allowed in ((readable, READ), (listed, READ_DIR), (devices, DEVICE)):
        for path in paths:
            _allow(ruleset, path, allowed & every)
    for path in writable:
        _allow(ruleset, path, every)
    _checked(libc.syscall(RESTRICT_SELF, ruleset, 0))
    os.close(ruleset)


def _allow(ruleset: int, path: str, allowed: int) -> None:
    try:
        folder = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    if not stat.S_ISDIR(os.fstat(folder).st_mode):
        allowed &= ON_FILES
    rule = _Beneath(allowed, folder)
    try:
        if allowed:
            _checked(libc.syscall(ADD_RULE, ruleset, PATH_BENEATH, ctypes.byref(rule), 0))
    finally:
        os.close(folder)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"Landlock: {os.strerror(number)}")
    return result
