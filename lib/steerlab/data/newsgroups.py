"""20 Newsgroups: posts of twenty discussion groups, for topics of real language (Lang, 1995)."""

from __future__ import annotations

from collections import Counter

GROUPS = 20


def newsgroups(
    split: str = "train", n: int | None = None, seed: int = 0
) -> tuple[list[str], list[str]]:
    """Posts and the names of their groups, in a seeded order, balanced where `n` asks for fewer.

    From the Hugging Face hub through `datasets`; `steerlab.data.generate` has labelled documents
    without a network. Posts begin with headers and quotations: leave out their first tokens (see
    `steerlab.cavs.pool`, skip=64).

    Raises ValueError for an unknown split or an n below 20, ConnectionError where the hub is away.
    """
    if split not in ("train", "test"):
        raise ValueError(f'split is "train" or "test", not {split!r}')
    if n is not None and n < GROUPS:
        raise ValueError(f"n is {n}; expected None or at least one post of each of {GROUPS} groups")
    from datasets import load_dataset

    try:
        rows = load_dataset("SetFit/20_newsgroups", split=split).shuffle(seed=seed)
    except Exception as error:
        raise ConnectionError(
            f"20 Newsgroups cannot be fetched ({type(error).__name__}): the network or the hub is "
            "away; steerlab.data.generate(...) has labelled documents without either"
        ) from error
    most = len(rows) if n is None else -(-n // GROUPS)
    taken: Counter[str] = Counter()
    posts: list[tuple[str, str]] = []
    for text, label in zip(rows["text"], rows["label_text"], strict=True):
        if text.strip() and taken[label] < most:
            taken[label] += 1
            posts.append((text, label))
    return [text for text, _ in posts[:n]], [label for _, label in posts[:n]]
