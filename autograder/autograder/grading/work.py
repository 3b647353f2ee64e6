"""One job for one worker: a clean notebook and what to grade it with, in; its result, out.

A worker is a process of its own, on this machine or another. It trusts the job's sender, and checks
only that both mean the same thing: the same hidden tests, packages and settings.

Whoever sends jobs imports this module too, and starts the sandbox first of all: what takes long to
import is imported where it is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..course import Assignment, Course, CourseError, load_course
from ..sandbox import KernelSource, Limits, Sandbox, Settings, SharedSandbox, Ticket, sandbox_for

if TYPE_CHECKING:
    from .run import Runner
    from .trial import Trial


class OtherCourse(CourseError):
    """A worker has other hidden tests, packages or settings than whoever sent the job."""


@dataclass(frozen=True)
class Job:
    """What one worker needs for one submission; plain data.

    ticket: a sandbox to share, where the worker runs on the machine that has started one.
    trial: what to change in how it is scored, where hidden tests are being tested.
    allow_weaker: a worker elsewhere may run it at a lower level of isolation.
    """

    key: str
    repository: Path
    assignment: str
    environment: dict[str, Any]
    secret: bytes
    notebook: str
    repairs: tuple[str, ...]
    ticket: Ticket | None = None
    trial: Trial | None = None
    allow_weaker: bool = False


def sandbox_settings(
    course: Course, assignment: Assignment, *private: Path, allow_weaker: bool = False
) -> Settings:
    """How the sandbox of an assignment is made; `private` folders do not show in it.

    allow_weaker: a lower level of isolation will do where the full one cannot be had.
    """
    limits = course.limits
    return Settings(
        withheld=assignment.withheld,
        hidden=(course.repository, *private),
        package=course.repository / "lib" / "steerlab",
        allow_weaker=allow_weaker,
        preload=course.preload,
        libraries=assignment.libraries,
        limits=Limits(
            cpu_seconds=int(limits.submission_wall_seconds), memory_bytes=limits.memory_mb << 20
        ),
    )


def grade(job: Job) -> str:
    """Grade one submission; the result as JSON. Raises OtherCourse, and what the sandbox raises."""
    import nbformat

    notebook = nbformat.reads(job.notebook, as_version=4)
    return _runner(job).run(job.key, notebook, job.repairs, job.trial).to_json()


#: The runner that this worker made last, and what it is for; a class is graded with one.
_kept: list[tuple[tuple[Any, ...], Runner]] = []


def _runner(job: Job) -> Runner:
    folder = job.ticket.folder if job.ticket else None
    purpose = (
        job.repository,
        job.assignment,
        job.environment,
        job.secret,
        folder,
        job.allow_weaker,
    )
    if _kept and _kept[0][0] == purpose:
        return _kept[0][1]
    while _kept:
        _, old = _kept.pop()
        if isinstance(old.sandbox, Sandbox):
            old.sandbox.stop()
    runner = _new_runner(job)
    _kept.append((purpose, runner))
    return runner


def _new_runner(job: Job) -> Runner:
    from ..results import environment_of
    from .run import Runner, check_tests

    here = load_course(job.repository if job.repository.is_dir() else None)
    assignment = here.assignment(job.assignment)
    environment = environment_of(here, assignment)
    if different := [name for name in environment if environment[name] != job.environment[name]]:
        raise OtherCourse(
            f"A worker's course differs from this one in {', '.join(different)}: "
            "give every worker the same repository and packages. Nothing was graded there."
        )
    check_tests(here.hidden_tests(assignment.id), assignment)
    sandbox: KernelSource
    if job.ticket is not None:
        sandbox = SharedSandbox(job.ticket)
    else:
        settings = sandbox_settings(here, assignment, allow_weaker=job.allow_weaker)
        sandbox = own = sandbox_for(settings)
        own.start()
    return Runner(sandbox, here, assignment, job.secret, environment)
