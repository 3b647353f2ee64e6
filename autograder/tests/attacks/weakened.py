"""The test-only ways to switch one defence off: a weakened sandbox, and the naive way to grade."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import sys
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from autograder.grading.cellrunner import KernelRun
from autograder.sandbox import KernelSource, Limits, Sandbox, layout
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from autograder import cells

# Appended to the inside modules of the weakened sandbox alone. A kernel's request names the walls
# that it is started without; all others stand.
CONFINE = """

WITHOUT = set()
_real = dict(globals())


def unshare(flags):
    flags &= ~(CLONE_NEWNET if "network" in WITHOUT else 0)
    _real["unshare"](flags & ~(CLONE_NEWPID if "processes" in WITHOUT else 0))


def mount(source, target, kind, flags, data=""):
    if kind != "proc" or "processes" not in WITHOUT:
        _real["mount"](source, target, kind, flags, data)


def private_filesystem(disk_bytes):
    if "files" not in WITHOUT:
        return _real["private_filesystem"](disk_bytes)
    import shutil

    unshare(CLONE_NEWNS)
    mount(None, "/", None, MS_REC | MS_PRIVATE)
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    os.makedirs(f"{HOME}/work", exist_ok=True)
    shutil.rmtree(f"{HOME}/.config", ignore_errors=True)
    os.chdir(f"{HOME}/work")


def drop_capabilities():
    if "privileges" not in WITHOUT:
        _real["drop_capabilities"]()
"""
MONITOR = """

class _Json:
    dumps = staticmethod(json.dumps)

    @staticmethod
    def loads(text, _loads=json.loads):
        from . import confine

        packet = _loads(text)
        confine.WITHOUT.update(packet.get("without", ()))
        return packet


json = _Json
"""
KERNEL = """

def _silence_standard_streams(_real=_silence_standard_streams):
    if "streams" not in confine.WITHOUT:
        _real()
"""
WRAPPER = """\
#!{python}
import os, sys
words = sys.argv[1:]
words.remove("--unshare-net")
lab = words.index("/lab") - 2
words[lab] = "--bind"
os.system("chmod -R a+rwX " + words[lab + 1])
end = len(words) - 1 - words[::-1].index("--remount-ro")
words[end:end] = {extra!r}
start = words.index("--chdir")
words[start:start] = {environment!r}
os.execv({bwrap!r}, [{bwrap!r}, *words])
"""


@contextmanager
def weakened_sandbox(plain: Sandbox, shown: dict[Path, Path], scratch: Path, secret: str) -> Any:
    """A second sandbox that shows the folders `shown` (seen as: what is there), for controls only."""
    extra = [word for path in _parents(shown) for word in ("--perms", "0755", "--dir", str(path))]
    for seen_as, folder in shown.items():
        extra += ["--bind", str(folder), str(seen_as)]
    environment = ["--setenv", "COURSE_SECRET", secret]
    wrapper = scratch / "bin" / "bwrap"
    wrapper.parent.mkdir()
    real = shutil.which("bwrap")
    text = WRAPPER.format(python=sys.executable, extra=extra, environment=environment, bwrap=real)
    wrapper.write_text(text)
    wrapper.chmod(0o755)
    write_inside = layout.write_inside

    def write_weakened(folder: Path) -> None:
        write_inside(folder)
        for name, more in (("confine", CONFINE), ("monitor", MONITOR), ("kernel", KERNEL)):
            path = folder / "lab" / "confined" / "sandbox" / f"{name}.py"
            path.write_text(path.read_text() + more)

    sandbox = Sandbox(plain.settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "write_inside", write_weakened)
        patch.setenv("PATH", f"{wrapper.parent}:{os.environ['PATH']}")
        sandbox.launch()
    try:
        yield sandbox
    finally:
        sandbox.stop()


def _parents(shown: dict[Path, Path]) -> list[Path]:
    above = {parent for path in shown for parent in path.parents} - {Path("/"), Path("/tmp")}
    return sorted(above, key=lambda path: len(path.parts))


class Weakened(KernelSource):
    """Kernels of the weakened sandbox without the named walls, or with other limits."""

    def __init__(
        self, sandbox: Sandbox, walls: tuple[str, ...] = (), limits: Limits | None = None
    ) -> None:
        super().__init__(sandbox.settings)
        self.sandbox, self.walls, self.limits = sandbox, walls, limits
        self.folder, self.isolation = sandbox.folder, sandbox.isolation
        self._filter = b"" if "calls" in walls else sandbox._filter

    def fork(self) -> socket.socket:
        return self.sandbox.fork()

    def request(self, connection: dict[str, Any], limits: Limits | None = None) -> dict[str, Any]:
        bounds = asdict(limits or self.limits or self.settings.limits)
        request = super().request(connection, limits)
        return {**request, "limits": bounds, "without": list(self.walls)}


#: Test cells as stock nbgrader runs them: in the student's process, right after the answer.
NAIVE_TESTS = {
    "assert": {
        "double": "assert double(7) == 14\nassert double(@INPUT@) == @INPUT@ + @INPUT@",
        "shift": "assert shift(5, 7) == 15",
    },
    "numpy": {
        "double": "import numpy.testing\nnumpy.testing.assert_allclose(double(7), 14)",
        "shift": "import numpy.testing\nnumpy.testing.assert_allclose(shift(5, 7), 15)",
    },
}


def grade_naively(
    source: KernelSource,
    notebook: NotebookNode,
    worth: dict[str, float],
    tests: str,
    canary: str,
) -> float:
    """Run a notebook in which every score cell holds its tests; a cell without error is full marks.

    The notebook's outputs are left as they come, tests' tracebacks included.
    """

    async def run() -> float:
        kernel = KernelRun(source, notebook, 10.0)
        await kernel.start()
        score = 0.0
        try:
            for index, cell in enumerate(notebook.cells):
                if cell.cell_type != "code" or cells.role(cell) in (cells.EXPLORE, cells.INSTALL):
                    continue
                shown, task = cell, cells.task(cell)
                if cells.role(cell) == cells.SCORE and task:
                    code = f"# {canary}\n" + NAIVE_TESTS[tests][task]
                    cell = new_code_cell(code.replace("@INPUT@", repr(canary)))
                fate = await kernel.execute(cell, index)
                shown.outputs = cell.outputs
                if cells.role(shown) == cells.SCORE and fate.how == "ok":
                    score += worth[str(task)]
        finally:
            await kernel.close()
        return score

    return asyncio.run(run())
