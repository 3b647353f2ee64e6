"""The grader's end of one kernel's control socket: start it, measure it, signal it, see it end."""

from __future__ import annotations

import json
import select
import signal
import socket
import threading
import time
from dataclasses import dataclass
from typing import Any

from .groups import Group

PACKET_BYTES = 1 << 17
LOOK_SECONDS = 0.2


class KernelFailed(RuntimeError):
    """The sandbox could not start a kernel: a failure of the machinery, never the student's."""


@dataclass(frozen=True)
class Usage:
    """CPU seconds and bytes of memory (PSS and private disk) of a kernel and its descendants.

    delay_seconds: how long it wanted a processor and others had it.
    """

    cpu_seconds: float
    memory_bytes: int
    delay_seconds: float = 0.0


@dataclass(frozen=True)
class ExitInfo:
    """How a kernel ended.

    `why` is "exited", "signal" (it crashed), "cpu", "memory", "killed" (by the grader), "grader
    gone", "outside" (Linux itself ended it, for want of memory on the machine) or "lost" (the zygote
    or the monitor went away). The last three are failures of the machinery.
    """

    code: int
    why: str
    cpu_seconds: float = 0.0
    memory_bytes: int = 0


class KernelControl:
    """One kernel, seen from the grader. Every method may be called from any thread."""

    def __init__(self, control: socket.socket) -> None:
        self._socket = control
        self.group: Group | None = None  # removed with the kernel
        self._lock = threading.RLock()
        self._exit: ExitInfo | None = None
        self._usages = 0
        self._look_again = 0.0  # when the group may be asked again
        self.pid = 0

    def start(self, request: dict[str, Any], descriptors: list[int], timeout: float) -> None:
        """Send what the kernel needs and wait until it stands; raises KernelFailed."""
        with self._lock:
            packet = json.dumps(request).encode()
            try:
                socket.send_fds(self._socket, [packet], descriptors)
                answer = self._receive(timeout)
            except OSError as error:
                raise KernelFailed(f"The sandbox is gone ({error}).") from error
        if answer is None:
            raise KernelFailed(f"No kernel after {timeout:g} seconds.")
        if "started" not in answer:
            raise KernelFailed(
                f"The kernel did not start: {answer.get('error', 'no reason given')}"
            )
        self.pid = int(answer["started"])

    def signal(self, number: int) -> None:
        """Send a signal; a kernel that is gone is left in peace."""
        self._send({"signal": int(number)})

    def kill(self) -> None:
        """Kill the kernel and everything it started."""
        self.signal(signal.SIGKILL)

    def usage(self, timeout: float = 2.0, exact: bool = False) -> Usage | None:
        """What the kernel has used so far; None when it is gone or does not say in time.

        Memory is an upper bound that counts shared pages in full, unless asked to be exact (PSS),
        which takes some milliseconds.
        """
        with self._lock:
            if self.poll() is not None:
                return None
            self._usages += 1
            self._send({"usage": self._usages, "exact": exact})
            end = time.monotonic() + timeout
            while (left := end - time.monotonic()) > 0:
                answer = self._receive(left)
                if answer is None or self._exit is not None:
                    return None
                if answer.get("usage") == self._usages:
                    return _usage(answer)
            return None

    def poll(self) -> ExitInfo | None:
        """How the kernel ended, or None while it runs."""
        with self._lock:
            while self._exit is None and self._receive(0) is not None:
                continue
            if self._exit is None and self._out_of_memory():
                self.kill()
            return self._exit

    def _out_of_memory(self) -> bool:
        """Whether Linux has ended some process of it. Then all of it ends, as version 2 of control
        groups has it: version 1 leaves the others, who would go on without knowing."""
        if self.group is None or time.monotonic() < self._look_again:
            return False
        self._look_again = time.monotonic() + LOOK_SECONDS
        return self.group.ran_out()

    def wait(self, timeout: float) -> ExitInfo | None:
        """Wait for the end for at most `timeout` seconds."""
        end = time.monotonic() + timeout
        while (ended := self.poll()) is None and (left := end - time.monotonic()) > 0:
            # Outside the lock, so that another thread can kill the kernel meanwhile.
            select.select([self._socket], [], [], min(left, 0.05))
        return ended

    def close(self) -> None:
        """Let go of the kernel; if it still runs, its monitor kills it. May be called twice."""
        with self._lock:
            self._exit = self._exit or ExitInfo(-signal.SIGKILL, "killed")
            self._socket.close()
            if self.group is not None:
                self.group.close()

    def _send(self, packet: dict[str, Any]) -> None:
        with self._lock:
            if self._exit is None:
                try:
                    self._socket.send(json.dumps(packet).encode())
                except OSError:
                    return  # the end of the socket says so to whoever reads next

    def _receive(self, timeout: float) -> dict[str, Any] | None:
        """One packet, or None when none came; notes the kernel's end on the way."""
        if self._exit is not None:
            return None
        if not select.select([self._socket], [], [], timeout)[0]:
            return None
        try:
            packet = self._socket.recv(PACKET_BYTES)
        except OSError:
            packet = b""
        if not packet:
            self._exit = ExitInfo(-signal.SIGKILL, "lost")
            return None
        answer = json.loads(packet)
        if "exit" in answer:
            code, why = int(answer["exit"]), str(answer["why"])
            if (
                why in ("signal", "outside", "killed")
                and self.group is not None
                and self.group.ran_out()
            ):
                why = "memory"
            used = _usage(answer)
            self._exit = ExitInfo(code, why, used.cpu_seconds, used.memory_bytes)
        return answer


def _usage(answer: dict[str, Any]) -> Usage:
    """What a monitor says in its answers."""
    return Usage(
        cpu_seconds=float(answer["cpu_seconds"]),
        memory_bytes=int(answer["memory_bytes"]),
        delay_seconds=float(answer["delay_seconds"]),
    )
