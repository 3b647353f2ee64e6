"""What goes wrong at the hub ends in one sentence with the way out, whoever raises it.

A hub of the tests' own, on this machine, stands in for the real one: the clients are the real ones.
"""

from __future__ import annotations

import errno
import http.server
import re
import threading
from hashlib import sha256

import httpx
import pytest
import requests
import torch
from huggingface_hub import constants
from huggingface_hub import errors as hub_errors
from steerlab import hub, models
from steerlab.cli import main
from steerlab.hub import KNOWN, ModelUnavailable, explain_failure
from steerlab.models import load_model
from steerlab.planning import Machine

COMMIT = "a" * 40
ENDED = re.compile(r'use load_model\("tiny"\), which needs no network$')


class Hub(http.server.BaseHTTPRequestHandler):
    """Serves one folder as every model, or fails in the way that `server.way` names."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, body):
        self.server.asked.append(self.path)
        failure = {
            "gated": (403, "GatedRepo"),
            "gated, no token": (401, "GatedRepo"),
            "bad token": (401, "Invalid credentials in Authorization header"),
            "unknown revision": (404, "RevisionNotFound"),
            "unknown repository": (401, "RepoNotFound"),
            "busy": (503, None),
        }.get(self.server.way)
        if failure is not None:
            return self.refuse(*failure)
        file = self.server.folder / self.path.rpartition("/")[2]
        if "/resolve/" not in self.path or not file.is_file():
            return self.refuse(404, "EntryNotFound")
        content = file.read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("ETag", f'"{sha256(content).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if body:
            cut = self.server.way == "broken off" and file.suffix == ".safetensors"
            self.wfile.write(content[: len(content) // 2] if cut else content)
            self.close_connection = cut
        return None

    def refuse(self, status, code):
        self.send_response(status)
        if code is not None:
            self.send_header("X-Error-Message" if " " in code else "X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def server(checkpoint):
    """A hub whose every repository is a small random GPT-2."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        server.folder = checkpoint("gpt2")
        server.asked = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def at_hub(server, monkeypatch, tmp_path):
    """at_hub(way): every client asks that hub, which fails in that way; an empty cache; no waiting."""
    place = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", place)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", place + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    monkeypatch.setattr("huggingface_hub.hf_api.api.endpoint", place)
    monkeypatch.setattr(hub, "has_token", lambda: False)
    monkeypatch.delenv(models.ONLY_MODEL_VARIABLE, raising=False)

    def put(way="well"):
        server.way = way
        server.asked.clear()

    return put


@pytest.fixture(autouse=True)
def nothing_preloaded(monkeypatch):
    monkeypatch.setattr(models, "_preloaded", {})


def sentence(name="gpt2", **options):
    """What load_model says when it fails."""
    with pytest.raises(ModelUnavailable) as caught:
        load_model(name, dtype=torch.float32, **options)
    said = str(caught.value)
    assert ENDED.search(said), said
    assert "\n" not in said
    return said


def test_a_model_of_the_hub_is_downloaded_once(at_hub, server, monkeypatch):
    at_hub()
    assert load_model("gpt2").cfg.n_layers == 2
    assert any(path.endswith("/resolve/main/model.safetensors") for path in server.asked)
    assert hub.cached(KNOWN["gpt2"]) is not None
    server.asked.clear()
    monkeypatch.setattr(hub, "hub_in_reach", lambda: False)
    assert load_model("gpt2").cfg.n_layers == 2
    assert server.asked == []


@pytest.mark.parametrize(
    ("way", "name", "words"),
    [
        ("gated, no token", "gemma-2-2b", "is gated: accept its licence on https://.*gemma-2-2b, put a"),
        ("bad token", "gpt2", "refuses the token .* take HF_TOKEN away or make a new token"),
        ("unknown revision", "gpt2", "has no revision 'main' on the hub: install a newer steerlab"),
        ("unknown repository", "gpt2", "was not found on the hub: install a newer steerlab"),
        ("busy", "gpt2", "the hub is too busy .* try again in some minutes"),
    ],
)  # fmt: skip
def test_what_the_hub_refuses_is_one_sentence(at_hub, way, name, words):
    at_hub(way)
    assert re.search(words, sentence(name))


def test_a_token_that_may_not_read_a_gated_model_is_told_so(at_hub, monkeypatch):
    at_hub("gated")
    monkeypatch.setattr(hub, "has_token", lambda: True)
    assert "with the account that your HF_TOKEN is of" in sentence("gemma-2-2b-it")


def test_a_download_that_breaks_off_is_taken_up_again(at_hub):
    at_hub("broken off")
    assert "broke off: load it again, which goes on from there" in sentence()
    at_hub()
    assert load_model("gpt2").cfg.n_layers == 2


def test_what_an_interrupted_download_left_is_no_copy(at_hub, monkeypatch):
    at_hub("broken off")
    sentence()
    monkeypatch.setattr(hub, "hub_in_reach", lambda: False)
    assert hub.cached(KNOWN["gpt2"]) is None
    assert "the network or the hub is away" in sentence()


