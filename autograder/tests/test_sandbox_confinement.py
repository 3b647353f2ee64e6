"""What student code can see and reach, tried from real kernels in a real sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import autograder.sandbox
import pytest
from autograder.sandbox import Sandbox

REFUSED = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
calls = {
    "mount": (165, b"none", b"/tmp", b"tmpfs", 0, 0), "umount2": (166, b"/tmp", 2),
    "ptrace": (101, 0, 0, 0, 0), "unshare": (272, 0x10000000), "setns": (308, 0, 0),
    "clone with namespaces": (56, 0x10000000 | 17, 0, 0, 0, 0),
    "bpf": (321, 0, 0, 0), "keyctl": (250, 0, 0), "add_key": (248, b"user", b"a", b"b", 1, -2),
    "userfaultfd": (323, 0), "io_uring_setup": (425, 1, 0), "perf_event_open": (298, 0, 0, -1, -1, 0),
    "process_vm_readv": (310, 1, 0, 0, 0, 0, 0), "memfd_create": (319, b"a", 0),
    "shmget": (29, 0, 4096, 0o1600), "pivot_root": (155, b"/", b"/"), "chroot": (161, b"/"),
    "open_by_handle_at": (304, 0, 0, 0), "kexec_load": (246, 0, 0, 0, 0),
    "prctl not dumpable": (157, 4, 0, 0, 0, 0),
    "shared anonymous mmap": (9, 0, 4096, 3, 0x21, -1, 0),
}
for name, call in calls.items():
    ctypes.set_errno(0)
    result = libc.syscall(*call)
    if result != -1 or ctypes.get_errno() != 1:
        print(name, result, ctypes.get_errno())
print(libc.syscall(435, 0, 0), ctypes.get_errno())
"""


@pytest.fixture(scope="module")
def shared(sandbox: Sandbox) -> Iterator:
    """One kernel for all tests of this file that only look."""
    from kernel_notebook import Notebook

    running = Notebook(sandbox)
    yield running
    running.close()


def test_nothing_of_the_course_is_visible(shared):
    repository = Path(autograder.sandbox.__file__).resolve().parents[3]
    seen = shared.run(f"""
import os
for name in ("autograder/autograder", "autograder/hidden_tests", "solutions", "course.toml", "lib"):
    print(os.path.exists(os.path.join({str(repository)!r}, name)))
""")
    assert seen.text.split() == ["False"] * 5
    assert shared.run("import autograder").error == "ModuleNotFoundError"


def test_the_only_steerlab_on_the_file_system_is_the_cut_copy(shared):
    seen = shared.run("""
import subprocess
looked_for = "( -iname *steerlab* -o -iname *autograder* ) -not -name *.png ( -type d -o -size +0 )"
skipped = "( -path /proc -o -path /lab ) -prune -o"
found = subprocess.run(["find", "/", *skipped.split(), *looked_for.split(), "-print"],
                       capture_output=True, text=True).stdout.split()
import os
print(*[path for path in found if not os.path.isdir(path) or os.listdir(path)])
print(len(found))
""")
    named, masked = seen.text.split("\n")[:2]
    assert named == ""
    assert int(masked) >= 0


def test_the_environment_says_nothing_about_the_grader(shared):
    names = set(shared.run("import os; print(*os.environ)").text.split())
    assert names <= {
        *("PATH", "HOME", "TMPDIR", "USER", "LANG", "SHELL", "PWD", "IPYTHONDIR", "MPLCONFIGDIR"),
        *("PYTHONHASHSEED", "PYTHONDONTWRITEBYTECODE", "OMP_NUM_THREADS", "MKL_NUM_THREADS"),
        *("OPENBLAS_NUM_THREADS", "OMP_WAIT_POLICY", "TOKENIZERS_PARALLELISM", "HF_HUB_OFFLINE"),
        *("TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE", "TQDM_DISABLE", "STEERLAB_ONLY_MODEL"),
        *("ARROW_DEFAULT_MEMORY_POOL", "JE_ARROW_MALLOC_CONF", "NBGRADER_EXECUTION", "MPLBACKEND"),
        *("JPY_PARENT_PID", "TERM", "CLICOLOR", "FORCE_COLOR", "CLICOLOR_FORCE", "PAGER"),
        *("GIT_PAGER", "PYDEVD_USE_FRAME_EVAL", "KMP_DUPLICATE_LIB_OK", "KMP_INIT_AT_FORK"),
        *("TORCHINDUCTOR_CACHE_DIR", "LOKY_MAX_CPU_COUNT"),
    }


