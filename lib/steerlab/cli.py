"""The command `steerlab`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from steerlab.handin import check_notebook


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line. Exit code 0: all well; 1: something to mend; 2: wrong usage."""
    parser = argparse.ArgumentParser(
        prog="steerlab", description="Steer language models and train sparse autoencoders."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    check = commands.add_parser(
        "check", help="say what would go wrong with your notebook in grading; nothing is run"
    )
    check.add_argument("notebook", metavar="NOTEBOOK", help="path of the .ipynb file")
    arguments = parser.parse_args(argv)
    return _check(arguments.notebook)


def _check(notebook: str) -> int:
    try:
        findings = check_notebook(notebook)
    except OSError as error:
        print(f"steerlab check: {error}", file=sys.stderr)
        return 2
    for finding in findings:
        print(finding)
    problems = sum(finding.level == "problem" for finding in findings)
    if problems:
        print(f"{notebook}: {problems} to mend before you hand it in.")
        return 1
    print(f"{notebook}: nothing stands in the way of grading.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
