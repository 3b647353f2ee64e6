"""The zygote's process as the grader sees it: started, waited for, asked, stopped."""

from __future__ import annotations

import json
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .groups import Group
from .zygote import NO_FILTER

ENVIRONMENT = {
    "PATH": f"{sys.prefix}/bin:/usr/bin:/bin",
    "LANG": "C.UTF-8",
    "PYTHONHASHSEED": "0",  # sets of strings iterate in the same order every time
    "PYTHONDONTWRITEBYTECODE": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "ARROW_DEFAULT_MEMORY_POOL": "system",  # its other allocators start a thread, and we fork
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "TQDM_DISABLE": "1",
    "STEERLAB_ONLY_MODEL": "tiny",
}


class SandboxUnavailable(RuntimeError):
    """No sandbox on this machine; the message is one line: what is missing, how to mend it."""


def environment(home: str, scratch: str) -> dict[str, str]:
    """The variables that the zygote starts with, and every kernel after it."""
    own = {"HOME": home, "TMPDIR": scratch, "MPLCONFIGDIR": f"{home}/.config/matplotlib"}
    return {**ENVIRONMENT, **own}


TRIAL = "trial"  # the zygote's mode in which it builds its walls and loads nothing


def serving(model: str, libraries: Sequence[str] = ()) -> str:
    """The zygote's mode in which it serves kernels that have a model (empty: none) and libraries."""
    return f"serve:{json.dumps([model, *libraries])}"


def start_code(lab: str, more: Sequence[str] = ()) -> str:
    """What Python executes to become the zygote: `lab` holds what runs inside, `more` packages."""
    return (
        f"import sys; sys.path[:0] = [{lab!r}]; sys.path += {list(more)!r}; "
        "from confined.sandbox.zygote import main; main()"
    )


class ZygoteProcess:
    """The process (bubblewrap's, or the zygote's own) and the control socket to the zygote in it.

    The command gets two words more: the number of its end of the socket, then `detail`, which says
    what walls to build. The filter, and a control group to try, are the first packet.
    """

    def __init__(
        self,
        command: list[str],
        detail: Sequence[str],
        variables: dict[str, str],
        log: Path,
        seccomp: bytes,
        group: Group | None = None,
    ) -> None:
        self.master, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._started = threading.Event()
        socket.send_fds(self.master, [seccomp or NO_FILTER], group.descriptors if group else [])
        if group is not None:
            group.sent()
        # "Die with parent" means the thread that started it: this one lives as long as the process.
        words = (*command, str(theirs.fileno()), *detail)
        self._keeper = threading.Thread(
            target=self._keep, args=(words, variables, theirs), daemon=True
        )
        self._keeper.start()
        self._started.wait()

    def _keep(
        self, command: tuple[str, ...], variables: dict[str, str], theirs: socket.socket
    ) -> None:
        with self._log.open("wb") as log, theirs:
            try:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=variables,
                    cwd="/",
                    pass_fds=[theirs.fileno()],
                    start_new_session=True,
                )
            finally:
                theirs.close()
                self._started.set()
        self._process.wait()

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def wait_until_ready(self, timeout: float, explain: Callable[[str], str]) -> dict[str, Any]:
        """The zygote's report; raises SandboxUnavailable with what it says went wrong."""
        if not select.select([self.master], [], [], timeout)[0]:
            raise SandboxUnavailable(f"The sandbox was not ready within {timeout:g} seconds.")
        try:
            packet = self.master.recv(1 << 16)
        except ConnectionError:
            packet = b""  # it ended before it had read anything
        report: dict[str, Any] = json.loads(packet) if packet else {}
        if not report.get("ready"):
            said = report.get("error") or self._log.read_text(errors="replace")
            lines = said.strip().splitlines()
            raise SandboxUnavailable(explain(lines[-1] if lines else "it said nothing"))
        return report

    def stop(self) -> None:
        """Close the socket, which ends the zygote; kill what does not go by itself."""
        self.master.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._keeper.join()