def test_only_the_private_disk_can_be_written(shared):
    seen = shared.run("""
import os
for folder, folders, files in os.walk("/"):
    folders[:] = [name for name in folders if folder != "/" or name not in ("proc", "student", "tmp")]
    if folder.count("/") > 4 or folder == "/dev/shm":
        folders[:] = []
        continue
    try:
        open(os.path.join(folder, "written"), "w")
        print(folder)
    except OSError:
        pass
for path in ("/etc/passwd", "/lab/steerlab/__init__.py", os.__file__):
    try:
        open(path, "a")
        print(path)
    except OSError:
        pass
for path in (os.environ["TMPDIR"] + "/a", "/dev/shm/a", "a"):
    open(path, "w").write("x")
""")
    assert (seen.text, seen.error) == ("", "")


def test_there_is_no_network(shared):
    seen = shared.run("""
import socket
for family, address in ((socket.AF_INET, ("1.1.1.1", 53)), (socket.AF_INET, ("127.0.0.1", 22)),
                        (socket.AF_INET6, ("2606:4700:4700::1111", 53))):
    try:
        socket.socket(family).connect(address)
        print("connected", address)
    except OSError:
        pass
for family in (socket.AF_NETLINK, socket.AF_PACKET, socket.AF_VSOCK, 38):
    try:
        socket.socket(family, socket.SOCK_RAW)
        print("made", family)
    except OSError:
        pass
print(open("/proc/net/unix").read().count("@"))
""")
    assert seen.text.strip() == "0"


def test_no_descriptor_leads_out(shared):
    seen = shared.run("""
import os
for name in os.listdir("/proc/self/fd"):
    try:
        target = os.readlink(f"/proc/self/fd/{name}")
    except OSError:
        continue
    known = ("socket:", "pipe:", "anon_inode:", "/dev/null", "/proc/", "/tmp/", "/student/tmp/")
    if not target.startswith(known):
        print(name, target)
""")
    assert seen.text == ""


def test_other_processes_cannot_be_seen(shared):
    seen = shared.run(
        "import os; print([n for n in os.listdir('/proc') if n.isdigit()], os.getpid())"
    )
    assert seen.text.strip() == "['1'] 1"


def test_no_privilege_is_left_and_none_can_be_gained(shared):
    seen = shared.run("print(open('/proc/self/status').read())").text
    status = dict(line.split(":\t", 1) for line in seen.strip().splitlines() if ":\t" in line)
    assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {
        "0" * 16
    }
    assert status["NoNewPrivs"] == "1"
    assert status["Seccomp"] == "2"
    assert status["Uid"].split()[0] == "1000"


def test_dangerous_system_calls_are_refused(shared):
    seen = shared.run(REFUSED)
    assert seen.text.strip() == "-1 38"


def test_resource_limits_cannot_be_raised(shared):
    seen = shared.run("""
import resource
for name in ("CORE", "DATA", "NPROC", "FSIZE", "NOFILE", "CPU", "MEMLOCK"):
    which = getattr(resource, "RLIMIT_" + name)
    soft, hard = resource.getrlimit(which)
    try:
        resource.setrlimit(which, (hard + 1, hard + 1))
        print(name)
    except (ValueError, OSError):
        pass
""")
    assert (seen.text, seen.error) == ("", "")


def test_the_isolation_in_force_is_named(sandbox):
    assert sandbox.isolation.level == "full"
    assert set(sandbox.isolation.layers().values()) == {True}


def test_the_zygote_forks_with_a_single_thread(sandbox):
    assert sandbox.report["threads"] == 1
    assert sandbox.report["missing"] == []


def test_programs_that_a_notebook_calls_still_run(shared):
    assert shared.run("!echo hello && python -c 'print(1 + 1)'").text.split() == ["hello", "2"]


def test_plots_are_shown_and_the_model_loads_offline(shared):
    seen = shared.run("""
import matplotlib.pyplot as plt
from steerlab.models import load_model
model = load_model("gpt2")
plt.plot([1, 2]); plt.show()
print(model.cfg.d_model > 0)
""")
    assert "True" in seen.text
    assert any("image/png" in output.get("data", {}) for output in seen.outputs)
