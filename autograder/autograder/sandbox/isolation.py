"""Which layers stand between a student's code and the grader: a ladder of three levels.

    full     each kernel has namespaces of its own (user, mount, process, ipc, network, host name),
             a private file system, no capabilities, a system call filter and limits.
    uid      for machines that forbid namespaces: each kernel is a user of its own, whom Landlock
             shows the system and one private folder, whom the filter lets make no socket at all,
             and of whom nothing is left alive at the end. Everything else as above.
    weaker   a layer of both is missing; the text says which.

The level in force is printed, recorded with each result, and part of the key that results are kept
under. Grading asks for "full", a Gradescope package for "uid"; less than was asked for is refused
unless the instructor says `--allow-weaker-sandbox`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

FULL, UID, WEAKER = LADDER = ("full", "uid", "weaker")
CGROUP, WATCHDOG = "cgroup and watchdog", "watchdog"


@dataclass(frozen=True)
class Isolation:
    """One flag a layer: True where it is in force. Beside them, what bounds the sum of memory."""

    namespaces: bool  # own user, mount, process, ipc, network and host-name namespaces
    own_files: bool  # system read-only, no course file, no home: by mounts, or else by Landlock
    no_network: bool
    no_privileges: bool  # no capabilities, no way to gain any
    process_limits: bool  # CPU, memory, processes, file size, descriptors
    memory_bound: bool  # the sum over a submission's processes is bounded
    seccomp: bool
    ordinary_user: bool  # not root's user number, which some limits exempt
    memory_by: str = WATCHDOG

    @property
    def level(self) -> str:
        """Where on the ladder this is."""
        missing = set(self.missing)
        if not missing:
            return FULL
        return UID if missing == {"namespaces"} else WEAKER

    @property
    def missing(self) -> list[str]:
        """Layers that are not in force."""
        return [field.name for field in fields(self) if getattr(self, field.name) is False]

    def layers(self) -> dict[str, bool]:
        """The flags alone."""
        return {name: value for name, value in asdict(self).items() if isinstance(value, bool)}

    def __str__(self) -> str:
        """One line for terminals and results: the level, what is missing, what bounds memory."""
        without = f"without {', '.join(self.missing)}; " if self.missing else ""
        return f"{self.level} ({without}memory bounded by {self.memory_by})"


def level_of(text: str) -> str:
    """The level that a recorded line (`str` of an Isolation) names; "weaker" where it names none."""
    word = text.partition(" ")[0]
    return word if word in LADDER else WEAKER


def levels_down_to(asked: str) -> tuple[str, ...]:
    """The levels that satisfy whoever asks for `asked`, strongest first."""
    return LADDER[: LADDER.index(asked) + 1]
