"""Where students' code runs: a warm zygote inside bubblewrap, one confined kernel a submission."""

from .control import ExitInfo, KernelFailed, Usage
from .isolation import FULL, LADDER, UID, WEAKER, Isolation, level_of, levels_down_to
from .pool import KernelSource, Limits, Sandbox, Settings, SharedSandbox, Ticket, check
from .process import SandboxUnavailable
from .provisioner import SandboxKernelManager, SandboxProvisioner, kernel_manager
from .separate_user import UserSandbox, sandbox_for

__all__ = [
    "FULL",
    "LADDER",
    "UID",
    "WEAKER",
    "ExitInfo",
    "Isolation",
    "KernelFailed",
    "KernelSource",
    "Limits",
    "Sandbox",
    "SandboxKernelManager",
    "SandboxProvisioner",
    "SandboxUnavailable",
    "Settings",
    "SharedSandbox",
    "Ticket",
    "Usage",
    "UserSandbox",
    "check",
    "kernel_manager",
    "level_of",
    "levels_down_to",
    "sandbox_for",
]
