"""Prompts to measure interference with: pure code, pure mathematics, and both in one.

Two sets of 120, forty of each kind: "english" for models of real language, and "concepts" in the
words of the embedded model's corpus. Which prompts choose a feature and which judge it is written
down with them, so that no sweep can draw it anew until it pleases.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

KINDS = ("code", "math", "mixed")
SPLITS = ("selection", "evaluation")
PROMPT_SETS = ("english", "concepts")
_SHIPPED = Path(__file__).parent / "interference_prompts.json"


@dataclass(frozen=True)
class Prompt:
    """A prompt of an interference set. kind: one of KINDS; split: one of SPLITS."""

    id: str
    kind: str
    split: str
    text: str


def interference_prompts(
    source: str | os.PathLike[str] = "english",
    *,
    kind: str | None = None,
    split: str | None = None,
) -> list[Prompt]:
    """The prompts of one of PROMPT_SETS or of a JSON file, perhaps of one kind or split alone.

    A file holds a list of {"id", "kind", "split", "text"}. Prompts of the split "selection" are
    pure code and pure mathematics and choose features; those of "evaluation" judge them.

    Raises ValueError for an unknown set, kind or split, and for a file with a prompt that lacks a
    field, has an unknown one, comes twice, or stands in both splits; FileNotFoundError without one.
    """
    for name, value, known in (("kind", kind, KINDS), ("split", split, SPLITS)):
        if value is not None and value not in known:
            raise ValueError(f"{name} is one of {', '.join(map(repr, known))}, not {value!r}")
    prompts = _shipped()[str(source)] if source in PROMPT_SETS else _read(source)
    return [p for p in prompts if kind in (None, p.kind) and split in (None, p.split)]


@cache
def _shipped() -> dict[str, tuple[Prompt, ...]]:
    sets = json.loads(_SHIPPED.read_text(encoding="utf-8"))
    return {name: _checked(rows, f"prompt set {name!r}") for name, rows in sets.items()}


def _read(source: str | os.PathLike[str]) -> tuple[Prompt, ...]:
    path = Path(source)
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no file {path}, and the prompt sets of the package are "
            f"{' and '.join(map(repr, PROMPT_SETS))}"
        )
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    return _checked(rows, str(path))


def _checked(rows: Any, where: str) -> tuple[Prompt, ...]:
    names = [field.name for field in fields(Prompt)]
    if not isinstance(rows, list) or not rows:
        raise ValueError(f"{where} holds no list of prompts")
    prompts = []
    for i, row in enumerate(rows):
        if not isinstance(row, Mapping) or sorted(row) != sorted(names):
            raise ValueError(f"{where}, prompt {i}: expected exactly the fields {', '.join(names)}")
        prompt = Prompt(**{name: str(row[name]) for name in names})
        if prompt.kind not in KINDS or prompt.split not in SPLITS or not prompt.text.strip():
            raise ValueError(
                f"{where}, prompt {prompt.id!r}: kind is one of {', '.join(KINDS)}, split one of "
                f"{', '.join(SPLITS)}, and text is not empty"
            )
        prompts.append(prompt)
    for what in ("id", "text"):
        seen: set[str] = set()
        for prompt in prompts:
            value = getattr(prompt, what)
            if value in seen:
                raise ValueError(
                    f"{where}: two prompts have the {what} {value!r}; each comes once, so that "
                    "none both chooses a feature and judges it"
                )
            seen.add(value)
    return tuple(prompts)
