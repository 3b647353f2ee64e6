"""To jupyter_client a sandboxed kernel is a kernel like any other: its provisioner and manager.

The grader makes the five listening sockets and the data socket itself and hands them over as
descriptors, so that no folder is shared with the student's process.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import socket
import time
from pathlib import Path
from queue import Empty
from typing import Any

import zmq
import zmq.asyncio
from jupyter_client.asynchronous import AsyncKernelClient
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from jupyter_client.provisioning import KernelProvisionerBase
from traitlets import Any as AnyTrait
from traitlets import Integer

from .control import ExitInfo, KernelControl, Usage
from .gate import Gate, listener
from .kernel import CHANNELS
from .pool import KernelSource, Limits, Sandbox

MAX_MESSAGE_BYTES = 32 << 20


class SandboxProvisioner(KernelProvisionerBase):
    """Starts kernels in a running `Sandbox`: the one it is given, else this process's current one.

    limits: `Limits` of its kernels, if other than the sandbox's.
    data_socket: the grader's end of the probe's stream, while a kernel runs.
    control: measures and kills the kernel, from any thread.
    exit_info: how the last kernel ended, once it has.
    flooded: whether it was killed because it had sent more than any kernel may.
    """

    sandbox = AnyTrait(None, allow_none=True)
    limits = AnyTrait(None, allow_none=True)
    control: KernelControl | None = None
    data_socket: socket.socket | None = None
    exit_info: ExitInfo | None = None
    flooded = False
    _folder: Path | None = None
    _gate: Gate | None = None

    @property
    def has_process(self) -> bool:
        return self.control is not None

    async def pre_launch(self, **kwargs: Any) -> dict[str, Any]:
        """Choose the sockets' paths; the five channels are ports 1 to 5 of one ipc address."""
        if self.sandbox is None:
            self.sandbox = Sandbox.current()
        self._folder = self._folder or self.sandbox.kernel_folder()
        manager: Any = self.parent
        manager.transport = "ipc"
        manager.ip = str(self._folder / "s")
        manager.cache_ports = False
        for port, channel in enumerate(CHANNELS, start=1):
            setattr(manager, f"{channel}_port", port)
        manager.connection_file = str(self._folder / "connection.json")
        self.connection_info = manager.get_connection_info()
        kwargs.pop("transport_encryption", None)
        return await super().pre_launch(cmd=[], **kwargs)

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> Any:
        """Fork a kernel and wait until it serves; raises KernelFailed, SandboxUnavailable."""
        assert self._folder is not None
        inner = [self._folder / f"k-{port}" for port in range(1, 6)]
        listeners = [listener(path) for path in inner]
        ours, theirs = socket.socketpair()
        control = KernelControl(self.sandbox.fork())
        inside = {
            name: value.decode() if isinstance(value, bytes) else value
            for name, value in self.connection_info.items()
            if isinstance(value, str | bytes | int)
        }
        request = self.sandbox.request({**inside, "ip": "/tmp/kernel"}, self.limits)
        descriptors = [sock.fileno() for sock in (*listeners, theirs)]
        timeout = self.sandbox.settings.kernel_timeout
        try:
            control.group = group = self.sandbox.group(self.limits)
            descriptors += group.descriptors if group is not None else []
            await asyncio.to_thread(control.start, request, descriptors, timeout)
        except BaseException:
            control.close()
            ours.close()
            raise
        finally:
            for sock in (*listeners, theirs):
                sock.close()
            if control.group is not None:
                control.group.sent()
        outer = [self._folder / f"s-{port}" for port in range(1, 6)]
        self.flooded = False

        def too_much() -> None:
            self.flooded = True
            control.kill()

        self._gate = Gate(outer, inner, too_much)
        self.control, self.data_socket, self.exit_info = control, ours, None
        return self.connection_info

    async def usage(self, exact: bool = False) -> Usage | None:
        """What the kernel and its descendants have used; None when it is gone."""
        if self.control is None:
            return None
        return await asyncio.to_thread(self.control.usage, exact=exact)

    async def poll(self) -> int | None:
        if self.control is None:
            return self.exit_info.code if self.exit_info else 0
        ended = self.control.poll()
        if ended is None:
            return None
        self.exit_info = ended
        return ended.code

    async def wait(self) -> int | None:
        while (code := await self.poll()) is None:
            await asyncio.sleep(0.005)
        self._let_go()
        return code

    async def send_signal(self, signum: int) -> None:
        if self.control is not None and signum != 0:
            self.control.signal(signum)

    async def kill(self, restart: bool = False) -> None:
        """Kill the kernel and see it end, which takes milliseconds; the manager polls slowly."""
        if self.control is not None:
            self.control.kill()
            await asyncio.to_thread(self.control.wait, 2.0)

    async def terminate(self, restart: bool = False) -> None:
        # The first process of a namespace does not hear SIGTERM, and nobody waits for a farewell.
        await self.kill(restart)

    async def cleanup(self, restart: bool = False) -> None:
        """Let go of the kernel and, unless it restarts, of its folder. May be called twice."""
        await self.poll()
        self._let_go()
        if self._folder is not None and not restart:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _let_go(self) -> None:
        if self.control is not None:
            self.exit_info = self.exit_info or ExitInfo(-signal.SIGKILL, "killed")
            self.control.close()
            self.control = None
        if self._gate is not None:
            self._gate.close()
            self._gate = None
        if self.data_socket is not None:
            self.data_socket.close()
            self.data_socket = None


