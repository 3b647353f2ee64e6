"""Texts to collect residuals from: files, folders, the embedded corpus, data sets of the hub.

A source gives the same texts in the same order each time, and can begin at any of them: that is
what makes a collection resumable. Blank texts are passed over and not counted.
"""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import IO, Any

from steerlab.pipeline.errors import PipelineError, one_line

FINEWEB = "hf:HuggingFaceFW/fineweb:sample-10BT"
CONCEPTS_SEED = 40_000  # no seed of this corpus that the course uses elsewhere
ATTRIBUTES = ("topic", "sentiment", "civility", "register")
_CHUNK = 1000
_TEXT_FILES = (".txt", ".md", ".text", ".jsonl", ".ndjson", ".gz")


@dataclass(frozen=True)
class Text:
    """One document with the labels that its source has for it: {attribute: value}."""

    text: str
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TextSource:
    """A named stream of texts. `read(start)` begins at the text with that number."""

    name: str
    read: Callable[[int], Iterator[Text]]


def text_source(
    source: str | os.PathLike[str] | Iterable[str],
    *,
    text_key: str = "text",
    labels: Sequence[str] = (),
    seed: int = 0,
) -> TextSource:
    """The source that a word stands for.

    source: "fineweb" (the sample of 10 billion tokens, streamed), "hf:NAME" or "hf:NAME:CONFIG"
    (split train of a data set of the hub, streamed), "concepts" (the embedded corpus with its four
    labels, without end), a .txt file (documents are separated by blank lines), a .jsonl file (one
    object a line; either may be gzipped), a folder of such files, or a list of strings.
    text_key: the field of an object or row that holds its text; labels: fields to keep as labels.
    seed: of "concepts".

    Raises PipelineError for anything else; what is wrong inside a file is said when it is read.
    """
    if not isinstance(source, str | os.PathLike):
        texts = list(source)
        return TextSource(f"{len(texts)} texts", lambda start: _of_list(texts, start))
    word = os.fspath(source)
    if word == "concepts":
        return TextSource(f"concepts, seed {seed}", lambda start: _concepts(seed, start))
    if word == "fineweb" or word.startswith("hf:"):
        name = FINEWEB if word == "fineweb" else word
        return TextSource(name, lambda start: _hub(name, text_key, labels, start))
    path = Path(word)
    if not path.exists():
        raise PipelineError(
            f"there is no file or folder {word}; a source is a text or JSONL file, a folder of "
            "them, 'concepts', 'fineweb' or 'hf:NAME'"
        )
    files = _files(path)
    return TextSource(path.name, lambda start: _from(_documents(files, text_key, labels), start))


def _from(texts: Iterator[Text], start: int) -> Iterator[Text]:
    """The texts that are not blank, from a number on."""
    return islice((text for text in texts if text.text.strip()), start, None)


def _of_list(texts: Sequence[str], start: int) -> Iterator[Text]:
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise PipelineError(f"texts[{i}] is {type(text).__name__}, not a string")
    return _from((Text(text) for text in texts), start)


def _concepts(seed: int, start: int) -> Iterator[Text]:
    """Documents of the embedded corpus, in chunks that each have a seed of their own."""
    from steerlab.data import generate

    chunk = start // _CHUNK
    skip = start % _CHUNK
    while True:
        for document in generate(_CHUNK, (CONCEPTS_SEED + seed) * 1000 + chunk)[skip:]:
            found = {name: getattr(document, name) for name in ATTRIBUTES}
            yield Text(document.text, {name: value for name, value in found.items() if value})
        chunk, skip = chunk + 1, 0


def _hub(name: str, text_key: str, labels: Sequence[str], start: int) -> Iterator[Text]:
    """Rows of a data set, streamed; nothing is downloaded beyond what is read."""
    _, data_set, *config = name.split(":")
    try:
        from datasets import load_dataset

        rows = load_dataset(data_set, *config[:1], split="train", streaming=True)
        if start:
            rows = rows.skip(start)
        for i, row in enumerate(rows, start=start):
            yield _of_row(row, text_key, labels, f"row {i} of {name}") or Text(" ")
    except PipelineError:
        raise
    except Exception as error:
        raise PipelineError(
            f"{name} cannot be streamed ({type(error).__name__}: {one_line(error)}): is the hub in "
            "reach? What was collected is safe: repeat the command with --resume"
        ) from error


# ---------------------------------------------------------------- files


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    files = sorted(p for p in path.rglob("*") if p.suffix in _TEXT_FILES and p.is_file())
    if not files:
        raise PipelineError(f"{path} holds no file that ends in {', '.join(_TEXT_FILES)}")
    return files


def _documents(files: Iterable[Path], text_key: str, labels: Sequence[str]) -> Iterator[Text]:
    for path in files:
        lines = _lines(path)
        if path.name.removesuffix(".gz").endswith((".jsonl", ".ndjson")):
            yield from _objects(path, lines, text_key, labels)
        else:
            yield from _paragraphs(lines)


def _lines(path: Path) -> Iterator[str]:
    try:
        with _open(path) as file:
            yield from file
    except UnicodeDecodeError as error:
        raise PipelineError(
            f"{path} is not UTF-8 text (byte {error.start}: {error.reason}); convert it first"
        ) from None
    except (OSError, EOFError) as error:
        raise PipelineError(f"{path} cannot be read: {one_line(error)}") from error


def _open(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8")
    return open(path, encoding="utf-8")


def _paragraphs(lines: Iterator[str]) -> Iterator[Text]:
    """What stands between blank lines."""
    held: list[str] = []
    for line in lines:
        if line.strip():
            held.append(line)
        elif held:
            yield Text("".join(held).rstrip("\n"))
            held = []
    if held:
        yield Text("".join(held).rstrip("\n"))


def _objects(
    path: Path, lines: Iterator[str], text_key: str, labels: Sequence[str]
) -> Iterator[Text]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path} line {number}"
        try:
            row = json.loads(line)
        except ValueError as error:
            raise PipelineError(f"{where} is not JSON: {one_line(error)}") from None
        found = _of_row(row, text_key, labels, where)
        if found is not None:
            yield found


def _of_row(row: Any, text_key: str, labels: Sequence[str], where: str) -> Text | None:
    """The text of one object with the labels asked for; None for one whose text is empty."""
    if not isinstance(row, Mapping):
        raise PipelineError(f"{where} is a {type(row).__name__}, not an object with a text")
    text = row.get(text_key)
    if text is None or text == "":
        if text_key in row:
            return None
        raise PipelineError(
            f"{where} has no {text_key!r}; it has {', '.join(map(str, row))}: name the field that "
            "holds the text with --text-key"
        )
    if not isinstance(text, str):
        raise PipelineError(f"{where}: {text_key!r} is a {type(text).__name__}, not a string")
    missing = [name for name in labels if name not in row]
    if missing:
        raise PipelineError(
            f"{where} has no label {missing[0]!r}; it has {', '.join(map(str, row))}"
        )
    return Text(text, {name: str(row[name]) for name in labels if row[name] is not None})
