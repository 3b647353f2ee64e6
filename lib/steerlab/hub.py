"""The course's models on the Hugging Face hub: where they are, and what to say when they are not.

Loading from the hub fails in ways that a student cannot read off a traceback: no network, a
licence not accepted, a full disk. Each becomes one sentence with the way out.
"""

from __future__ import annotations

import errno
import re
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class ModelSource:
    """Where a known model comes from, and how many `billions` of parameters it has."""

    name: str
    hub_id: str | None
    billions: float
    n_layers: int | None
    revision: str = "main"


KNOWN: dict[str, ModelSource] = {
    source.name: source
    for source in (
        ModelSource("tiny", None, 0.002, None),
        ModelSource("gpt2", "openai-community/gpt2", 0.124, 12),
        ModelSource("gemma-2-2b", "google/gemma-2-2b", 2.61, 26),
        ModelSource("gemma-2-2b-it", "google/gemma-2-2b-it", 2.61, 26),
        ModelSource("qwen3-4b", "Qwen/Qwen3-4B-Instruct-2507", 4.02, 36),
        ModelSource("olmo-2-7b", "allenai/OLMo-2-1124-7B-Instruct", 7.30, 32),
    )
}


class ModelUnavailable(RuntimeError):
    """A known model could not be fetched or does not fit; the message says why and what to do."""


def fetchable(source: ModelSource) -> str:
    """What to load a hub model from: its hub id, or its cached copy when the hub is out of reach.

    Raises ModelUnavailable at once when neither is to be had, where the hub's own client would
    first retry for most of a minute.
    """
    from huggingface_hub import snapshot_download

    assert source.hub_id is not None
    if _hub_in_reach():
        return source.hub_id
    try:
        return snapshot_download(source.hub_id, revision=source.revision, local_files_only=True)
    except Exception as error:
        raise ModelUnavailable(explain_failure(source.name, ConnectionError())) from error


def _hub_in_reach() -> bool:
    """Whether the hub's machine answers, or may do so through a proxy that is configured."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    if urllib.request.getproxies():
        return True
    place = urllib.parse.urlsplit(constants.ENDPOINT)
    port = place.port or (80 if place.scheme == "http" else 443)
    try:
        socket.create_connection((place.hostname or "", port), timeout=5).close()
    except OSError:
        return False
    return True


def explain_failure(name: str, error: BaseException) -> str:
    """One sentence for a model that could not be fetched: what is wrong, and the way out."""
    source = KNOWN[name]
    chain = list(_causes(error))
    kinds = " ".join(kind.__name__ for each in chain for kind in type(each).__mro__)
    words = " ".join(str(each).lower() for each in chain)
    offline = 'use load_model("tiny"), which needs no network'
    status = set(re.findall(r"\b40[134]\b", words))
    if "Gated" in kinds or "gated repo" in words or status & {"401", "403"}:
        return (
            f"{source.hub_id} is gated: accept its licence on its hub page, put a token in the "
            f'environment or Colab secret HF_TOKEN and restart, or use load_model("tiny")'
        )
    if any(isinstance(e, OSError) and e.errno == errno.ENOSPC for e in chain) or (
        "no space left" in words or "not enough free disk" in words
    ):
        need = source.billions * 2
        return (
            f"the disk is full: {source.hub_id} needs about {need:.0f} GB; "
            f"free some space or {offline}"
        )
    if "OutOfMemory" in kinds or "MemoryError" in kinds:
        return f"{source.hub_id} does not fit into memory; restart the runtime, or {offline}"
    if "Connection" in kinds or "Timeout" in kinds or "Offline" in kinds or "LocalEntry" in kinds:
        return f"{source.hub_id} cannot be downloaded: the network or the hub is away; {offline}"
    if "couldn't connect" in words or "we couldn't" in words or "offline" in words:
        return f"{source.hub_id} cannot be downloaded: the network or the hub is away; {offline}"
    if "RepositoryNotFound" in kinds or "RevisionNotFound" in kinds or "404" in status:
        return f"{source.hub_id} was not found on the hub (revision {source.revision}); {offline}"
    return (
        f"{source.hub_id} could not be loaded ({type(error).__name__}: {first_line(error)}); "
        f"{offline}"
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def first_line(error: BaseException) -> str:
    return next(iter(str(error).strip().splitlines()), "no message")[:200]
