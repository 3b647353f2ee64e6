"""A first look at copying: winnowed fingerprints of token k-grams, shared between submissions.

Schleimer, Wilkerson and Aiken, "Winnowing: local algorithms for document fingerprinting" (SIGMOD
2003). Tokens come from Pygments; names, numbers and strings each become one sign, so that renaming
hides nothing. What the release or the library says is taken off before fingerprints are compared,
and so is what many submissions share. Hashes are the same in every process, so two looks agree.

A high number is a reason to read two notebooks side by side, and never a finding by itself.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import combinations
from typing import Any

from pygments.lexers import PythonLexer
from pygments.token import Comment, Keyword, Literal, Name, Operator, Punctuation

#: Any shared run of K + WINDOW - 1 tokens is found; no run shorter than K is.
K, WINDOW = 12, 6
#: Fingerprints of more than this share of the class (and more than MANY people) are common coin.
COMMON_SHARE, MANY = 0.25, 5
#: A person with fewer fingerprints than this has written too little to compare.
ENOUGH = 8
#: Pairs from this similarity up are listed.
WORTH_A_LOOK = 0.5


@dataclass(frozen=True)
class Source:
    """One submission's own code cells, each a source text."""

    cells: tuple[str, ...]


@dataclass(frozen=True)
class Pair:
    """Two submissions with what they share.

    similarity: shared fingerprints as a share of the smaller one's, 0 to 1. shared: how many.
    left_lines, right_lines: `(cell, line)` of the code that both have, counted from 0.
    identical: their code is the same, token by token.
    """

    left: str
    right: str
    similarity: float
    shared: int
    identical: bool = False
    left_lines: frozenset[tuple[int, int]] = field(default_factory=frozenset)
    right_lines: frozenset[tuple[int, int]] = field(default_factory=frozenset)


@dataclass(frozen=True)
class Fingerprints:
    """Where each winnowed hash of a submission stands: hash to the `(cell, line)` it covers."""

    places: dict[int, frozenset[tuple[int, int]]]
    digest: str


def similar_pairs(
    submissions: Mapping[str, Source], public: Iterable[str], threshold: float = WORTH_A_LOOK
) -> list[Pair]:
    """Pairs at or above the threshold, the most alike first.

    `public` is code that everybody was given: the release's cells and the library.
    """
    given = {value for text in public for value in _hashes(_tokens(text)[0])}
    marks = {name: fingerprints(source, given) for name, source in submissions.items()}
    own = _without_common(marks)
    shared: Counter[tuple[str, str]] = Counter()
    holders: defaultdict[int, list[str]] = defaultdict(list)
    for name in sorted(own):
        for value in own[name]:
            holders[value].append(name)
    for names in holders.values():
        shared.update(combinations(names, 2))
    pairs = [
        _pair(left, right, marks, own) for left, right in sorted(set(shared) | _identical(marks))
    ]
    listed = [pair for pair in pairs if pair.similarity >= threshold]
    return sorted(listed, key=lambda pair: (-pair.similarity, -pair.shared, pair.left, pair.right))


def fingerprints(source: Source, given: frozenset[int] | set[int]) -> Fingerprints:
    """The winnowed hashes of a submission's cells, those of given code left out."""
    places: defaultdict[int, set[tuple[int, int]]] = defaultdict(set)
    digest = hashlib.blake2b(digest_size=16)
    for index, text in enumerate(source.cells):
        signs, lines = _tokens(text)
        digest.update("\0".join(signs).encode() + b"\1")
        hashes = _hashes(signs)
        was_given = {
            at for start, value in enumerate(hashes) if value in given for at in _run(start)
        }
        for start in winnow(hashes):
            own = set(_run(start)) - was_given
            if hashes[start] not in given and own:
                places[hashes[start]].update((index, lines[at]) for at in own)
    return Fingerprints({value: frozenset(at) for value, at in places.items()}, digest.hexdigest())


def winnow(hashes: Sequence[int], window: int = WINDOW) -> list[int]:
    """Indices of the smallest hash of every window, the rightmost of equals; each index once."""
    if 0 < len(hashes) < window:
        window = len(hashes)
    chosen: list[int] = []
    for start in range(len(hashes) - window + 1):
        best = min(range(start, start + window), key=lambda index: (hashes[index], -index))
        if not chosen or chosen[-1] != best:
            chosen.append(best)
    return chosen


def _without_common(marks: Mapping[str, Fingerprints]) -> dict[str, set[int]]:
    """Each submission's hashes without those that a large part of the class has."""
    held = Counter(value for mark in marks.values() for value in mark.places)
    limit = max(MANY, COMMON_SHARE * len(marks))
    return {
        name: {value for value in mark.places if held[value] <= limit}
        for name, mark in marks.items()
    }


def _identical(marks: Mapping[str, Fingerprints]) -> set[tuple[str, str]]:
    """Pairs whose code is the same throughout, although half the class may share it."""
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for name in sorted(marks):
        if len(marks[name].places) >= ENOUGH:
            groups[marks[name].digest].append(name)
    return {pair for names in groups.values() for pair in combinations(names, 2)}


def _pair(
    left: str, right: str, marks: Mapping[str, Fingerprints], own: Mapping[str, set[int]]
) -> Pair:
    identical = marks[left].digest == marks[right].digest
    mine = {name: set(marks[name].places) if identical else own[name] for name in (left, right)}
    both = mine[left] & mine[right]
    smaller = min(len(mine[left]), len(mine[right]))
    similarity = len(both) / smaller if smaller >= ENOUGH else 0.0
    return Pair(
        left,
        right,
        round(similarity, 4),
        len(both),
        identical,
        frozenset(at for value in both for at in marks[left].places[value]),
        frozenset(at for value in both for at in marks[right].places[value]),
    )


@lru_cache(maxsize=4096)
def _tokens(text: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """A source as signs, with the line of each; comments, docstrings and layout are left out."""
    signs: list[str] = []
    lines: list[int] = []
    line, after_dot = 0, False
    for kind, value in PythonLexer(stripnl=False, ensurenl=False).get_tokens(text):
        if sign := _sign(kind, value, after_dot):
            signs.append(sign)
            lines.append(line)
            after_dot = sign == "."
        line += value.count("\n")
    return tuple(signs), tuple(lines)


def _sign(kind: Any, value: str, after_dot: bool) -> str:
    """One token's sign; empty for what is left out.

    A name that a student can choose is V. What comes after a dot, builtins and keywords stay:
    `x.mean(0)` and `x.sum(0)` are different code.
    """
    if kind in Comment or kind in Literal.String.Doc or kind in Literal.String.Affix:
        return ""
    if kind in Literal.String:
        return "S" if value[:1] in {'"', "'"} else ""  # the quotes alone, whatever they enclose
    if kind in Literal.Number:
        return "N"
    if kind in Name:
        return value if after_dot or kind in Name.Builtin else "V"
    return value if kind in Keyword or kind in Operator or kind in Punctuation else ""


def _hashes(signs: Sequence[str]) -> list[int]:
    """A hash for every run of K signs."""
    return [_hash("\0".join(signs[start : start + K])) for start in range(len(signs) - K + 1)]


def _run(start: int) -> range:
    """Positions of the K signs from `start` on."""
    return range(start, start + K)


@lru_cache(maxsize=1 << 18)
def _hash(run: str) -> int:
    return int.from_bytes(hashlib.blake2b(run.encode(), digest_size=8).digest(), "big")
