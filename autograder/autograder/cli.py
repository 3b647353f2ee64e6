"""The `autograder` command: what its words do is in `commands/`, one module each.

Exit codes: 0 done; 1 a check failed (a build's or a validation's); 2 wrong use, or something that
must be mended first; 3 some submissions were left ungraded by a failure of the machinery.
"""

from __future__ import annotations

import argparse
import atexit
import gc
import importlib
import os
import pkgutil
import sys
from collections.abc import Sequence
from pathlib import Path

from . import commands
from .course import CourseError
from .terminal import MEND_FIRST


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    top = argparse.ArgumentParser(
        prog="autograder", description="Build, grade and check the steerlab assignments."
    )
    top.add_argument(
        "--repository", type=Path, help="the course repository (default: found from here)"
    )
    words = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for found in sorted(pkgutil.iter_modules(commands.__path__), key=lambda module: module.name):
        module = importlib.import_module(f"{commands.__name__}.{found.name}")
        name = found.name.replace("_", "-")
        sub = words.add_parser(name, help=module.HELP, description=module.__doc__)
        module.arguments(sub)
        sub.set_defaults(run=module.run)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    atexit.register(gc.freeze)  # or its end would begin with a search of all modules for garbage
    options = parser().parse_args(arguments)
    # One thread for the hidden tests' own arithmetic: the same sums every time, and no spinning.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Imported here: `autograder --help` need not wait for the sandbox.
    from .sandbox import SandboxUnavailable

    try:
        return int(options.run(options))
    except (CourseError, SandboxUnavailable) as error:
        print(f"autograder: {error}", file=sys.stderr)
        return getattr(error, "exit_code", MEND_FIRST)
    except KeyboardInterrupt:
        print("autograder: stopped; what was graded is kept.", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
