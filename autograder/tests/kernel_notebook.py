"""A kernel in a sandbox, driven cell by cell."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from autograder.probe import CallLimits, Student, start_student, take_code
from autograder.sandbox import ExitInfo, Limits, Sandbox, kernel_manager


@dataclass
class Cell:
    """What one executed cell gave."""

    text: str = ""
    error: str = ""
    outputs: list[dict[str, Any]] = field(default_factory=list)


class Notebook:
    """A kernel in the sandbox, driven without a notebook file."""

    def __init__(self, sandbox: Sandbox, limits: Limits | None = None) -> None:
        self.loop = asyncio.new_event_loop()
        self.manager = kernel_manager(sandbox, limits)
        self.provisioner: Any = self.manager.provisioner
        self.wait(self.manager.start_kernel())
        self.client = self.manager.client()
        self.client.start_channels()
        self.wait(self.client.wait_for_ready(timeout=30))

    def wait(self, awaitable: Any) -> Any:
        return self.loop.run_until_complete(awaitable)

    def run(self, code: str, timeout: float = 60) -> Cell:
        """Execute a cell; its printed text and the name of its exception, if any."""
        cell = Cell()

        def keep(message: dict[str, Any]) -> None:
            content = message["content"]
            cell.outputs.append(content)
            if message["msg_type"] == "stream":
                cell.text += content["text"]
            if message["msg_type"] == "error":
                cell.error = content["ename"]

        self.wait(self.client.execute_interactive(code, timeout=timeout, output_hook=keep))
        return cell

    def send(self, code: str) -> None:
        """Send a cell without waiting for anything; its failure holds up no other."""
        self.client.execute(code, stop_on_error=False)

    def take(self, *names: str) -> None:
        for name in names:
            self.client.execute(take_code(name), silent=True, store_history=False)

    def student(self, limits: CallLimits | None = None) -> Student:
        return start_student(self.client, self.provisioner, limits)

    def end(self, timeout: float = 20) -> ExitInfo:
        """Wait until the kernel has ended by itself; how it did."""
        ended = self.provisioner.control.wait(timeout)
        assert ended is not None, "the kernel still runs"
        return ended

    def close(self) -> None:
        self.client.stop_channels()
        self.wait(self.manager.shutdown_kernel(now=True))
        self.loop.close()
