"""Run a clean notebook's cells in a sandboxed kernel, under limits, keeping what they put out.

nbclient does the talking. Here is what grading adds: CPU time is what counts and wall time only a
backstop, output is capped while it arrives, no widget channel is opened, and the death of a kernel
is an answer and not an accident.
"""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionComplete, DeadKernelError
from nbformat import NotebookNode

from ..probe import take_code
from ..sandbox import ExitInfo, KernelFailed, KernelSource, SandboxKernelManager, kernel_manager

MAX_OUTPUT_BYTES = 4_000_000
OUTPUTS = ("stream", "display_data", "execute_result", "error", "update_display_data")
WATCH_SECONDS = 0.1
INTERRUPT_GRACE_SECONDS = 1.5
WALL_PER_CPU = 4.0  # a cell that sleeps may take this many times its CPU limit in wall time
KERNEL_SECONDS = 30.0
TAKE_SECONDS = 20.0  # an honest kernel answers at once; a slow machine may need a moment


class MachineryFailed(Exception):
    """The grader's own failure while running a submission; it says nothing about the student."""


@dataclass(frozen=True)
class CellFate:
    """How one cell ended: "ok", "error", "skipped", "stopped" by the grader, or "died".

    error_name and error_text are the student's own words; `reason` is the grader's, where the cell
    was stopped or died.
    """

    how: str
    error_name: str = ""
    error_text: str = ""
    reason: str = ""

    @property
    def fatal(self) -> bool:
        """Whether the kernel went with it."""
        return self.how == "died"


class LimitedClient(NotebookClient):
    """nbclient with a cap on output, and no trust in what a kernel says."""

    def __init__(self, notebook: NotebookNode, manager: SandboxKernelManager) -> None:
        super().__init__(
            notebook,
            km=manager,
            timeout=None,
            allow_errors=True,
            record_timing=False,
            store_widget_state=False,
            coalesce_streams=False,
            iopub_timeout=10,
            raise_on_iopub_timeout=False,
            startup_timeout=KERNEL_SECONDS,
        )
        self.output_bytes = 0

    @property
    def too_much_output(self) -> bool:
        """Whether the submission has put out more than is kept."""
        return self.output_bytes > MAX_OUTPUT_BYTES

    def process_message(
        self, msg: dict[str, Any], cell: NotebookNode, cell_index: int
    ) -> NotebookNode | None:
        """Keep an output within the cap; widgets' channels and malformed messages are dropped."""
        kind, content = msg.get("msg_type"), msg.get("content")
        if kind not in (*OUTPUTS, "clear_output", "status") or not isinstance(content, dict):
            return None
        # Anything may call itself a count, and a count is kept outside the outputs and their cap.
        content.pop("execution_count", None)
        if kind in OUTPUTS:
            self.output_bytes += len(json.dumps(content, default=str))
            if self.too_much_output:
                return None
            if kind == "execute_result":
                content["execution_count"] = None
            if kind == "stream" and self._continues_stream(content, cell):
                return None
        try:
            return super().process_message(msg, cell, cell_index)
        except CellExecutionComplete:
            raise
        except Exception:  # a forged message; an honest kernel sends none
            return None

    @staticmethod
    def _continues_stream(content: dict[str, Any], cell: NotebookNode) -> bool:
        """Append to the last output, so that a million small prints stay one output."""
        last = cell.outputs[-1] if cell.outputs else None
        if not last or last.get("output_type") != "stream":
            return False
        name, text = content.get("name"), content.get("text")
        if name != last.get("name") or not isinstance(text, str):
            return False
        last["text"] += text
        return True


