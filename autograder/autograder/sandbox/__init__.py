"""Where students' code runs: a warm zygote inside bubblewrap, one confined kernel a submission."""

from .control import ExitInfo, KernelFailed, Usage
from .isolation import Isolation
from .pool import Limits, Sandbox, SandboxUnavailable, Settings, check
from .provisioner import SandboxKernelManager, SandboxProvisioner, kernel_manager

__all__ = [
    "ExitInfo",
    "Isolation",
    "KernelFailed",
    "Limits",
    "Sandbox",
    "SandboxKernelManager",
    "SandboxProvisioner",
    "SandboxUnavailable",
    "Settings",
    "Usage",
    "check",
    "kernel_manager",
]
