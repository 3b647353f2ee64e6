"""`steerlab doctor`: which model this machine can take, said before one is loaded."""

from __future__ import annotations

import argparse

from steerlab.commands import explained


def add_to(commands: argparse._SubParsersAction) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "doctor",
        help="say which model fits this machine, before it is loaded",
        description=(
            "Look at this machine (GPU, memory, disk, hub, packages) and say for every model of the "
            "course whether it fits and what to choose instead. Exit code 1: a package is not what "
            "the course needs, or the model asked for cannot be loaded."
        ),
    )
    parser.add_argument("--model", metavar="NAME", help="one model only, e.g. gemma-2-2b-it")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.set_defaults(run=explained("doctor", _doctor))


def _doctor(arguments: argparse.Namespace) -> int:
    import json

    from steerlab.doctor import diagnose, examine

    found = diagnose(examine(), arguments.model)
    print(json.dumps(found.as_json()) if arguments.json else found)
    return 0 if found.ok else 1
