"""Exhausting time, memory, processes, disk, descriptors and output: the kernel's, and the grader's."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Any

import pytest
from autograder.grading import cellrunner, sanitize
from autograder.grading.run import Attempt
from autograder.probe import wire
from autograder.sandbox import gate
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

from .arena import LIMITS
from .attack import SHIFT_ALONE, Attack, Inside, Patched, Trace, says

CELL_TIME = "a cell's computing time is limited"
CALL_TIME = "a hidden test's computing time is limited"
KILLED = "a cell that ignores its interrupt is killed"
ANSWERS = "taking a function must be answered in time"
CAP = "a notebook's output is capped while it arrives"
PIXELS = "a notebook's images are decoded up to a number of pixels"
BEGINS = "Markdown that the parser takes quadratic time for is defused"
HASHES = "sets and dicts of numbers are bounded: their hashes can be made to collide"
FRAMES = "a frame's announced size is checked before memory is taken"
GATE = "what a kernel sends is counted before it enters the grader's memory"

# Two of the three hidden tests of `double` are passed honestly before the third is attacked.
TWO_OF_THREE = SHIFT_ALONE + 4 / 3
IMAGES = """\
import struct, zlib
from IPython.display import Image, display
def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
rows = zlib.compress(bytes(3000 * (1 + 3300 // 8 + 1)))
head = struct.pack(">IIBBBBB", 3300, 3000, 1, 0, 0, 0, 0)
png = b"\\x89PNG\\r\\n\\x1a\\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
for _ in range(5):
    display(Image(png))
"""
COLLIDING = """\
import confined.probe.wire as wire
encode = wire.Encoder.encode
def encode_set(self, value, depth=0):
    if value != "a set":
        return encode(self, value, depth)
    return {"set": [{"int": hex((2**61 - 1) * n)} for n in range(2**10, 2**10 + 5500)]}
wire.Encoder.encode = encode_set
def double(x):
    return "a set" if type(x) is str else 2 * x
"""
FLOOD = """\
kernel = get_ipython().kernel
identity = kernel.get_parent()["header"]["session"].encode()
for _ in range(40):
    kernel.session.send(kernel.stdin_socket, "input_request", {"prompt": "x" * (4 << 20)}, ident=identity)
"""


def limits(**changes: Any) -> Any:
    """A patch that changes the limits of an attempt."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        init = Attempt.__init__

        def generous(self: Attempt, *args: Any, **more: Any) -> None:
            init(self, *args, **more)
            self.limits = replace(self.limits, **changes)

        monkeypatch.setattr(Attempt, "__init__", generous)

    return patch


def setting(place: Any, name: str, value: Any) -> Any:
    """A patch of one constant."""
    return lambda patch: patch.setattr(place, name, value)


def wire_limit(**changes: Any) -> Any:
    """A patch of what is believed of a frame."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        changed = replace(wire.WireLimits(), **changes)
        decoder, channel = wire.Decoder.__init__, wire.Channel.__init__

        def decoding(self: Any, tensors: Any, dereference: Any, _: Any = None) -> None:
            decoder(self, tensors, dereference, changed)

        def receiving(self: Any, sock: Any, _: Any = None, *more: Any, **named: Any) -> None:
            channel(self, sock, changed, *more, **named)

        monkeypatch.setattr(wire.Decoder, "__init__", decoding)
        monkeypatch.setattr(wire.Channel, "__init__", receiving)

    return patch


def stock_outputs(patch: pytest.MonkeyPatch) -> None:
    """nbclient's own handling of messages."""
    patch.setattr(cellrunner.LimitedClient, "process_message", NotebookClient.process_message)


def swollen(trace: Trace) -> str:
    """The gain of floods: the result that the grader keeps."""
    size = len(trace.result.notebook) if trace.result else 0
    return f"{size} bytes are kept" if size > 5_000_000 else ""


def images(trace: Trace) -> str:
    """The gain of image bombs: how many were decoded."""
    outputs = [out for cell in trace.notebook.cells for out in cell.get("outputs", [])]
    count = sum("image/png" in out.get("data", {}) for out in outputs)
    return f"{count} images" if count > 4 else ""


def begins(trace: Trace) -> str:
    """The gain of slow Markdown: what the parser was given, which is what it renders."""
    text = "".join(cell.source for cell in trace.notebook.cells if cell.cell_type == "markdown")
    count = text.count("\\begin")
    return f"{count} openings were parsed" if count > 1000 else ""


def slow_markdown(notebook: NotebookNode) -> None:
    """Each opening is looked for its end through all that follows."""
    notebook.cells.append(new_markdown_cell("\\begin{a}" * 1500))


def not_refused(trace: Trace) -> str:
    """The gain of oversized answers: they were taken and compared."""
    return "" if "garbage" in trace.details else "the grader built it"


def not_stopped(trace: Trace) -> str:
    """The gain of a stall: nobody ended it."""
    notes = trace.result.notes if trace.result else ()
    return "" if any("did not answer" in note for note in notes) else "the grader waited"


def count_waiting(patch: pytest.MonkeyPatch) -> None:
    """When a kernel is closed, note how much of what it sent has come to this process unread."""
    close = cellrunner.KernelRun.close

    async def counting(self: cellrunner.KernelRun) -> None:
        client = self.client.kc
        if client is not None:
            waiting, heard = 0, time.monotonic()
            while time.monotonic() - heard < (5 if waiting else 0.1):
                if await client.stdin_channel.msg_ready():
                    parts = await client.stdin_channel.socket.recv_multipart()
                    waiting, heard = waiting + sum(map(len, parts)), time.monotonic()
                elif waiting > ENOUGH or await self.provisioner.poll() is not None:
                    break
                else:
                    await asyncio.sleep(0.01)  # a busy machine still passes it on
            WAITING.append(waiting)
        await close(self)

    WAITING.clear()
    patch.setattr(cellrunner.KernelRun, "close", counting)


WAITING: list[int] = []
ENOUGH = 100 << 20  # bytes, of the 160 MiB that the flood sends


def waiting(trace: Trace) -> str:
    """The gain of a flood on a channel that nobody reads."""
    return f"{max(WAITING)} bytes wait" if max(WAITING) > ENOUGH else ""


ATTACKS = [
    Attack(
        name="endless-cell",
        family="exhausting time",
        defence=CELL_TIME,
        off=Patched(limits(cell_cpu_seconds=30.0)),
        gained=says("burned it all"),
        first="""\
import time
end = time.process_time() + 2.7
while time.process_time() < end:
    pass
print("burned", "it all")
""",
    ),
    Attack(
        name="cell-that-ignores-interrupts",
        family="swallowed exceptions",
        defence=KILLED,
        off=Patched(setting(cellrunner, "INTERRUPT_GRACE_SECONDS", 60.0)),
        gained=says("still here"),
        first="""\
import time
end = time.process_time() + 4.5
while time.process_time() < end:
    try:
        while time.process_time() < end:
            pass
    except BaseException:
        pass
print("still", "here")
""",
    ),
    Attack(
        name="endless-call",
        family="exhausting time",
        defence=CALL_TIME,
        off=Patched(limits(call_cpu_seconds=30.0)),
        gained=lambda trace: str(trace.score) if (trace.score or 0) > TWO_OF_THREE + 0.1 else "",
        double="""\
import time
def double(x):
    end = time.process_time() + (2.9 if type(x) is str else 0)
    while time.process_time() < end:
        pass
    return x + x
""",
        earns=TWO_OF_THREE,
    ),
    Attack(
        name="function-taken-for-ever",
        family="exhausting time",
        defence=ANSWERS,
        off=Patched(setting(cellrunner, "TAKE_SECONDS", 60.0)),
        gained=not_stopped,
        first="""\
import time
import confined.probe.agent as agent
agent.take = lambda *args: time.sleep(1.6)
""",
        both=lambda patch: patch.setattr(cellrunner, "TAKE_SECONDS", 0.8),
    ),
    Attack(
        name="memory-of-one-process",
        family="exhausting memory",
        defence="the memory of a process is limited",
        off=Inside(limits=replace(LIMITS, memory_bytes=16 << 30)),
        gained=says("took it"),
        first="""\
import mmap
hoard = mmap.mmap(-1, 5 << 30, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
print("took", "it")
""",
    ),
    Attack(
        name="many-processes",
        family="exhausting processes",
        defence="the number of processes is limited",
        off=Inside(limits=replace(LIMITS, processes=200)),
        gained=says("60 processes"),
        first="""\
import subprocess
made = []
try:
    for _ in range(60):
        made.append(subprocess.Popen(["sleep", "60"]))
except OSError:
    pass
print(len(made), "processes")
for process in made:
    process.kill()
""",
    ),
    Attack(
        name="full-disk",
        family="exhausting disk",
        defence="the private disk has a size",
        off=Inside(limits=replace(LIMITS, disk_bytes=128 << 20)),
        gained=says("wrote it"),
        first="""\
with open("big", "wb") as file:
    for _ in range(40):
        file.write(bytes(1 << 20))
print("wrote", "it")
""",
    ),
    Attack(
        name="all-descriptors",
        family="escaping by descriptors",
        defence="the number of open files is limited",
        off=Inside(limits=replace(LIMITS, open_files=900)),
        gained=says("400 files"),
        first="files = [open('/dev/null') for _ in range(400)]\nprint(len(files), 'files')",
    ),
    Attack(
        name="flood-of-output",
        family="exhausting output",
        defence=CAP,
        off=Patched(setting(cellrunner, "MAX_OUTPUT_BYTES", 1 << 40)),
        gained=swollen,
        first="""\
from IPython.display import display
for _ in range(80):
    display({"text/plain": "x" * 90_000}, raw=True)
""",
    ),
    Attack(
        name="flood-in-the-count-of-a-cell",
        family="exhausting output",
        defence=CAP,
        off=Patched(stock_outputs),
        gained=swollen,
        first="""\
kernel = get_ipython().kernel
content = {"execution_state": "busy", "execution_count": "x" * 6_000_000}
sent = kernel.session.send(kernel.iopub_socket, "status", content, parent=kernel.get_parent())
""",
    ),
    Attack(
        name="flood-of-a-channel-that-nobody-reads",
        family="exhausting memory",
        defence=GATE,
        off=Patched(lambda patch: patch.setattr(gate.Gate.__init__, "__defaults__", (1 << 50,))),
        gained=waiting,
        first=FLOOD,
        both=count_waiting,
    ),
    Attack(
        name="image-bombs",
        family="exhausting time",
        defence=PIXELS,
        off=Patched(lambda patch: patch.setattr(sanitize.PixelBudget, "spend", lambda *_: True)),
        gained=images,
        first=IMAGES,
    ),
    Attack(
        name="markdown-that-takes-hours",
        family="exhausting time",
        defence=BEGINS,
        off=Patched(setting(sanitize, "MAX_MATH_BEGINS", 1 << 40)),
        gained=begins,
        edit=slow_markdown,
    ),
    Attack(
        name="numbers-of-one-hash",
        family="RPC garbage",
        defence=HASHES,
        off=Patched(wire_limit(hashed=1 << 40)),
        gained=not_refused,
        double=COLLIDING,
        earns=TWO_OF_THREE,
    ),
    Attack(
        name="frame-of-many-gigabytes",
        family="RPC garbage",
        defence=FRAMES,
        off=Patched(wire_limit(tensor_bytes=1 << 50)),
        gained=not_refused,
        double="""\
import confined.probe.agent as agent
def double(x):
    if type(x) is not str:
        return 2 * x
    agent._agent.channel.socket.sendall(b"\\0\\0\\0\\2" + (1 << 33).to_bytes(8, "big") + b"{}")
    agent._agent.channel.socket.close()
""",
        earns=TWO_OF_THREE,
    ),
    Attack(
        name="noise-instead-of-an-answer",
        family="RPC garbage",
        defence=FRAMES,
        off=Patched(wire_limit(tensor_bytes=1 << 64, json_bytes=1 << 32)),
        gained=not_refused,
        double="""\
import os
import confined.probe.agent as agent
def double(x):
    if type(x) is not str:
        return 2 * x
    agent._agent.channel.socket.sendall(b"\\x0f" * 11 + os.urandom(999))
    agent._agent.channel.socket.close()
""",
        earns=TWO_OF_THREE,
    ),
]
