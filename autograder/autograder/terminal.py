"""What the commands share: exit codes, arguments, the progress bar."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

DONE, CHECK_FAILED, MEND_FIRST, MACHINERY_FAILED = 0, 1, 2, 3


def add_course(parser: argparse.ArgumentParser) -> None:
    """The argument that names the course folder."""
    parser.add_argument("--course", type=Path, help="the course folder (default: the current one)")


def add_weaker_sandbox(parser: argparse.ArgumentParser) -> None:
    """The permission to run students' code at less than full isolation."""
    parser.add_argument(
        "--allow-weaker-sandbox",
        action="store_true",
        help="grade even where full isolation cannot be had; the level is printed and recorded",
    )


def positive(text: str) -> int:
    """A whole number from 1 up; raises ArgumentTypeError."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 up")
    return int(text)


def progress(verb: str) -> Progress:
    """A bar on the terminal's error stream: how many of how many, whose, and the time left."""
    return Progress(
        TextColumn(verb),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.description}"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