class KernelRun:
    """One kernel and the cells run in it."""

    def __init__(
        self, sandbox: KernelSource, notebook: NotebookNode, cell_cpu_seconds: float
    ) -> None:
        self.manager = kernel_manager(sandbox)
        self.client = LimitedClient(notebook, self.manager)
        self.cell_cpu_seconds = cell_cpu_seconds
        self.cpu_at_start = 0.0
        self.delay_seconds = 0.0  # how long others had the processors that it wanted
        self._stopped: str | None = None

    async def start(self) -> None:
        """Fork the kernel and connect to it; raises MachineryFailed."""
        try:
            await self.client.async_start_new_kernel()
            await self.client.async_start_new_kernel_client()
        except (KernelFailed, RuntimeError, OSError) as error:
            raise MachineryFailed(f"no kernel could be started ({error})") from error

    async def close(self) -> None:
        """End the kernel and its channels."""
        with suppress(Exception):
            if self.client.kc is not None:
                self.client.kc.stop_channels()
        with suppress(Exception):
            await self.manager.shutdown_kernel(now=True)

    @property
    def provisioner(self) -> Any:
        """The sandbox's end of the kernel."""
        return self.manager.provisioner

    async def execute(
        self, cell: NotebookNode, index: int, seconds_left: float = float("inf")
    ) -> CellFate:
        """Run one cell under its limits; raises MachineryFailed when the sandbox itself is gone.

        seconds_left: of the whole submission's time.
        """
        self._stopped = None
        wall_seconds = min(WALL_PER_CPU * self.cell_cpu_seconds, max(1.0, seconds_left))
        watch = asyncio.create_task(self._watch(wall_seconds))
        try:
            await self.client.async_execute_cell(cell, index, store_history=True)
        except DeadKernelError:
            return self._died(cell)
        except Exception:  # the kernel broke the protocol: it is not asked again
            await self.provisioner.kill()
            return self._died(cell)
        finally:
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch
        if self._stopped:
            _note_in(cell, self._stopped)
            return CellFate("stopped", reason=self._stopped)
        errors = [out for out in cell.outputs if out.get("output_type") == "error"]
        if errors:
            return CellFate("error", str(errors[-1].get("ename")), str(errors[-1].get("evalue")))
        return CellFate("ok")

    async def take(self, name: str, cell: NotebookNode) -> CellFate:
        """Keep the graded function of a cell as it is now, for the probe.

        A kernel that does not answer is ended, and that is the cell's fate.
        """
        client = self.client.kc
        assert client is not None
        message = client.execute(take_code(name), silent=True, store_history=False)
        try:
            await asyncio.wait_for(self._reply_to(message), TAKE_SECONDS)
        except TimeoutError:
            self._stopped = f"stopped: the process did not answer within {TAKE_SECONDS:g} seconds"
            await self.provisioner.kill()
            return self._died(cell)
        except Exception:  # the kernel died, or broke the protocol
            await self.provisioner.kill()
            return self._died(cell)
        return CellFate("ok")

    async def _reply_to(self, message: str) -> None:
        client = self.client.kc
        assert client is not None
        while True:
            try:
                reply = await client.shell_channel.get_msg(timeout=1)
            except Empty:
                if await self.provisioner.poll() is not None:
                    raise DeadKernelError("the kernel ended after its cell") from None
                continue
            if reply.get("parent_header", {}).get("msg_id") == message:
                return

    async def _watch(self, wall_seconds: float) -> None:
        """Interrupt a cell that uses up its time or floods its output; kill one that goes on.

        Time in which it wanted a processor and others had it is not held against it.
        """
        first = None
        started, delayed = time.monotonic(), self.delay_seconds
        while self._stopped is None:
            await asyncio.sleep(WATCH_SECONDS)
            usage = await self.provisioner.usage()
            if usage is not None:
                first = usage.cpu_seconds if first is None else first
                self.delay_seconds = usage.delay_seconds
            waited = time.monotonic() - started - (self.delay_seconds - delayed)
            if usage is not None and usage.cpu_seconds - (first or 0.0) > self.cell_cpu_seconds:
                self._stopped = f"stopped after {self.cell_cpu_seconds:g} seconds of computing"
            elif waited > wall_seconds:
                self._stopped = f"stopped after {wall_seconds:.0f} seconds"
            elif self.client.too_much_output:
                self._stopped = "stopped: the notebook prints more than is kept"
        await self.manager.interrupt_kernel()
        await asyncio.sleep(INTERRUPT_GRACE_SECONDS)
        await self.provisioner.kill()

    def _died(self, cell: NotebookNode) -> CellFate:
        ended: ExitInfo | None = self.provisioner.exit_info
        why = ended.why if ended is not None else "signal"
        if why in ("lost", "grader gone"):
            raise MachineryFailed("the sandbox went away while the notebook ran")
        if why == "outside":
            raise MachineryFailed("the machine ran out of memory while the notebook ran")
        if self.provisioner.flooded:
            self._stopped = "stopped: the notebook prints more than is kept"
        reason = self._stopped or {
            "memory": "ended: the submission used too much memory",
            "cpu": "ended: the submission used up its computing time",
            "exited": "this cell ended the Python process",
        }.get(why, "this cell crashed the Python process")
        _note_in(cell, reason)
        return CellFate("died", reason=reason)


def _note_in(cell: NotebookNode, text: str) -> None:
    cell.outputs.append(
        nbformat.v4.new_output(
            "error", ename="Stopped", evalue=text, traceback=[f"Grader: {text}."]
        )
    )
