"""The monitor of one kernel: starts it, measures it, relays signals, ends it, says how it ended.

It lives outside the kernel's process namespace, so the student's code cannot see or signal it, and
it is the kernel's parent, so no process number is ever mistaken for another. It speaks JSON packets
over one socket with the grader; the end of that socket is the end of the kernel.

    grader -> monitor   {"connection", "limits", "seccomp"} + 6 descriptors   once, first
                        and those of control groups to enter, if any
                        {"signal": n} | {"usage": id, "exact": bool}
    monitor -> grader   {"started": pid} | {"error": text}
                        {"usage": id, "cpu_seconds", "memory_bytes", "delay_seconds"}
                        {"exit": code, "why": ..., "cpu_seconds", "memory_bytes", "delay_seconds"}
"""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import time
from typing import Any, NamedTuple, NoReturn

from .walls import Walls

PACKET_BYTES = 1 << 17
WATCH_SECONDS = 0.2
TICKS = os.sysconf("SC_CLK_TCK")
PAGE = os.sysconf("SC_PAGE_SIZE")


def supervise(control: socket.socket, walls: Walls) -> NoReturn:
    """Serve one kernel on `control` until it ends; never returns."""
    packet, descriptors, _, _ = socket.recv_fds(control, PACKET_BYTES, 10)
    if not packet:
        os._exit(0)  # the grader thought better of it
    request = json.loads(packet)
    walls.split()
    report, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(report)
        control.close()
        from . import kernel

        kernel.run(request, descriptors, told, walls)
    os.close(told)
    for descriptor in descriptors:
        os.close(descriptor)
    problem = _read_all(report)
    if problem:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        walls.clear()
        _send(control, {"error": problem})
        os._exit(1)
    _send(control, {"started": pid})
    Watch(control, pid, request["limits"], walls).run()


