"""What this machine has: memory, disk, the hub, the packages. Facts, which `planning` judges."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steerlab.hub import GIB, KNOWN, cache_folder, cached, disk_free_gib, has_token, hub_in_reach
from steerlab.planning import Machine

PACKAGES = ("torch", "transformers", "transformer-lens", "ipywidgets")

CGROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class Package:
    """An installed package: its version, None where it is missing, and the range asked for."""

    name: str
    version: str | None
    wanted: str

    @property
    def good(self) -> bool:
        """Whether it is there, in a version that the requirements allow."""
        from packaging.specifiers import SpecifierSet

        if self.version is None:
            return False
        return SpecifierSet(self.wanted).contains(self.version, prereleases=True)


@dataclass(frozen=True)
class Facts:
    """What `steerlab doctor` looks at. Memory and disk in GiB.

    cached: known models whose whole copy lies in the hub's cache. token: whether there is one.
    """

    machine: Machine
    gpu_total: float
    ram_total: float
    disk_free: float
    cache: str
    cached: frozenset[str]
    hub: bool
    token: bool
    packages: tuple[Package, ...]


def this_machine(device: Any = None) -> Machine:
    """Memory of this machine now, and of one of its GPUs, the first where none is named."""
    ram_free, _ = ram_gib()
    try:
        import torch
    except ImportError:  # `steerlab doctor` says so among the packages
        return Machine(ram_free)
    if not torch.cuda.is_available() or getattr(device, "type", "cuda") != "cuda":
        return Machine(ram_free)
    return Machine(
        ram_free,
        gpu=torch.cuda.get_device_name(device),
        gpu_free=torch.cuda.mem_get_info(device)[0] / GIB,
        # A T4 claims bfloat16 by emulating it, many times slower than its native float16.
        native_bfloat16=torch.cuda.is_bf16_supported(including_emulation=False),
        bitsandbytes=importlib.util.find_spec("bitsandbytes") is not None,
    )


def ram_gib(cgroup: Path = CGROUP) -> tuple[float, float]:
    """(free, all) memory in GiB: the machine's, or what a container leaves of it."""
    import psutil

    memory = psutil.virtual_memory()
    free, total = memory.available, memory.total
    try:
        limit = int((cgroup / "memory.max").read_text())  # "max" where there is no limit
        used = int((cgroup / "memory.current").read_text())
        lines = (cgroup / "memory.stat").read_text().splitlines()
        # Pages of files that can be dropped count as used, and are free for the taking.
        droppable = sum(int(line.split()[1]) for line in lines if line.startswith("inactive_file "))
    except (OSError, ValueError):
        return free / GIB, total / GIB
    return max(0, min(free, limit - used + droppable)) / GIB, min(total, limit) / GIB


def examine() -> Facts:
    """Look at this machine, once. Asks the hub whether it answers, and nothing else of anybody."""
    machine = this_machine()
    gpu_total = 0.0
    if machine.gpu:
        import torch

        gpu_total = torch.cuda.mem_get_info()[1] / GIB
    return Facts(
        machine=machine,
        gpu_total=gpu_total,
        ram_total=ram_gib()[1],
        disk_free=disk_free_gib(),
        cache=_from_home(cache_folder()),
        cached=frozenset(name for name, source in KNOWN.items() if cached(source) is not None),
        hub=hub_in_reach(),
        token=has_token(),
        packages=installed(PACKAGES),
    )


def _from_home(path: Path) -> str:
    """A path as people write it: with ~ for their home."""
    try:
        return str(Path("~") / path.absolute().relative_to(Path.home()))
    except (ValueError, RuntimeError):
        return str(path)


def installed(names: Sequence[str]) -> tuple[Package, ...]:
    """Packages as they are installed, with the ranges that steerlab's own metadata asks for."""
    from importlib import metadata

    from packaging.requirements import Requirement

    try:
        wanted = {
            asked.name.lower(): str(asked.specifier)
            for asked in map(Requirement, metadata.requires("steerlab") or ())
            if asked.marker is None or asked.marker.evaluate({"extra": ""})
        }
    except metadata.PackageNotFoundError:  # used from its sources, without an installation
        wanted = {}
    found = []
    for name in names:
        try:
            version: str | None = metadata.version(name)
        except metadata.PackageNotFoundError:
            version = None
        found.append(Package(name, version, wanted.get(name, "")))
    return tuple(found)
