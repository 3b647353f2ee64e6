"""The workers that submissions run on: Dask's, on this machine or behind a scheduler's address.

Local workers are forked from one process that has imported everything once, and share one sandbox.
Their traffic is encrypted, so that no other user of the machine can send them work.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from multiprocessing import forkserver
from pathlib import Path
from typing import TYPE_CHECKING

from ..course import Assignment, Course, CourseError
from ..sandbox import Sandbox, sandbox_for
from ..sandbox.zygote import TORCH_ALONE
from . import work
from .work import Job

if TYPE_CHECKING:
    from distributed import Client, Future

    from ..results import Result

WARM = "autograder.grading.warm"  # what the workers' parent imports
PRELOAD = "STEERLAB_PRELOAD"  # and the variable that names the model for it to load
LOCAL = {
    "distributed.worker.multiprocessing-method": "forkserver",
    "distributed.scheduler.http.routes": [],  # no page to look at: the progress bar tells
    "distributed.worker.http.routes": [],
    # Dask's log of the last thousand messages would keep every notebook that was sent.
    "distributed.admin.low-level-log-length": 1,
}
CONNECT_SECONDS = 15
WORKER_MB = 700  # what a worker takes itself
QUIET = ("distributed", "distributed.nanny", "distributed.worker", "distributed.scheduler")


def fitting(processors: int, submission_mb: int, free_mb: float) -> int:
    """How many workers the free memory bears, up to one for each processor and at least one.

    Each may have a submission that takes all it is allowed, beside the worker's own process.
    """
    return max(1, min(processors, int(free_mb // (submission_mb + WORKER_MB))))


def held_for(hidden_tests: Path, preload: str) -> str:
    """What the workers hold ready: the model only for hidden tests that load one themselves.

    It takes seconds; those that hand the sandbox's own model to students (`student.model`) need none.
    """
    loads = hidden_tests.is_file() and "load_model" in hidden_tests.read_text("utf-8", "replace")
    return preload if loads or not preload else TORCH_ALONE


class WorkersGone(CourseError):
    """The scheduler went away while submissions were out; what had come back is kept."""

    exit_code = 3


class Workers:
    """`with Workers(...) as workers:` processes that grade submissions, and their sandbox.

    count: local processes (default: one for each core, as far as memory goes); scheduler: an
    address to use instead, whose workers have the course.
    allow_weaker: a lower level of isolation will do where the full one cannot be had.
    """

    def __init__(
        self,
        course: Course,
        assignment: Assignment,
        private: Sequence[Path] = (),
        count: int | None = None,
        scheduler: str | None = None,
        allow_weaker: bool = False,
    ) -> None:
        self.settings = work.sandbox_settings(
            course, assignment, *private, allow_weaker=allow_weaker
        )
        self._held_by_workers = held_for(course.hidden_tests(assignment.id), self.settings.preload)
        self._count, self._submission_mb = count, course.limits.memory_mb
        self.scheduler = scheduler
        self.sandbox: Sandbox | None = None
        self._client: Client | None = None
        self._sent: dict[Future[str], str] = {}
        self._closing = ExitStack()

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.close()

    def launch(self) -> None:
        """Begin to start the local sandbox and workers, without waiting; raises SandboxUnavailable."""
        if self.scheduler is None and self.sandbox is None:
            self.sandbox = sandbox_for(self.settings)
            self._closing.callback(self.sandbox.stop)
            self.sandbox.launch()  # it imports for itself, and so does the workers' parent
            multiprocessing.get_context("forkserver").set_forkserver_preload([WARM])
            os.environ[PRELOAD] = self._held_by_workers
            forkserver.ensure_running()

    def start(self) -> None:
        """Wait until workers can be given work; raises SandboxUnavailable, CourseError."""
        if self._client is None:
            self.launch()
            client = self._connected() if self.scheduler else self._local()
            self._client = self._closing.enter_context(client)
            if self.sandbox is not None:
                self.sandbox.start()

    def _local(self) -> Client:
        # Imported here, when the sandbox and the workers' parent are importing already.
        import dask
        import distributed.utils
        import psutil
        from dask.system import CPU_COUNT  # what a container leaves of them
        from distributed import Client, LocalCluster
        from distributed.security import Security
        from distributed.system import MEMORY_LIMIT

        # The workers' parent has its preloads: without this, Dask imports pandas here to name it one.
        distributed.utils._forkserver_preload_set = True
        for name in QUIET:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        free_mb = min(psutil.virtual_memory().available, MEMORY_LIMIT) / 2**20
        scratch = tempfile.TemporaryDirectory(prefix="steerlab-workers-")
        with dask.config.set(LOCAL):
            cluster = LocalCluster(
                n_workers=self._count or fitting(CPU_COUNT, self._submission_mb, free_mb),
                threads_per_worker=1,
                security=Security.temporary(),
                local_directory=self._closing.enter_context(scratch),
                memory_limit=0,
                dashboard_address="127.0.0.1:0",
                silence_logs=logging.CRITICAL,
            )
        self._closing.callback(cluster.close)
        return Client(cluster)

    def _connected(self) -> Client:
        from distributed import Client

        try:
            return Client(self.scheduler, timeout=CONNECT_SECONDS)
        except (OSError, ValueError) as error:
            why = str(error).splitlines()[0].rstrip(".")
            raise CourseError(
                f"No Dask scheduler answers at {self.scheduler} ({why}). Start one with `dask "
                "scheduler`, or leave --scheduler out to grade on this machine."
            ) from error

    @property
    def isolation(self) -> str:
        """The isolation in force here; other machines' workers say theirs in each result."""
        return str(self.sandbox.isolation) if self.sandbox else "as each worker records"

    def send(self, jobs: Mapping[str, Job]) -> None:
        """Hand out jobs, each under a name of the caller's."""
        self.start()
        assert self._client is not None
        ticket = self.sandbox.share() if self.sandbox else None
        for name, job in jobs.items():
            ticketed = replace(job, ticket=ticket, allow_weaker=self.settings.allow_weaker)
            self._sent[self._client.submit(work.grade, ticketed, pure=False, retries=1)] = name

    def results(self) -> Iterator[tuple[str, Result | Exception]]:
        """Name and result as they come; the machinery's own failure comes as its exception."""
        if not self._sent:
            return
        from distributed import as_completed

        from ..results import Result

        for future in as_completed(list(self._sent)):
            if future.status == "cancelled":
                raise WorkersGone(
                    f"The Dask scheduler {self.scheduler or 'of this machine'} went away. What was "
                    "graded is kept: repeat the command when it is back."
                )
            name, error = self._sent.pop(future), future.exception()
            if isinstance(error, Exception):
                yield name, error
            else:
                yield name, Result.from_json(future.result())
