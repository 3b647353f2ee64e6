"""The larger commands of `steerlab`, one module each.

A module has `add_to(commands)`, which declares its options without importing torch, and the
function that does the work. What goes wrong is one sentence on stderr and exit code 2.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from typing import Any


def explained(name: str, work: Callable[[Any], int]) -> Callable[[Any], int]:
    """The same work, with expected failures as one line on stderr and exit code 2."""

    @wraps(work)
    def run(arguments: Any) -> int:
        from steerlab.hub import ModelUnavailable

        try:
            return work(arguments)
        except (ValueError, TypeError, OSError, ModelUnavailable) as error:
            print(f"steerlab {name}: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print(f"steerlab {name}: interrupted; --resume goes on from here", file=sys.stderr)
            return 130

    return run