class SandboxKernelClient(AsyncKernelClient):
    """A kernel client that knows a kernel to be ready as soon as it is.

    jupyter_client's own waits a fifth of a second for silence. Here the last message of a request
    on the output channel, "idle", tells that both channels are connected.

    Its context is its own: a client does not take over its manager's, nor what limits that has.
    """

    def _context_default(self) -> zmq.asyncio.Context:
        self._created_context = True
        context = zmq.asyncio.Context()
        longest = getattr(self.parent, "max_message_bytes", MAX_MESSAGE_BYTES)
        context.setsockopt(zmq.MAXMSGSIZE, longest)
        context.setsockopt(zmq.LINGER, 0)
        return context

    async def wait_for_ready(self, timeout: float | None = None) -> None:
        """Wait until the kernel answers; raises RuntimeError when it is dead or takes too long."""
        end = time.monotonic() + (timeout or 60.0)
        while True:
            request = self.kernel_info()
            reply = await self._message(self.get_shell_msg, request, end, "kernel_info_reply")
            if reply is not None:
                # Output sent before the subscription arrived is lost: then ask again.
                soon = min(end, time.monotonic() + 0.2)
                if await self._message(self.get_iopub_msg, request, soon, "idle") is not None:
                    self._handle_kernel_info_reply(reply)
                    return
            if not await self.is_alive():
                raise RuntimeError("The kernel died before it was ready.")
            if time.monotonic() > end:
                raise RuntimeError("The kernel was not ready in time.")

    async def _message(self, get: Any, request: str, end: float, wanted: str) -> Any:
        """The message that answers `request`: of type `wanted`, or the status `wanted`."""
        while (left := end - time.monotonic()) > 0:
            try:
                message = await get(timeout=min(left, 0.5))
            except Empty:
                if not await self.is_alive():
                    return None
                continue
            answers = message["parent_header"].get("msg_id") == request
            state = message["content"].get("execution_state")
            if answers and wanted in (message["msg_type"], state):
                return message
        return None


class SandboxKernelManager(AsyncKernelManager):
    """A kernel manager whose kernels live in a sandbox; needs no kernelspec on disk.

    nbclient takes it as `kernel_manager_class`; whatever kernel a notebook names, it is this one.
    """

    sandbox = AnyTrait(None, allow_none=True)
    limits = AnyTrait(None, allow_none=True)
    max_message_bytes = Integer(
        MAX_MESSAGE_BYTES, help="A longer message from a kernel breaks its connection."
    ).tag(config=True)

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.shutdown_wait_time = 1.0
        self.client_factory = SandboxKernelClient
        self.provisioner = SandboxProvisioner(
            parent=self, kernel_spec=self.kernel_spec, sandbox=self.sandbox, limits=self.limits
        )

    @property
    def kernel_spec(self) -> KernelSpec:
        return KernelSpec(
            argv=["python"],
            language="python",
            display_name="steerlab sandbox",
            metadata={"kernel_provisioner": {"provisioner_name": "steerlab-sandbox"}},
        )


def kernel_manager(
    sandbox: KernelSource | None = None, limits: Limits | None = None
) -> SandboxKernelManager:
    """A manager ready for `await manager.start_kernel()`, in `sandbox` or the current one."""
    return SandboxKernelManager(sandbox=sandbox, limits=limits)
