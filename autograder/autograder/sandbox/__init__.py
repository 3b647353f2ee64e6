"""Where students' code runs: a warm zygote inside bubblewrap, one confined kernel a submission."""

from .control import ExitInfo, KernelFailed, Usage
from .isolation import Isolation
from .pool import (
    KernelSource,
    Limits,
    Sandbox,
    SandboxUnavailable,
    Settings,
    SharedSandbox,
    Ticket,
    check,
)
from .provisioner import SandboxKernelManager, SandboxProvisioner, kernel_manager

__all__ = [
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
    "check",
    "kernel_manager",
]
