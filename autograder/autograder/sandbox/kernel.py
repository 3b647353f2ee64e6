"""The student's kernel: the forked child walls itself in, then becomes an ordinary ipykernel.

When it ends, everything that it started ends too (`walls.py`). Its five ZeroMQ sockets and the probe's data
socket were made by the grader and handed over as descriptors, so it needs no shared folder.
"""

from __future__ import annotations

import gc
import json
import os
import random
import signal
import socket
import sys
import traceback
import types
from typing import Any, NoReturn

from . import colab, confine
from .walls import Walls, join_groups

NICENESS = 5  # whatever runs in there, the monitor and the grader come first
CHANNELS = ("shell", "iopub", "stdin", "hb", "control")


def run(request: dict[str, Any], descriptors: list[int], told: int, walls: Walls) -> NoReturn:
    """Confine this process, tell the monitor that it holds, and serve the kernel; never returns.

    `descriptors` are the listening sockets in the order of `CHANNELS`, the data socket, and then
    those of control groups to enter. What goes wrong before the kernel stands is written to `told`,
    which the monitor reads.
    """
    from ..probe import agent

    try:
        *listeners, data = descriptors[: len(CHANNELS) + 1]
        join_groups(descriptors[len(CHANNELS) + 1 :])
        _confine(request, {*listeners, data, told}, walls)
        by_channel = dict(zip(CHANNELS, listeners, strict=True))
        app = _make_app(request["connection"], by_channel, walls.scratch)
        agent.attach(data)
    except BaseException:
        os.write(told, traceback.format_exc()[-4000:].encode())
        os._exit(1)
    os.close(told)
    try:
        app.start()
    finally:
        os._exit(0)  # no exit handlers: they are the student's by now


def environment(walls: Walls) -> dict[str, str]:
    """The variables that a kernel has beside those of the zygote."""
    return {
        "HOME": walls.home,
        "TMPDIR": walls.scratch,
        "USER": "student",
        "LANG": "C.UTF-8",
        "SHELL": "/bin/sh",
        "IPYTHONDIR": f"{walls.home}/.ipython",
        "MPLCONFIGDIR": f"{walls.home}/.config/matplotlib",
        "NBGRADER_EXECUTION": "autograde",
    }


def _confine(request: dict[str, Any], keep: set[int], walls: Walls) -> None:
    limits = request["limits"]
    os.setsid()
    os.nice(NICENESS)
    walls.enter(limits)
    confine.limit_resources(limits)
    _silence_standard_streams()
    confine.close_descriptors(keep)
    os.environ.update(environment(walls))
    _fresh_interpreter(limits["threads"])
    walls.drop()
    os.makedirs(os.environ["MPLCONFIGDIR"])  # by the kernel's own user
    confine.load_seccomp(bytes.fromhex(request["seccomp"]))


def _silence_standard_streams() -> None:
    """Point descriptors 0 to 2 away from the zygote's log, which is a file of the grader's."""
    nowhere = os.open("/dev/null", os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nowhere, descriptor)


def _fresh_interpreter(threads: int) -> None:
    """Undo what the fork left behind: streams, handlers, seeds, `__main__`, the garbage collector.

    The seeds make a run with the same notebook give the same numbers every time.
    """
    import numpy

    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    random.seed(0)
    numpy.random.seed(0)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)
        if threads > 1:
            torch.set_num_threads(threads)
    sys.argv = ["kernel"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    gc.enable()


def _make_app(connection: dict[str, Any], listeners: dict[str, int], scratch: str) -> Any:
    """An initialised IPKernelApp on sockets that are listening already (ZMQ_USE_FD)."""
    import ipykernel.heartbeat
    import zmq
    from ipykernel.kernelapp import IPKernelApp

    by_port = {connection[f"{name}_port"]: name for name in CHANNELS}

    class SandboxedKernelApp(IPKernelApp):
        def _try_bind_socket(self, s: Any, port: int) -> int:
            name = by_port[port]
            s.setsockopt(zmq.USE_FD, listeners[name])
            s.bind(f"ipc://{self.ip}-{port}")
            return port

    def bind_heartbeat(beat: Any) -> None:
        # The heartbeat has a context of its own and binds in its own thread.
        beat.socket.setsockopt(zmq.USE_FD, listeners["hb"])
        beat.socket.bind(f"ipc://{beat.ip}-{beat.port}")

    setattr(ipykernel.heartbeat.Heartbeat, "_try_bind_socket", bind_heartbeat)  # noqa: B010
    for descriptor in listeners.values():
        socket.socket(fileno=os.dup(descriptor)).setblocking(False)
    path = f"{scratch}/connection.json"
    with open(path, "w") as handle:
        json.dump(connection, handle)
    app = SandboxedKernelApp.instance(connection_file=path, log_level=50)
    app.initialize(["--HistoryManager.enabled=False"])
    if app.shell is not None:
        app.shell.enable_matplotlib("inline")
        colab.install(app.shell)
    return app