def test_a_disk_without_room_is_said_before_the_download(at_hub, server, monkeypatch):
    at_hub()
    monkeypatch.setattr(hub, "disk_free_gib", lambda: 0.2)
    assert re.search(r"takes 0\.5 GiB and .* has 0\.2 GiB free; .* set HF_HOME", sentence())
    assert server.asked == []


def test_a_disk_that_fills_during_the_download_is_said(at_hub, monkeypatch):
    at_hub()

    def full(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("huggingface_hub.file_download.http_get", full)
    assert "the disk is full" in sentence()


def test_a_damaged_copy_is_said_with_the_place_to_delete(at_hub, tmp_path, server):
    at_hub()
    load_model("gpt2")
    [file] = list(tmp_path.rglob("*.safetensors"))
    file.resolve().write_bytes(b"not weights at all")
    said = sentence()
    assert "is damaged: delete its folder there" in said
    assert str(tmp_path) in said


def test_a_hub_that_goes_away_between_the_look_and_the_call_is_said(at_hub, monkeypatch):
    at_hub()
    monkeypatch.setattr(hub, "hub_in_reach", lambda: True)
    # Nobody listens at port 9.
    monkeypatch.setattr(
        constants,
        "HUGGINGFACE_CO_URL_TEMPLATE",
        "http://127.0.0.1:9/{repo_id}/{revision}/{filename}",
    )
    assert "the network or the hub is away" in sentence()


def response(status):
    return httpx.Response(status, request=httpx.Request("GET", "https://hub.invalid/x"))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (hub_errors.GatedRepoError("403", response=response(403)), "is gated"),
        (hub_errors.RepositoryNotFoundError("404", response=response(404)), "was not found"),
        (hub_errors.RevisionNotFoundError("404", response=response(404)), "no revision"),
        (hub_errors.HfHubHTTPError("x", response=response(429)), "too busy"),
        (hub_errors.LocalEntryNotFoundError("x"), "network or the hub is away"),
        (hub_errors.OfflineModeIsEnabled("x"), "network or the hub is away"),
        (requests.exceptions.ConnectionError("x"), "network or the hub is away"),
        (requests.exceptions.SSLError("x"), "network or the hub is away"),
        (requests.exceptions.ReadTimeout("x"), "broke off"),
        (requests.exceptions.ChunkedEncodingError("IncompleteRead"), "broke off"),
        (httpx.ConnectError("x"), "network or the hub is away"),
        (httpx.RemoteProtocolError("peer closed"), "broke off"),
        (OSError("Consistency check failed: file should be of size 5"), "broke off"),
        (OSError("You are trying to access a gated repo."), "is gated"),
        (OSError(errno.ENOSPC, "No space left on device"), "disk is full: .* takes 9.7 GiB"),
        (torch.OutOfMemoryError("CUDA out of memory"), "not fit into memory: .*steerlab doctor"),
        (MemoryError(), "does not fit into memory"),
        (RuntimeError("first line\nsecond"), r"\(OSError: Can't load the model\)"),
    ],
)
def test_errors_of_every_client_are_explained_through_the_wrapping_of_transformers(
    monkeypatch, error, words
):
    monkeypatch.setattr(hub, "hub_in_reach", lambda: True)
    monkeypatch.setattr(hub, "disk_free_gib", lambda: 100.0)
    monkeypatch.setattr(hub, "has_token", lambda: False)

    def fails(*args, **kwargs):
        raise OSError("Can't load the model") from error

    monkeypatch.setattr(models, "_boot", fails)
    assert re.search(words, sentence("gemma-2-2b"))
    assert ENDED.search(explain_failure("gemma-2-2b", error))


@pytest.mark.parametrize(
    ("names", "whole"),
    [
        (["config.json", "tokenizer.json", "model.safetensors"], True),
        (["config.json", "tokenizer.json"], False),
        (["config.json", "model.safetensors"], False),
        (["config.json", "tokenizer.json", "model-00001-of-00002.safetensors"], False),
        (
            ["config.json", "vocab.json", *(f"model-0000{i}-of-00002.safetensors" for i in (1, 2))],
            True,
        ),
    ],
)
def test_a_copy_counts_when_every_file_is_there(monkeypatch, tmp_path, names, whole):
    for name in names:
        (tmp_path / name).write_text("")
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *a, **k: str(tmp_path))
    assert (hub.cached(KNOWN["olmo-2-7b"]) is not None) == whole


def test_the_commands_say_the_same_sentence(capsys, monkeypatch, tmp_path):
    monkeypatch.delenv(models.ONLY_MODEL_VARIABLE, raising=False)
    monkeypatch.setattr(models, "this_machine", lambda device=None: Machine(64.0))
    monkeypatch.setattr(hub, "hub_in_reach", lambda: False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert main(["steer", "tiny", "3", "--model", "gpt2"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert 'use load_model("tiny")' in err
