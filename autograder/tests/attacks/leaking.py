"""Leaking hidden inputs through output, files, exceptions and line numbers."""

from __future__ import annotations

import re
from typing import Any

import pytest
from autograder.grading import run
from autograder.grading.run import Attempt
from autograder.probe import client
from nbformat.v4 import new_output

from .attack import Attack, Naive, Patched, Trace
from .reading import canary

FROZEN = "outputs are frozen before the first hidden test"
OUTSIDE = "hidden inputs come after the last cell"
NO_TEXT = "an exception's text is never sent"
KNOWN_NAMES = "an exception is one of a fixed list of names"
LINES_CHECKED = "a line number is named only where the answer has such a line"
SHORT_ANSWERS = "lines are named in short answers only"
TABLE = "".join(f"    if x == {n}: raise ValueError\n" for n in range(3, 1003))


def not_frozen(patch: pytest.MonkeyPatch) -> None:
    """Go on reading a kernel's output while the hidden tests call its functions."""
    start = run.start_student

    def start_reading(kernel_client: Any, *args: Any) -> Any:
        channel = kernel_client.iopub_channel
        patch.setattr(channel, "stop", lambda: None)
        return start(kernel_client, *args)

    async def unfrozen(self: Attempt) -> None:
        try:
            await self._run_cells()
            await self._probe()
            channel = self._kernel().client.kc.iopub_channel
            texts = []
            while await channel.msg_ready():
                texts.append((await channel.get_msg(timeout=1))["content"].get("text", ""))
            last = [cell for cell in self.notebook.cells if cell.cell_type == "code"][-1]
            last.outputs.append(new_output("stream", text="".join(texts)))
            self._freeze()
        finally:
            await self._stop_kernel()

    patch.setattr(run, "start_student", start_reading)
    patch.setattr(Attempt, "run", unfrozen)


class _EveryName:
    def __contains__(self, name: object) -> bool:
        return True


def show_any_line(patch: pytest.MonkeyPatch) -> None:
    """Show what a failed test says as it is."""
    patch.setattr(Attempt, "_detail", lambda self, task, test: test.message)


def canary_shown(trace: Trace) -> str:
    """A canary in what a failed test says."""
    found = re.search(r"canary-[0-9a-f]{32}", trace.details)
    return found.group(0) if found else ""


def number_shown(trace: Trace) -> str:
    """The number of a line that tells a hidden number."""
    found = re.search(r"at line \d{2,}", trace.details)
    return found.group(0) if found else ""


ATTACKS = [
    Attack(
        name="input-printed-by-the-call",
        family="leaking through output",
        defence=FROZEN,
        off=Patched(not_frozen),
        gained=canary,
        double="def double(x):\n    print(x, flush=True)\n    return 0\n",
    ),
    Attack(
        name="input-printed-by-a-thread",
        family="leaking through output",
        defence=FROZEN,
        off=Patched(not_frozen),
        gained=canary,
        double="""\
import sys, threading
def double(x):
    if type(x) is str:
        teller = threading.Thread(target=lambda: print(x[::-1], flush=True))
        teller.start()
        teller.join()
    return 0
""",
    ),
    Attack(
        name="input-kept-and-printed-later",
        family="leaking through output",
        defence=OUTSIDE,
        off=Naive(),
        gained=canary,
        double="KEPT = []\ndef double(x):\n    KEPT.append(x)\n    return x + x\n",
        last="print(KEPT)",
        earns=5.0,
    ),
    Attack(
        name="input-written-to-a-file",
        family="leaking through files",
        defence=OUTSIDE,
        off=Naive(),
        gained=canary,
        double="""\
import base64, os
def double(x):
    with open(os.environ["HOME"] + "/seen", "a") as file:
        file.write(base64.b64encode(str(x).encode()).decode() + "\\n")
    return x + x
""",
        last="""\
print(open(os.environ["HOME"] + "/seen").read())
""",
        earns=5.0,
    ),
    Attack(
        name="input-in-the-text-of-an-exception",
        family="leaking through exception text",
        defence=NO_TEXT,
        off=Naive(),
        gained=lambda trace: canary(trace) or canary_in_traceback(trace),
        double="""\
def double(x):
    if type(x) is str:
        raise ValueError(x)
    return x + x
""",
        earns=3 + 4 / 3,
    ),
    Attack(
        name="input-in-the-name-of-an-exception",
        family="leaking through exception text",
        defence=KNOWN_NAMES,
        off=Patched(lambda patch: patch.setattr(client, "KNOWN_EXCEPTIONS", _EveryName())),
        gained=canary_shown,
        double="def double(x):\n    raise type(str(x), (Exception,), {})\n",
    ),
    Attack(
        name="input-as-a-forged-line-number",
        family="leaking through exception text",
        defence=LINES_CHECKED,
        off=Patched(show_any_line),
        gained=number_shown,
        double="""\
import confined.probe.agent as agent
def double(x):
    agent.line_of = lambda error, function: 1000 + abs(x)
    raise ValueError
""",
    ),
    Attack(
        name="input-as-the-number-of-a-line",
        family="leaking through exception text",
        defence=SHORT_ANSWERS,
        off=Patched(lambda patch: patch.setattr(run, "MAX_LINES_NAMED", 10**9)),
        gained=number_shown,
        double="# first\n" * 10 + "def double(x):\n" + TABLE,
    ),
]


def canary_in_traceback(trace: Trace) -> str:
    """A canary in the traceback of a cell."""
    outputs = [out for cell in trace.notebook.cells for out in cell.get("outputs", [])]
    found = re.search(r"canary-[0-9a-f]{32}", "".join(str(out.get("evalue")) for out in outputs))
    return found.group(0) if found else ""
