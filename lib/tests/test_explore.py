"""`steerlab explore`: what it says before it starts, and what its page says when something lacks."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
import steerlab.explore
from steerlab.cli import main
from steerlab.explore import server
from steerlab.explore.page import Page

FOLDER = Path(str(steerlab.explore.__file__)).parent


@pytest.fixture
def served(monkeypatch):
    """What would be served, with nothing that listens."""
    pytest.importorskip("voila")
    monkeypatch.setenv("JUPYTER_PATH", "")
    seen: dict[str, Any] = {}

    class Quiet:
        def initialize(self, argv):
            seen["argv"] = argv

        def start(self):
            seen["started"] = True

    def application(*given):
        seen["given"] = given
        return Quiet()

    monkeypatch.setattr(server, "_application", application)
    for variable in (server.MODEL_VARIABLE, server.SAE_VARIABLE):
        monkeypatch.setenv(variable, "")
    return seen


def explore(capsys, *words: str) -> str:
    """What a refusal says, in its one line."""
    assert main(["explore", "--no-browser", *words]) == 2
    said = capsys.readouterr().err
    assert said.startswith("steerlab explore: ")
    assert said.count("\n") == 1
    return str(said)


def a_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_an_unknown_model_is_refused_with_the_nearest_name(capsys, served):
    assert "unknown model 'tinny'; did you mean 'tiny'?" in explore(capsys, "--model", "tinny")
    assert "started" not in served


def test_a_folder_without_a_model_is_refused(capsys, served, tmp_path):
    assert "has no config.json" in explore(capsys, "--model", str(tmp_path))
    assert "there is no folder" in explore(capsys, "--model", str(tmp_path / "none"))


def test_a_port_that_is_taken_is_refused_with_another(capsys, served):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        said = explore(capsys, "--port", str(port))
    assert f"port {port} is taken" in said
    assert f"--port {port + 1}" in said
    assert "1 to 65535" in explore(capsys, "--port", "70000")


def test_without_voila_the_extra_is_named(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "voila", None)
    monkeypatch.setitem(sys.modules, "voila.app", None)
    assert "pip install 'steerlab[explore]'" in explore(capsys)


def test_the_page_gets_a_token_of_its_own_and_this_machine_alone(served, monkeypatch):
    port = a_free_port()
    assert main(["explore", "--no-browser", "--port", str(port)]) == 0
    assert served["started"]
    assert served["argv"] == [str(server.NOTEBOOK)]
    _, given_port, token, address, browser = served["given"]
    assert given_port == port
    assert len(token) >= 32
    assert address == f"http://127.0.0.1:{port}/?token={token}"
    assert browser is False
    assert main(["explore", "--no-browser", "--port", str(port)]) == 0
    assert served["given"][2] != token


def test_the_application_listens_on_loopback_and_tries_no_other_port(monkeypatch):
    voila = pytest.importorskip("voila.app").Voila
    monkeypatch.setenv("JUPYTER_PATH", "")
    app = server._application(voila, 8866, "secret", "http://127.0.0.1:8866/?token=secret", False)
    assert app.ip == "127.0.0.1"
    assert app.port_retries == 0
    assert app.token == "secret"
    assert app.config_file_paths == []
    assert app.config.VoilaConfiguration.file_allowlist == []


def test_the_notebook_and_its_template_ship_with_the_package():
    notebook = nbformat.read(server.NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    code = [cell.source for cell in notebook.cells]
    assert "".join(code).count("page") >= 4
    assert all(cell.outputs == [] for cell in notebook.cells)
    template = FOLDER / "share" / "jupyter" / "voila" / "templates" / server.TEMPLATE
    assert json.loads((template / "conf.json").read_text())["base_template"] == "lab"
    page = (template / "index.html.j2").read_text()
    assert "http:" not in page
    assert "https:" not in page


def shown(page: Page, monkeypatch) -> list[Any]:
    displayed: list[Any] = []
    monkeypatch.setattr("IPython.display.display", displayed.append)
    page._ipython_display_()
    return displayed


def test_a_model_that_cannot_be_loaded_is_said_in_the_page(tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text("{}")
    page = Page(str(tmp_path))
    page.load()
    page.build()
    [said] = shown(page, monkeypatch)
    assert "Unrecognized model" in said.value


def test_what_one_part_lacks_is_a_line_above_the_rest(checkpoint, monkeypatch):
    page = Page(str(checkpoint("gpt2")), "no-such-autoencoder")
    page.load()
    page.build()
    note, widget = shown(page, monkeypatch)
    assert "No features to search: " in note.value
    assert widget is page.explorer.widget
    assert page.explorer.source.options == ("method", "your sentences")
    page.explorer.run.click()
    assert page.explorer.error.value == ""
    assert "load_model(" in page.explorer.as_code()