class Watch:
    """The monitor's loop over one running kernel."""

    def __init__(
        self, control: socket.socket, pid: int, limits: dict[str, int], walls: Walls
    ) -> None:
        self.control = control
        self.pid = pid
        self.limits = limits
        self.walls = walls
        self.pidfd = os.pidfd_open(pid)
        self.cpu_seconds = 0.0
        self.memory_bytes = 0
        self.delay_seconds = 0.0
        self.why = ""
        self._delays: dict[int, float] = {}
        self._own_cpu: dict[tuple[int, int], float] = {}  # by process number and start
        self._weigh_again = 0.0  # when the pages may be counted again

    def run(self) -> NoReturn:
        """Relay and measure until the kernel is gone."""
        while True:
            watched = [self.control.fileno(), self.pidfd]
            ready, _, _ = select.select(watched, [], [], WATCH_SECONDS)
            if self.pidfd in ready:
                self.finish()
            if ready:
                self.obey()
            if not self.why:
                self.judge()

    def judge(self) -> None:
        """End a kernel that is over a limit; computing time first, because it is cheap to know."""
        family = self.measure()
        if self.cpu_seconds > self.limits["cpu_seconds"]:
            self.end("cpu")
        elif (
            self.memory_bytes > self.limits["memory_bytes"] and time.monotonic() > self._weigh_again
        ):
            started = time.monotonic()
            self.weigh(family)
            # Many processes take long to weigh: at most a tenth of the time goes into it.
            self._weigh_again = time.monotonic() + 10 * (time.monotonic() - started)
            if self.memory_bytes > self.limits["memory_bytes"]:
                self.end("memory")

    def obey(self) -> None:
        """Do what one packet from the grader asks; a closed socket ends the kernel."""
        packet = self.control.recv(PACKET_BYTES)
        if not packet:
            self.end("grader gone")
            self.finish()
        request = json.loads(packet)
        if "usage" in request:
            family = self.measure()
            if request.get("exact"):
                self.weigh(family)
            _send(self.control, {"usage": request["usage"], **self.used()})
        elif request.get("signal") == signal.SIGKILL:
            self.end("killed")
        elif "signal" in request:
            signal.pidfd_send_signal(self.pidfd, request["signal"])

    def end(self, why: str) -> None:
        """Kill the kernel: what it started ends with it, or is ended when it is finished."""
        self.why = self.why or why
        try:
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        except ProcessLookupError:
            return  # it is gone already; finish() follows

    def finish(self) -> NoReturn:
        """Reap the kernel, report how it ended, and go."""
        _, status, usage = os.wait4(self.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        cpu = max(self.cpu_seconds, usage.ru_utime + usage.ru_stime)
        why = self.why or ("cpu" if cpu >= self.limits["cpu_seconds"] - 1 else "")
        if not why and code == -signal.SIGKILL and self.walls.sealed:
            why = "outside"
        why = why or ("signal" if code < 0 else "exited")
        try:
            self.walls.clear()
        except TimeoutError:
            why = "lost"  # what still runs could harm the next: that is no ordinary end
        _send(self.control, {"exit": code, "why": why, **self.used(), "cpu_seconds": cpu})
        os._exit(0)

    def used(self) -> dict[str, float]:
        """What was last measured, for the grader."""
        return {
            "cpu_seconds": self.cpu_seconds,
            "memory_bytes": self.memory_bytes,
            "delay_seconds": self.delay_seconds,
        }

    def measure(self) -> dict[int, int]:
        """Update computing time and an upper bound of the memory; returns resident bytes by process.

        The bound counts a page once for each process that shares it, and what lies on the disk.
        """
        running = _processes()
        members = self.walls.members(self.pid, {pid: p.parent for pid, p in running.items()})
        family = {pid: running[pid] for pid in members if pid in running}
        self._count_delay(family)
        for pid, process in family.items():
            self._own_cpu[pid, process.started] = process.own_cpu
        # Linux forgets the time of a child whose parent ignores its end; what was seen stays here.
        seen = sum(self._own_cpu.values())
        reported = sum(process.own_cpu + process.reaped_cpu for process in family.values())
        self.cpu_seconds = max(self.cpu_seconds, seen, reported)
        resident = {pid: process.resident for pid, process in family.items()}
        self.memory_bytes = self.walls.disk_bytes(self.pid) + sum(resident.values())
        return resident

    def _count_delay(self, family: dict[int, Process]) -> None:
        """Add the time that the kernel wanted a processor and others had it.

        Of several processes the one that waited longest counts: it is no sum, and so at most the
        time that has gone by.
        """
        delays = {pid: _run_delay(pid) for pid in family}
        grown = [delays[pid] - self._delays[pid] for pid in delays if pid in self._delays]
        self.delay_seconds += max([0.0, *grown])
        self._delays = delays

    def weigh(self, resident: dict[int, int]) -> None:
        """Replace the bound by each process's proportional share (PSS), or its whole if it hides."""
        self.memory_bytes = self.walls.disk_bytes(self.pid)
        for pid, rss in resident.items():
            try:
                self.memory_bytes += _pss(pid)
            except PermissionError:
                self.memory_bytes += rss


class Process(NamedTuple):
    """One line of /proc: CPU seconds of its own and of children it has reaped, resident bytes."""

    own_cpu: float
    reaped_cpu: float
    resident: int
    started: int
    parent: int


def _processes() -> dict[int, Process]:
    """Every process that is seen here, by number."""
    found: dict[int, Process] = {}
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", "rb") as handle:
                fields = handle.read().rpartition(b")")[2].split()
        except OSError:
            continue  # it ended while we looked
        user, system, reaped_user, reaped_system = (int(ticks) / TICKS for ticks in fields[11:15])
        found[int(name)] = Process(
            own_cpu=user + system,
            reaped_cpu=reaped_user + reaped_system,
            resident=int(fields[21]) * PAGE,
            started=int(fields[19]),
            parent=int(fields[1]),
        )
    return found


def _run_delay(pid: int) -> float:
    """Seconds that a process's first thread has waited for a processor; 0 where nobody counts."""
    try:
        with open(f"/proc/{pid}/schedstat", "rb") as handle:
            return int(handle.read().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


def _pss(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/smaps_rollup", "rb") as handle:
            for line in handle:
                if line.startswith(b"Pss:"):
                    return int(line.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0


def _send(control: socket.socket, packet: dict[str, Any]) -> None:
    try:
        control.send(json.dumps(packet).encode())
    except OSError:
        return  # the grader is gone; its end of the socket ends us too


def _read_all(descriptor: int) -> str:
    with os.fdopen(descriptor, "rb") as pipe:
        return pipe.read().decode(errors="replace")
