"""`steerlab explore`: the explorer as a web page on this machine."""

from __future__ import annotations

import argparse

from steerlab.commands import explained


def add_to(commands: argparse._SubParsersAction) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "explore",
        help="steer a model in the browser: directions, features and doses to play with",
        description="Serve the explorer as a web page, on this machine alone and behind a token. "
        "It needs the extra `explore` (Voilà).",
    )
    parser.add_argument(
        "--model", default="tiny", help="a known name or a checkpoint's folder (%(default)s)"
    )
    parser.add_argument("--sae", help="an autoencoder as load_sae names it; the model's by default")
    parser.add_argument("--port", type=int, default=8866, help="to listen on (%(default)s)")
    parser.add_argument("--no-browser", action="store_true", help="print the address, open nothing")
    parser.set_defaults(run=explained("explore", _explore))


def _explore(arguments: argparse.Namespace) -> int:
    from steerlab.explore.server import serve

    serve(arguments.model, sae=arguments.sae, port=arguments.port, browser=not arguments.no_browser)
    return 0
