"""What a notebook from Colab expects and the sandbox does not have: pip does nothing, and says so.

`!pip`, `%pip`, `apt` and friends print one line and succeed, because the course environment is
already installed. `google.colab` is a small stand-in: mounting a drive, reading a secret or offering
a download cannot work in grading, and a notebook that asks for it should go on all the same.
"""

from __future__ import annotations

import importlib
import re
import sys
import types
from typing import Any

SHELL_INSTALLERS = re.compile(
    r"^\s*(sudo\s+)?(python3?\s+-m\s+|uv\s+)?(pip3?|conda|mamba|apt|apt-get|npm|git)\b"
)
MAGICS = ("pip", "conda", "mamba", "uv")


def install(shell: Any) -> None:
    """Put the stand-ins into a new IPython shell."""
    _install_google_colab()
    for name in MAGICS:
        shell.register_magic_function(_magic(name), "line", name)
    run = shell.system

    def system(command: str) -> Any:
        if SHELL_INSTALLERS.match(command):
            _say(command.split()[0])
            shell.user_ns["_exit_code"] = 0
            return None
        return run(command)

    shell.system = shell.system_piped = shell.system_raw = system


def _magic(name: str) -> Any:
    def magic(line: str) -> None:
        _say(f"%{name}")

    magic.__doc__ = f"%{name} does nothing while a notebook is graded."
    return magic


def _say(what: str) -> None:
    print(f"{what}: does nothing in grading; the course environment is installed already.")


def _install_google_colab() -> None:
    """The modules `google` and `google.colab` with what notebooks commonly use."""
    try:
        google = importlib.import_module("google")  # protobuf's, where it is installed
    except ImportError:
        google = types.ModuleType("google")
        google.__path__ = []
    colab = types.ModuleType("google.colab")
    parts: dict[str, dict[str, Any]] = {
        "drive": {"mount": _nothing, "flush_and_unmount": _nothing},
        "files": {"upload": _no_files, "download": _nothing, "view": _nothing},
        "output": {"clear": _nothing, "enable_custom_widget_manager": _nothing},
        "userdata": {"get": _no_secret, "SecretNotFoundError": SecretNotFoundError},
        "widgets": {},
    }
    for name, members in parts.items():
        module = types.ModuleType(f"google.colab.{name}")
        module.__dict__.update(members)
        setattr(colab, name, module)
        sys.modules[module.__name__] = module
    colab.__path__ = []
    google.colab = colab  # type: ignore[attr-defined]
    sys.modules["google"], sys.modules["google.colab"] = google, colab


class SecretNotFoundError(Exception):
    """No secrets are kept in grading."""


def _nothing(*_: Any, **__: Any) -> None:
    return None


def _no_files(*_: Any, **__: Any) -> dict[str, bytes]:
    return {}


def _no_secret(name: str) -> str:
    raise SecretNotFoundError(f"no secret {name!r} in grading")
