"""Which layers stand between a student's code and the grader; recorded with each result."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields


@dataclass(frozen=True)
class Isolation:
    """One flag a layer: True where it is in force."""

    namespaces: bool  # own user, mount, process, ipc, network and host-name namespaces
    read_only_system: bool  # interpreter and libraries read-only; no course file, no home
    no_network: bool
    no_privileges: bool  # no capabilities, no way to gain any
    process_limits: bool  # CPU, memory, processes, file size, descriptors
    memory_watchdog: bool  # the sum over a submission's processes is bounded
    seccomp: bool
    ordinary_user: bool  # not root's user number, which some limits exempt

    @property
    def level(self) -> str:
        """One word for tables: "full", or "weaker" when a layer is missing."""
        return "full" if all(asdict(self).values()) else "weaker"

    def __str__(self) -> str:
        missing = [field.name for field in fields(self) if not getattr(self, field.name)]
        return self.level + (f" (without {', '.join(missing)})" if missing else "")

    def as_dict(self) -> dict[str, bool]:
        """Plain values, for a result file."""
        return asdict(self)
