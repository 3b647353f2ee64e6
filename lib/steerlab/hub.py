"""The course's models: what they are, where on the Hugging Face hub, and what to say when they are not.

Loading from the hub fails in ways that a student cannot read off a traceback: no network, a
licence not accepted, a full disk. Each becomes one sentence with the way out.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

GIB = 2**30


@dataclass(frozen=True)
class Shape:
    """What the memory that a decoder takes depends on: the sizes in its config.json.

    n_kv_heads: heads of keys and values, fewer than n_heads where several share one. tied: whether
    embedding and unembedding are one matrix.
    """

    parameters: int
    n_layers: int
    d_model: int
    n_heads: int
    n_kv_heads: int
    d_head: int
    d_mlp: int
    d_vocab: int
    tied: bool


@dataclass(frozen=True)
class ModelSource:
    """A known model: where it comes from, and its sizes.

    stored_bytes: bytes a parameter in the hub's files. latents: width of the autoencoder that the
    course uses with it, 0 where there is none. gated: whether its licence must be accepted first.
    """

    name: str
    hub_id: str | None
    shape: Shape
    stored_bytes: int = 2
    latents: int = 0
    gated: bool = False
    revision: str = "main"

    @property
    def billions(self) -> float:
        """Parameters, in billions."""
        return self.shape.parameters / 1e9

    @property
    def download_gib(self) -> float:
        """Size of the weights on the hub, in GiB; 0 for the model that ships with the package."""
        return self.shape.parameters * self.stored_bytes / GIB if self.hub_id else 0.0


_GEMMA = Shape(2_614_341_888, 26, 2304, 8, 4, 256, 9216, 256_000, tied=True)

KNOWN: dict[str, ModelSource] = {
    source.name: source
    for source in (
        ModelSource(
            "tiny", None, Shape(1_003_008, 4, 128, 4, 4, 32, 512, 1510, tied=True), latents=512
        ),
        ModelSource(
            "gpt2",
            "openai-community/gpt2",
            Shape(124_439_808, 12, 768, 12, 12, 64, 3072, 50_257, tied=True),
            stored_bytes=4,
            latents=24_576,
        ),
        ModelSource(
            "gemma-2-2b",
            "google/gemma-2-2b",
            _GEMMA,
            stored_bytes=4,
            latents=65_536,
            gated=True,
        ),
        ModelSource("gemma-2-2b-it", "google/gemma-2-2b-it", _GEMMA, latents=65_536, gated=True),
        ModelSource(
            "qwen3-4b",
            "Qwen/Qwen3-4B-Instruct-2507",
            Shape(4_022_468_096, 36, 2560, 32, 8, 128, 9728, 151_936, tied=True),
        ),
        ModelSource(
            "olmo-2-7b",
            "allenai/OLMo-2-1124-7B-Instruct",
            Shape(7_298_617_344, 32, 4096, 32, 32, 128, 11_008, 100_352, tied=False),
            latents=65_536,
        ),
    )
}


class ModelUnavailable(RuntimeError):
    """A known model could not be fetched or does not fit; the message says why and what to do."""


# ---------------------------------------------------------------- names and folders


def known_name(name: str) -> str:
    """The course name that a hub id stands for; any other name as it is."""
    return next((known for known, source in KNOWN.items() if source.hub_id == name), name)


def known_names() -> str:
    """The course names in quotes, for a sentence."""
    return ", ".join(map(repr, KNOWN))


def name_or_folder(name: str | os.PathLike[str]) -> str:
    """The course name, or the folder, that is meant. Raises ValueError, naming one that comes close."""
    text = known_name(os.fspath(name))
    is_path = isinstance(name, os.PathLike) or os.sep in text
    if text in KNOWN or is_path or Path(text).is_dir():
        return text
    close = get_close_matches(text.lower(), KNOWN, n=1)
    hint = f"; did you mean {close[0]!r}?" if close else ""
    raise ValueError(
        f"unknown model {text!r}{hint} Known models: {known_names()}, or the path of a folder "
        "with a Hugging Face checkpoint."
    )


def check_checkpoint(folder: Path) -> None:
    """Raise FileNotFoundError unless the folder looks like a Hugging Face checkpoint."""
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}; known models: {known_names()}")
    if not (folder / "config.json").is_file():
        raise FileNotFoundError(
            f"{folder} has no config.json: pass the folder of a Hugging Face checkpoint "
            "(config.json, model.safetensors, tokenizer.json)"
        )


# ---------------------------------------------------------------- before the download


def fetchable(source: ModelSource) -> str:
    """What to load a hub model from: its hub id, or its cached copy when the hub is out of reach.

    Raises ModelUnavailable at once when neither is to be had, where the hub's own client would
    first retry for most of a minute, and for a download that the disk has no room for.
    """
    assert source.hub_id is not None
    copy = cached(source)
    if not hub_in_reach():
        if copy is None:
            raise ModelUnavailable(explain_failure(source.name, ConnectionError()))
        return str(copy)
    free = disk_free_gib()
    if copy is None and free < source.download_gib:
        raise ModelUnavailable(_no_room(source, free))
    return source.hub_id


def cached(source: ModelSource) -> Path | None:
    """The folder of a hub model's copy in the hub cache; None without a copy that is whole."""
    from huggingface_hub import snapshot_download

    if source.hub_id is None:
        return None
    try:
        folder = Path(
            snapshot_download(source.hub_id, revision=source.revision, local_files_only=True)
        )
    except Exception:
        return None
    return folder if _whole(folder) else None


