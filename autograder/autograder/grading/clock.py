"""What each task costs in computing: the student's cells of it, and its hidden tests.

For the class report alone: no mark depends on it. A kernel tells its own CPU time, to about 0.01 s.
"""

from __future__ import annotations

from .cellrunner import KernelRun

CELLS, TESTS = "cells", "tests"


class TaskClock:
    """CPU seconds by what a kernel was at, `(kind, task)`; it is told whenever that changes."""

    def __init__(self) -> None:
        self.seconds: dict[tuple[str, str], float] = {}
        self._kernel: KernelRun | None = None
        self._at: tuple[str, str] | None = None
        self._before = 0.0

    async def turn_to(self, kernel: KernelRun | None, at: tuple[str, str] | None) -> None:
        """From now on this kernel computes for `at`; a second time at it replaces the first."""
        if self._kernel is not None and self._at is not None:
            used = await computed(self._kernel)
            if used is not None:
                self.seconds[self._at] = round(max(0.0, used - self._before), 3)
        self._kernel, self._at = kernel, at
        self._before = (await computed(kernel) or 0.0) if kernel is not None and at else 0.0


async def computed(kernel: KernelRun) -> float | None:
    """CPU seconds of a kernel and all that it started, ended or not; None where nobody knows."""
    provisioner = kernel.provisioner
    usage = await provisioner.usage()
    if usage is not None:
        return float(usage.cpu_seconds)
    ended = provisioner.control.poll() if provisioner.control is not None else None
    return float(ended.cpu_seconds) if ended is not None else None
