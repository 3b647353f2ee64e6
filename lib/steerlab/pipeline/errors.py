"""What goes wrong in a pipeline that runs for hours, each in one sentence with the way on."""

from __future__ import annotations

import errno
import os


class PipelineError(ValueError):
    """A step of the pipeline cannot go on; the message says what, where, and how to mend it."""


def disk_trouble(error: OSError, path: str | os.PathLike[str], size: int = 0) -> str:
    """One sentence for a file that could not be written: what to do, and that nothing is lost."""
    about = f" (about {size / 1e6:,.0f} MB)" if size else ""
    full = {errno.ENOSPC: "the disk is full", errno.EDQUOT: "your disk quota is used up",
            errno.EFBIG: "the limit on file sizes is reached"}  # fmt: skip
    reason = full.get(error.errno or 0) or next(
        (said for said in full.values() if said.split()[-1] in str(error).lower()), one_line(error)
    )
    return (
        f"{os.fspath(path)}{about} could not be written: {reason}. What was finished before it is "
        "safe: make room and repeat the command with --resume"
    )


def one_line(error: BaseException) -> str:
    """The first line of an error's message, cut at a readable length."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:200]
