"""The zygote: imports everything once, then forks one student kernel a request.

Runs inside bubblewrap from the package `confined`, the copy of the few modules that the inside
needs, with three arguments: "serve" or "trial", the descriptor of its control socket, and the user
to become. A request is one byte and one descriptor on that socket; the zygote never reads what the
request says, so what it is made of stays the same for every kernel.
"""

from __future__ import annotations

import gc
import inspect
import json
import os
import signal
import socket
import sys
import time
import traceback

from . import confine

WARM_MODULES = (
    "numpy",
    "transformers",
    "transformer_lens",
    "safetensors.torch",
    "zmq",
    "ipykernel.kernelapp",
    "ipykernel.ipkernel",
    "ipykernel.debugger",
    "IPython",
    "matplotlib.pyplot",
    "matplotlib_inline.backend_inline",
)
WARM_IF_THERE = (
    "ipywidgets",
    "sklearn.linear_model",
    "stack_data",
    "pygments.formatters.terminal256",
)
LEFT_COLD = (".cli", ".train", ".__main__")  # what notebooks do not import


def main() -> None:
    """Preload, say "ready" with what was loaded, then fork a monitor for each request until EOF."""
    started = time.monotonic()
    confine.die_with_parent()
    mode, descriptor, uid = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    master = socket.socket(fileno=descriptor)
    try:
        if uid:
            confine.become_unprivileged(uid)
        try_confinement()
        missing = preload() if mode == "serve" else []
    except BaseException:
        master.send(json.dumps({"error": traceback.format_exc()[-4000:]}).encode())
        os._exit(1)
    gc.collect()
    gc.freeze()  # pages that the collector never touches stay shared with every child
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # monitors reap themselves
    ready = {
        "ready": True,
        "threads": len(os.listdir("/proc/self/task")),
        "missing": missing,
        "seconds": time.monotonic() - started,
    }
    master.send(json.dumps(ready).encode())
    while True:
        packet, descriptors, _, _ = socket.recv_fds(master, 1, 1)
        if not packet:
            os._exit(0)  # the grader is gone
        for received in descriptors:
            fork_monitor(master, received)


def fork_monitor(master: socket.socket, descriptor: int) -> None:
    """Fork the monitor of one kernel onto its control socket."""
    if os.fork() == 0:
        control = socket.socket(fileno=descriptor)
        try:
            from . import monitor

            master.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            monitor.supervise(control)
        except BaseException:
            control.send(json.dumps({"error": traceback.format_exc()[-4000:]}).encode())
        finally:
            os._exit(1)
    os.close(descriptor)


def try_confinement() -> None:
    """Go through a kernel's namespaces and mounts once, so that a machine without them says so now."""
    told, tell = os.pipe()
    if os.fork() == 0:
        try:
            confine.enter_user_namespace()
            confine.unshare(confine.KERNEL_NAMESPACES)
            if (inner := os.fork()) == 0:
                confine.private_filesystem(1 << 20)
                os._exit(0)
            os._exit(os.waitstatus_to_exitcode(os.waitpid(inner, 0)[1]))
        except OSError as error:
            os.write(tell, str(error).encode())
            os._exit(1)
    os.close(tell)
    with os.fdopen(told, "rb") as pipe:
        said = pipe.read().decode()
    if os.waitstatus_to_exitcode(os.wait()[1]) != 0:
        raise PermissionError(said or "a private file system cannot be mounted")


def preload() -> list[str]:
    """Import what notebooks use and load the embedded model; returns what was not there.

    No thread may be running when the zygote forks: torch gets one thread before its first
    operation, and ZeroMQ makes no context here.
    """
    import importlib

    import torch

    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)
    import matplotlib

    matplotlib.use("agg")
    missing = []
    for name in (*WARM_MODULES, *WARM_IF_THERE, *_steerlab_modules()):
        try:
            importlib.import_module(name)
        except ImportError:
            if name not in WARM_IF_THERE:
                raise
            missing.append(name)
    _preload_model()
    from . import kernel, monitor  # noqa: F401  (imported for the children)

    _warm_up()

    return missing


def _steerlab_modules() -> list[str]:
    import pkgutil

    import steerlab

    found = pkgutil.walk_packages(steerlab.__path__, "steerlab.")
    return [module.name for module in found if not module.name.endswith(LEFT_COLD)]


def _warm_up() -> None:
    """Do once what every kernel would do first: show a traceback, ask which plot backends exist."""
    from IPython.core.ultratb import VerboseTB
    from matplotlib.backends import backend_registry

    backend_registry.list_all()
    try:
        raise ValueError("shown to nobody")
    except ValueError:
        VerboseTB().text(*sys.exc_info())
    # A traceback looks up the module of a cell's file, which has none: that asks for the file of
    # every module, once.
    inspect.getmodule(compile("", "a cell", "exec"))


def _preload_model() -> None:
    """Load the embedded model twice: one for the notebook, one that only the probe hands out."""
    from steerlab.models import load_model, preload

    from ..probe import agent

    agent.prepare({"model": load_model("tiny")})
    preload("tiny")


if __name__ == "__main__":
    main()
