"""The zygote: imports everything once, then forks one student kernel a request.

Runs from the package `confined`, the copy of the few modules that the inside needs, with these
arguments: "trial" or "serve:" and JSON of the model and the libraries to hold ready; the descriptor
of its control socket; and the kind of walls with its detail (`walls.py`). The first packet on that
socket is the system call filter, with the control groups to try. Every further one is a request,
one byte and one descriptor; the zygote never reads what a request says, so what it is made of stays
the same for every kernel.
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
from typing import Any

from . import walls as kinds
from .walls import Walls

PACKET_BYTES = 1 << 17
NO_FILTER = b"none"

WARM_MODULES = (
    "numpy",
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
    "stack_data",
    "pygments.formatters.terminal256",
)
WARM_FOR_A_MODEL = (
    "transformers",
    "transformer_lens",
    "safetensors.torch",
)
TORCH_ALONE = "torch"  # in the place of a model's name: the library, and no model
LEFT_COLD = (".cli", ".train", ".__main__")  # what notebooks do not import


def main() -> None:
    """Preload, say "ready" with what was loaded, then fork a monitor for each request until EOF."""
    started = time.monotonic()
    gc.disable()  # the search for garbage takes a tenth of the time of these imports
    (mode, _, held_ready), descriptor = sys.argv[1].partition(":"), int(sys.argv[2])
    master = socket.socket(fileno=descriptor)
    try:
        walls = kinds.from_arguments(sys.argv[3:])
        walls.settle()
        held = try_walls(master, walls)
        missing = preload(*json.loads(held_ready)) if mode == "serve" else []
    except BaseException:
        master.send(json.dumps({"error": traceback.format_exc()[-4000:]}).encode())
        os._exit(1)
    gc.enable()
    gc.collect()
    gc.freeze()  # pages that the collector never touches stay shared with every child
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # monitors reap themselves
    ready = {
        "ready": True,
        "threads": len(os.listdir("/proc/self/task")),
        "missing": missing,
        **held,
        "seconds": time.monotonic() - started,
    }
    master.send(json.dumps(ready).encode())
    while True:
        packet, descriptors, _, _ = socket.recv_fds(master, 1, 1)
        if not packet:
            os._exit(0)  # the grader is gone
        for received in descriptors:
            walls = walls.next()
            fork_monitor(master, received, walls)


def fork_monitor(master: socket.socket, descriptor: int, walls: Walls) -> None:
    """Fork the monitor of one kernel onto its control socket."""
    if os.fork() == 0:
        control = socket.socket(fileno=descriptor)
        try:
            from . import monitor

            master.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            monitor.supervise(control, walls)
        except BaseException:
            control.send(json.dumps({"error": traceback.format_exc()[-4000:]}).encode())
        finally:
            os._exit(1)
    os.close(descriptor)


def try_walls(master: socket.socket, walls: Walls) -> dict[str, Any]:
    """Build a kernel's walls once, so that a machine that refuses says so now; what of them holds."""
    packet, groups, _, _ = socket.recv_fds(master, PACKET_BYTES, 4)
    try:
        return walls.try_out(packet if packet != NO_FILTER else b"", groups)
    finally:
        for descriptor in groups:
            os.close(descriptor)


def preload(model: str, *libraries: str) -> list[str]:
    """Import what notebooks use and load the model, if any; returns what was not there.

    No thread may be running when the zygote forks: ZeroMQ makes no context here.
    """
    import importlib

    import matplotlib

    matplotlib.use("agg")
    missing = []
    of_models: tuple[str, ...] = ()
    if model:
        one_thread()
    if model not in ("", TORCH_ALONE):
        of_models = (*WARM_FOR_A_MODEL, *_steerlab_modules())
    for name in (*WARM_MODULES, *WARM_IF_THERE, *of_models, *libraries):
        try:
            importlib.import_module(name)
        except ImportError as error:
            if name not in WARM_IF_THERE and type(error).__name__ != "WithheldModule":
                raise
            missing.append(name)
    if of_models:
        _preload_model(model)
    from . import kernel, monitor  # noqa: F401  (imported for the children)

    _warm_up()

    return missing


def one_thread() -> None:
    """Import torch, and give it one thread before its first operation: a fork copies no other."""
    import torch

    torch.set_num_threads(1)
    torch.set_num_interop_threads(1)


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


def _preload_model(name: str) -> None:
    """Load a model twice: one for the notebook, one that only the probe hands out."""
    from steerlab.models import load_model, preload

    from ..probe import agent

    agent.prepare({"model": load_model(name)})
    preload(name)


if __name__ == "__main__":
    main()
