"""A web server for one notebook, on this machine alone and behind a token.

Voilà serves it. Everything that can be known to be wrong is found before anything starts.
"""

from __future__ import annotations

import errno
import os
import secrets
import socket
import sys
import threading
import webbrowser
from pathlib import Path
from typing import Any

from steerlab.explore.page import MODEL_VARIABLE, SAE_VARIABLE

HOST = "127.0.0.1"
FOLDER = Path(__file__).parent
NOTEBOOK = FOLDER / "explorer.ipynb"
TEMPLATE = "steerlab"
# Of JupyterLab's extensions the page needs the widgets; others that are installed only slow it down.
WIDGETS = [
    "@jupyter-widgets/jupyterlab-manager",
    "@voila-dashboards/widgets-manager7",
    "@voila-dashboards/widgets-manager8",
]


def serve(model: str, *, sae: str | None = None, port: int = 8866, browser: bool = True) -> None:
    """Show the explorer at http://127.0.0.1:<port>/ until it is interrupted; print its address.

    model: a known name or a folder; sae: as `load_sae` takes it. Both are loaded by the page, and
    what goes wrong there is shown there. Raises ValueError for a model of no known name, a port that
    is taken or no port, or where Voilà is missing; FileNotFoundError for a folder without a model.
    """
    voila = _voila()
    model = _checked_model(model)
    _check_port(port)
    # Kernels inherit these; Voilà looks for templates along Jupyter's path.
    os.environ[MODEL_VARIABLE] = model
    os.environ[SAE_VARIABLE] = _absolute(sae) if sae else ""
    paths = [str(FOLDER / "share" / "jupyter"), os.environ.get("JUPYTER_PATH", "")]
    os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, paths))
    token = secrets.token_urlsafe(24)
    address = f"http://{HOST}:{port}/?token={token}"
    app = _application(voila, port, token, address, browser)
    app.initialize([str(NOTEBOOK)])
    app.start()


def _application(voila: Any, port: int, token: str, address: str, browser: bool) -> Any:
    class Explorer(voila):
        """Voilà, which says where it is once it listens, and reads no configuration of others."""

        def listen(self) -> None:
            from tornado.ioloop import IOLoop

            IOLoop.current().add_callback(_announce, address, browser)
            super().listen()  # returns when it is told to stop

    app = Explorer(
        ip=HOST,
        port=port,
        port_retries=0,
        open_browser=False,
        token=token,
        config_file_paths=[],
        log_level="ERROR",
    )
    own = {
        "template": TEMPLATE,
        "allow_template_override": "NO",
        "allow_theme_override": "NO",
        "show_tracebacks": True,
        "strip_sources": True,
        "file_allowlist": [],
        "extension_allowlist": WIDGETS,
    }
    app.config.VoilaConfiguration.update(own)
    return app


def _announce(address: str, browser: bool) -> None:
    print(f"The explorer of {os.environ[MODEL_VARIABLE]} is at\n\n    {address}\n")
    print("Whoever has this address can use the page. Ctrl-C ends it.", flush=True)
    if browser:  # some browsers are text in this terminal, and return when they are left
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()


def _voila() -> Any:
    # Of jsonschema's checks the one for IRIs takes seconds to import, and no notebook has any.
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]
    try:
        from voila.app import Voila
    except ImportError as error:
        raise ValueError(
            f"the page needs Voilà, which cannot be imported here ({error}): "
            "pip install 'steerlab[explore]'"
        ) from None
    return Voila


def _checked_model(name: str) -> str:
    """The model's name, or its folder in full. Says what `load_model` would say, without torch."""
    from steerlab.hub import KNOWN, check_checkpoint, name_or_folder

    name = name_or_folder(name)
    if name in KNOWN:
        return name
    check_checkpoint(Path(name))
    return str(Path(name).resolve())


def _check_port(port: int) -> None:
    if not 1 <= port <= 65535:
        raise ValueError(f"--port is {port}; a port is a number from 1 to 65535")
    with socket.socket() as probe:
        # As the server binds: a port that was left a moment ago is free.
        if os.name == "posix" and sys.platform != "cygwin":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            if error.errno == errno.EACCES:
                reason = "belongs to the system"
            else:
                reason = "is taken by another program, or by another explorer"
            raise ValueError(
                f"port {port} {reason}: pass another one, e.g. --port {max(1024, port) + 1}"
            ) from None


def _absolute(name: str) -> str:
    """A folder in full, because kernels run elsewhere; other names as they are."""
    return str(Path(name).resolve()) if Path(name).is_dir() else name
