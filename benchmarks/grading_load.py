"""What a batch does to the machine while it runs: memory, descriptors, processes, steadiness."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from dataclasses import dataclass
from datetime import datetime
from statistics import fmean, median

import psutil
from autograder.course import CourseFolder, load_course
from autograder.grading.cellrunner import KernelRun
from autograder.grading.work import sandbox_settings
from autograder.sandbox import Sandbox
from nbformat import NotebookNode

from autograder import cells

INSIDE = "confined.sandbox"  # what the command line of everything in a sandbox holds
OURS = (INSIDE, "multiprocessing.forkserver", "autograder grade")


def recorded_at(folder: CourseFolder) -> list[float]:
    """When each submission of a batch was recorded, in seconds, in order, from the ledger."""
    events = [json.loads(line) for line in folder.ledger.read_text("utf-8").splitlines()]
    return sorted(datetime.fromisoformat(event["when"]).timestamp() for event in events)


def throughput(folder: CourseFolder) -> float:
    """Submissions a second, from the second one recorded to the last: without the start."""
    times = recorded_at(folder)
    return (len(times) - 2) / (times[-1] - times[1])


def last_over_first(folder: CourseFolder, watch: Watch) -> dict[str, float]:
    """The last third of a batch over its first: submissions a second, from the ledger, and how fast
    the machine was meanwhile. The first is for a machine that stays as it is: both are divided.
    """
    times = recorded_at(folder)
    third = len(times) // 3
    first, last = (times[0], times[third]), (times[-1 - third], times[-1])
    rates = (first[1] - first[0]) / (last[1] - last[0])
    speed = watch.speed(*last) / watch.speed(*first)
    return {
        "throughput_last_over_first": round(rates / speed, 3),
        "machine_speed_last_over_first": round(speed, 3),
    }


def megabytes_of_one_more(class_: dict[str, NotebookNode], more: int = 2) -> float:
    """Proportional memory that one more submission takes, its cells run and its kernel alive."""
    course = load_course()
    assignment = next(iter(course.assignments.values()))
    notebooks = list(class_.values())

    async def run() -> float:
        runs: list[KernelRun] = []
        weights: list[float] = []
        try:
            for notebook in (notebooks * (more + 1))[: more + 1]:
                kernel = KernelRun(sandbox, notebook, course.limits.cell_cpu_seconds)
                runs.append(kernel)
                await kernel.start()
                for index, cell in enumerate(notebook.cells):
                    role, _ = cells.role_of_release_cell(cell)
                    if cell.cell_type == "code" and role not in (cells.EXPLORE, cells.INSTALL):
                        await kernel.execute(cell, index)
                weights.append(_pss(_in_sandboxes()))
        finally:
            for kernel in runs:
                await kernel.close()
        return (weights[-1] - weights[0]) / more

    with Sandbox(sandbox_settings(course, assignment)) as sandbox:
        return asyncio.run(run()) / (1 << 20)


def _in_sandboxes() -> list[psutil.Process]:
    here = psutil.Process().children(recursive=True)
    return [process for process in here if INSIDE in " ".join(process.cmdline())]


def _pss(processes: list[psutil.Process]) -> float:
    total = 0.0
    for process in processes:
        try:
            total += process.memory_full_info().pss
        except psutil.Error:
            continue  # it has just ended
    return total


@dataclass(frozen=True)
class Sample:
    """One look at the grader's own processes, without the sandbox's."""

    when: float
    rss: int
    descriptors: int
    loop_s: float  # what a fixed piece of work takes of processor time: others slow it down, too


class Watch:
    """`with Watch() as watch:` looks at the process trees started in the block, twice a second."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._started = time.time()
        self.leftover = 0

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        time.sleep(1)
        self.leftover = sum(
            any(words in " ".join(process.info["cmdline"] or ()) for words in OURS)
            for process in psutil.process_iter(["cmdline", "create_time"])
            if process.info["create_time"] >= self._started
        )

    def figures(self) -> dict[str, float]:
        """Growth from the middle third of the samples to the last, and what is left."""
        third = len(self.samples) // 3
        middle, last = self.samples[third : 2 * third], self.samples[2 * third : 3 * third]
        rss = fmean(s.rss for s in last) - fmean(s.rss for s in middle)
        opened = fmean(s.descriptors for s in last) - fmean(s.descriptors for s in middle)
        return {
            "rss_growth_mb": round(rss / (1 << 20), 1),
            "descriptor_growth": round(opened, 1),
            "leftover_processes": self.leftover,
        }

    def speed(self, since: float, until: float) -> float:
        """Fixed pieces of work a second of processor time, between two times."""
        return 1 / median(s.loop_s for s in self.samples if since <= s.when <= until)

    def _look(self) -> None:
        while not self._stop.wait(0.5):
            rss = opened = 0
            for process in psutil.Process().children(recursive=True):
                try:
                    if INSIDE not in " ".join(process.cmdline()):
                        rss += process.memory_info().rss
                        opened += process.num_fds()
                except psutil.Error:
                    continue  # it has just ended
            started = time.thread_time()
            sum(number * number for number in range(100_000))
            if rss:
                spent = time.thread_time() - started
                self.samples.append(Sample(time.time(), rss, opened, spent))
