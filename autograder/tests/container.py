"""A container as hosted graders give one: root with few capabilities, and no new namespaces.

Made by bubblewrap, with the network left open and a filter like Docker's, so that what keeps a
student's code in has to be the grader's own doing.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pyseccomp
import steerlab

TESTS = Path(__file__).resolve().parent
REPOSITORY = TESTS.parents[1]
#: What Docker leaves a container's root.
CAPABILITIES = (
    *("CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID"),
    *("SETFCAP", "SETPCAP", "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE"),
)
#: CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET,TIME}
NEW_NAMESPACES = [1 << bit for bit in range(32) if 0x7E020080 >> bit & 1]


def run_in_container(
    words: list[str],
    binds: dict[Path, str] | None = None,
    deny: tuple[str, ...] = (),
    capabilities: tuple[str, ...] = CAPABILITIES,
    timeout: float = 300,
    filtered: bool = True,
) -> subprocess.CompletedProcess[str]:
    """Run a command in the container; `binds` are folders of it, `deny` further system calls.

    `filtered=False` is Docker's `--security-opt seccomp=unconfined`.
    """
    with tempfile.TemporaryFile() as filter_file:
        rules = _filter(deny) if filtered else pyseccomp.SyscallFilter(defaction=pyseccomp.ALLOW)
        rules.export_bpf(filter_file)
        filter_file.seek(0)
        command = ["bwrap", "--unshare-pid", "--die-with-parent", "--new-session"]
        command += ["--seccomp", str(filter_file.fileno()), "--cap-drop", "ALL"]
        for name in capabilities:
            command += ["--cap-add", f"CAP_{name}"]
        command += _files(binds or {})
        return subprocess.run(
            [*command, *words],
            pass_fds=[filter_file.fileno()],
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd="/",
            check=False,
        )


def python_words(code: str) -> list[str]:
    """A command that runs Python code with this environment's packages and the tests' helpers."""
    return [sys.executable, "-B", "-c", f"import sys; sys.path.append({str(TESTS)!r})\n{code}"]


def _filter(deny: tuple[str, ...]) -> pyseccomp.SyscallFilter:
    rules = pyseccomp.SyscallFilter(defaction=pyseccomp.ALLOW)
    refuse = pyseccomp.ERRNO(errno.EPERM)
    for name in ("unshare", "setns", "mount", "umount2", "pivot_root", *deny):
        rules.add_rule(refuse, name)
    for flag in NEW_NAMESPACES:
        rules.add_rule(refuse, "clone", pyseccomp.Arg(0, pyseccomp.MASKED_EQ, flag, flag))
    rules.add_rule(pyseccomp.ERRNO(errno.ENOSYS), "clone3")
    return rules


def _files(binds: dict[Path, str]) -> list[str]:
    """The machine read-only, with what this environment needs passable for every user."""
    packages = [Path(str(steerlab.__file__)).parents[2], REPOSITORY]
    needed = {os.path.realpath(path) for path in (sys.prefix, sys.base_prefix, *packages)}
    closed = {"/tmp", *filter(None, map(_first_closed, needed))}
    words = ["--dev", "/dev", "--proc", "/proc"]
    for entry in sorted(os.scandir("/"), key=lambda entry: entry.name):
        if entry.is_symlink():
            words += ["--symlink", os.readlink(entry.path), entry.path]
        elif entry.is_dir() and entry.name not in ("dev", "proc", "tmp"):
            words += ["--ro-bind", entry.path, entry.path]
    made: set[str] = set()
    for folder in sorted(closed):
        words += ["--perms", "1777" if folder == "/tmp" else "0755", "--tmpfs", folder]
    for path in sorted(needed):
        covered = [folder for folder in closed if path.startswith(f"{folder}/")]
        for parent in reversed(Path(path).parents):
            if any(str(parent).startswith(f"{folder}/") for folder in covered) and (
                str(parent) not in made
            ):
                words += ["--perms", "0755", "--dir", str(parent)]
                made.add(str(parent))
        words += ["--ro-bind", path, path] if covered else []
    for outside, inside in binds.items():
        words += ["--bind", str(outside), inside]
    return words


def _first_closed(path: str) -> str:
    """The outermost folder above `path` that others may not pass."""
    above = reversed(Path(path).parents)
    return next((str(p) for p in above if not p.stat().st_mode & 0o001), "")
