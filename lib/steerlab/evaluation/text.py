"""What steering does to text: how much of the concept it brings, and what it costs in fluency.

Only completions are judged, never the prompt. A share of nothing is missing (None), not 0. And
the judge of a concept is never the quantity that was optimised: words are counted, not
projections on the steering vector.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import torch

from steerlab.generation import Completion, token_nll
from steerlab.hooks import check_unhooked
from steerlab.tokens import Mode, encode, pad_left

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


def concept_score(
    completions: str | Completion | Iterable[str | Completion],
    words_for: Iterable[str],
    words_against: Iterable[str],
) -> float | None:
    """Share of `words_for` among all occurrences of both kinds of words, pooled over completions.

    Whole words, in any case. None where no such word occurs. Raises ValueError for an empty list
    of words or a word on both sides.
    """
    wanted, unwanted = _word_set(words_for, "words_for"), _word_set(words_against, "words_against")
    both = wanted & unwanted
    if both:
        raise ValueError(f"{sorted(both)} are among both words_for and words_against")
    found = [
        word
        for completion in _as_list(completions)
        for word in _occurrences(_text(completion), wanted | unwanted)
    ]
    return sum(word in wanted for word in found) / len(found) if found else None


def on_topic(completion: str | Completion, words: Iterable[str]) -> bool:
    """Whether at least two different words of a topic occur in the completion."""
    return len(set(_occurrences(_text(completion), _word_set(words, "words")))) >= 2


@dataclass(frozen=True)
class Fluency:
    """Three measures of a completion; None where it is too short to have one.

    nll: mean negative log-likelihood of its tokens given the prompt under the unsteered model, in
    nats a token. distinct2: different bigrams of tokens / bigrams (Li et al., 2016). repeated:
    share of tokens inside a 4-gram that occurs more than once. n_tokens: what they are taken over.
    """

    nll: float | None
    distinct2: float | None
    repeated: float | None
    n_tokens: int


def fluency(
    model: TransformerBridge,
    prompt: str,
    completion: str | Completion,
    *,
    mode: Mode = "raw",
) -> Fluency:
    """Fluency of one completion of `prompt`.

    A `Completion` brings its own tokens; a string is tokenised apart from the prompt, so begin it
    with the space that separates them. Raises ValueError while any hook hangs on the model.
    """
    check_unhooked(model, "fluency")
    if isinstance(completion, Completion):
        read, new = list(completion.prompt_tokens), list(completion.tokens)
    else:
        read = encode(model, prompt, mode=mode)
        new = list(model.tokenizer(completion, add_special_tokens=False)["input_ids"])
    [nll] = _nll_per_token(model, [read], [new])
    return Fluency(nll, distinct_2(new), repeated_share(new), len(new))


def mean_fluency(
    model: TransformerBridge, completions: Sequence[Completion], *, batch_size: int = 32
) -> Fluency:
    """Mean of each measure over the completions that have it; `n_tokens` is their sum.

    Raises ValueError for no completions, or while any hook hangs on the model.
    """
    if not completions:
        raise ValueError("no completions to measure")
    each = completion_fluency(model, completions, batch_size=batch_size)
    return Fluency(
        nll=_mean(one.nll for one in each),
        distinct2=_mean(one.distinct2 for one in each),
        repeated=_mean(one.repeated for one in each),
        n_tokens=sum(one.n_tokens for one in each),
    )


def completion_fluency(
    model: TransformerBridge, completions: Sequence[Completion], *, batch_size: int = 32
) -> list[Fluency]:
    """Fluency of each completion. Raises ValueError while any hook hangs on the model."""
    check_unhooked(model, "fluency")
    nlls: list[float | None] = []
    for start in range(0, len(completions), batch_size):
        some = completions[start : start + batch_size]
        nlls += _nll_per_token(
            model, [list(c.prompt_tokens) for c in some], [list(c.tokens) for c in some]
        )
    return [
        Fluency(nll, distinct_2(c.tokens), repeated_share(c.tokens), len(c.tokens))
        for nll, c in zip(nlls, completions, strict=True)
    ]


def usable(steered: Fluency, unsteered: Fluency) -> bool:
    """Whether a strength leaves text worth reading: distinct-2 ≥ 0.8 of unsteered, NLL rise ≤ 1."""
    if steered.distinct2 is None or steered.nll is None:
        return False
    if unsteered.distinct2 is None or unsteered.nll is None:
        raise ValueError("the unsteered completions are too short to compare with")
    return steered.distinct2 >= 0.8 * unsteered.distinct2 and steered.nll - unsteered.nll <= 1.0


def distinct_2(tokens: Sequence[int]) -> float | None:
    """Different bigrams / bigrams; None for fewer than two tokens."""
    bigrams = list(pairwise(tokens))
    return len(set(bigrams)) / len(bigrams) if bigrams else None


def repeated_share(tokens: Sequence[int]) -> float | None:
    """Share of tokens that lie inside a 4-gram occurring more than once; None for no tokens."""
    if not tokens:
        return None
    grams = [tuple(tokens[i : i + 4]) for i in range(len(tokens) - 3)]
    counts = Counter(grams)
    inside = {i + k for i, gram in enumerate(grams) if counts[gram] > 1 for k in range(4)}
    return len(inside) / len(tokens)


@torch.no_grad()
def _nll_per_token(
    model: TransformerBridge, prompts: list[list[int]], completions: list[list[int]]
) -> list[float | None]:
    """Mean NLL of each completion's tokens given its prompt, in nats a token."""
    batch = pad_left(model, [p + c for p, c in zip(prompts, completions, strict=True)])
    logits = model(batch.tokens, attention_mask=batch.attention_mask, use_cache=False)
    nll = token_nll(logits, batch.tokens)
    means: list[float | None] = []
    for row, prompt, completion in zip(nll, prompts, completions, strict=True):
        # Left padding: the completion's tokens end the row. Without a prompt, its first token has
        # nothing to be predicted from.
        n = len(completion) if prompt else len(completion) - 1
        means.append(float(row[-n:].mean()) if n > 0 else None)
    return means


def _mean(values: Iterable[float | None]) -> float | None:
    present = [value for value in values if value is not None and not math.isnan(value)]
    return sum(present) / len(present) if present else None


def _text(completion: str | Completion) -> str:
    return completion.text if isinstance(completion, Completion) else completion


def _as_list(completions: str | Completion | Iterable[str | Completion]) -> list[str | Completion]:
    return [completions] if isinstance(completions, str | Completion) else list(completions)


def _word_set(words: Iterable[str], what: str) -> frozenset[str]:
    if isinstance(words, str):
        raise TypeError(f"{what} is one string; pass a list of words, e.g. [{words!r}]")
    found = frozenset(word.lower() for word in words)
    if not found or "" in found:
        raise ValueError(f"{what} is empty or holds an empty word")
    return found


def _occurrences(text: str, words: frozenset[str]) -> list[str]:
    """Every whole-word occurrence of one of the words, lower case, in order."""
    longest_first = sorted(words, key=len, reverse=True)
    pattern = "|".join(re.escape(word) for word in longest_first)
    return re.findall(rf"(?<!\w)(?:{pattern})(?!\w)", text.lower())