def _whole(folder: Path) -> bool:
    """Whether a snapshot holds configuration, tokenizer and every file of weights.

    An interrupted download leaves a snapshot with the files that were done by then.
    """
    here = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if "config.json" not in here or not here & {"tokenizer.json", "vocab.json", "tokenizer.model"}:
        return False
    if "model.safetensors" in here or "pytorch_model.bin" in here:
        return True
    parts = [m for m in (re.fullmatch(r"(.+)-\d+-of-(\d+)(\.\w+)", name) for name in here) if m]
    return any(
        len([m for m in parts if m.group(1, 3) == part.group(1, 3)]) == int(part.group(2))
        for part in parts
    )


def hub_in_reach() -> bool:
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


def has_token() -> bool:
    """Whether a token for the hub is at hand. Its value never leaves huggingface_hub."""
    from huggingface_hub import get_token

    return get_token() is not None


def cache_folder() -> Path:
    """The folder that the hub's client keeps downloads in."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def disk_free_gib() -> float:
    """Free room where downloads go, in GiB. The folder need not be there yet."""
    folder = cache_folder().absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return shutil.disk_usage(folder).free / GIB


# ---------------------------------------------------------------- what went wrong

OFFLINE = 'use load_model("tiny"), which needs no network'

# Names of exceptions, and of their bases: requests, httpx and the hub's client name alike what is alike.
_AWAY = ("Connect", "Timeout", "Offline", "LocalEntry", "Proxy", "SSL", "NetworkError", "gaierror")
_BROKEN_OFF = ("RemoteProtocol", "ReadError", "IncompleteRead", "ChunkedEncoding", "ReadTimeout")


def explain_failure(name: str, error: BaseException) -> str:
    """One sentence for a model that could not be fetched: what is wrong, and the way out."""
    source = KNOWN[name]
    chain = list(_causes(error))
    kinds = " ".join(kind.__name__ for each in chain for kind in type(each).__mro__)
    words = " ".join(str(each).lower() for each in chain)
    status = _status(chain, words)

    def one_of(names: tuple[str, ...]) -> bool:
        return any(each in kinds for each in names)

    if any(isinstance(e, OSError) and e.errno == errno.ENOSPC for e in chain) or (
        "no space left" in words or "not enough free disk" in words
    ):
        return _no_room(source, disk_free_gib())
    if "OutOfMemory" in kinds or "MemoryError" in kinds:
        return (
            f"{source.hub_id} does not fit into memory: restart the runtime, ask `steerlab doctor` "
            f"which model fits, or {OFFLINE}"
        )
    if "Gated" in kinds or "access a gated repo" in words or (source.gated and status & {401, 403}):
        return _gated(source)
    # Without a token the hub answers 401 also for a repository that is not there.
    if status & {401, 403} and "RepositoryNotFound" not in kinds:
        return (
            f"the hub refuses the token that it was given for {source.hub_id}, which needs none: "
            f"take HF_TOKEN away or make a new token, or {OFFLINE}"
        )
    if "RevisionNotFound" in kinds:
        return (
            f"{source.hub_id} has no revision {source.revision!r} on the hub: "
            f"install a newer steerlab, or {OFFLINE}"
        )
    if "RepositoryNotFound" in kinds or 404 in status:
        return f"{source.hub_id} was not found on the hub: install a newer steerlab, or {OFFLINE}"
    if one_of(_BROKEN_OFF) or "consistency check failed" in words or "incompleteread" in words:
        return (
            f"the download of {source.hub_id} broke off: load it again, which goes on from there, "
            f"or {OFFLINE}"
        )
    if "Safetensor" in kinds or "deserializ" in words:
        return (
            f"the copy of {source.hub_id} in {cache_folder()} is damaged: delete its folder there "
            f"and load it again, or {OFFLINE}"
        )
    if status & {429, 500, 502, 503, 504}:
        return (
            f"the hub is too busy to give {source.hub_id}: try again in some minutes, or {OFFLINE}"
        )
    if one_of(_AWAY) or re.search(r"couldn.t connect|offline|can.t connect|cannot connect", words):
        return (
            f"{source.hub_id} cannot be downloaded: the network or the hub is away; "
            f"come back with a network, or {OFFLINE}"
        )
    return (
        f"{source.hub_id} could not be loaded ({type(error).__name__}: {first_line(error)}); "
        f"{OFFLINE}"
    )


def _no_room(source: ModelSource, free: float) -> str:
    return (
        f"the disk is full: {source.hub_id} takes {source.download_gib:.1f} GiB and "
        f"{cache_folder()} has {free:.1f} GiB free; free some, set HF_HOME to a larger disk, "
        f"or {OFFLINE}"
    )


def _gated(source: ModelSource) -> str:
    page = f"https://huggingface.co/{source.hub_id}"
    if has_token():
        return (
            f"{source.hub_id} is gated: accept its licence on {page} with the account that your "
            f"HF_TOKEN is of (the token must be allowed to read gated repositories), or {OFFLINE}"
        )
    return (
        f"{source.hub_id} is gated: accept its licence on {page}, put a token in the environment "
        f"variable or Colab secret HF_TOKEN and restart, or {OFFLINE}"
    )


def _status(chain: list[BaseException], words: str) -> set[int]:
    """HTTP statuses in a chain of errors: of their responses, or else as their messages say."""
    found = {getattr(getattr(each, "response", None), "status_code", None) for each in chain}
    known = {int(code) for code in found if code is not None}
    return known or {int(code) for code in re.findall(r"\b(40[134]|429|50[0234])\b", words)}


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def first_line(error: BaseException) -> str:
    """The first line of an error's message, at most 200 characters."""
    return next(iter(str(error).strip().splitlines()), "no message")[:200]
