"""Generating text, greedily or sampled, with or without a KV cache, steered or not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from steerlab.positions import begin_prompt, cache_allowed
from steerlab.tokens import Mode, TokenBatch, check_texts, encode, pad_left

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


@dataclass(frozen=True)
class Completion:
    """What a model wrote after a prompt. `text` and `tokens` hold the completion alone.

    prompt_tokens: the ids that the model read, with BOS and chat template where there are any.
    """

    prompt: str
    text: str
    tokens: tuple[int, ...]
    prompt_tokens: tuple[int, ...]


@torch.no_grad()
def generate(
    model: TransformerBridge,
    prompts: str | Sequence[str],
    *,
    max_new_tokens: int = 30,
    use_cache: bool = True,
    temperature: float = 0.0,
    seed: int = 0,
    mode: Mode = "raw",
    prepend_bos: bool | None = None,
    batch_size: int = 32,
) -> list[Completion]:
    """Completions of `prompts`, in their order; each ends before the end-of-text token if it comes.

    temperature 0 takes the most likely token; above 0 each prompt draws from a generator of its
    own, seeded by `seed` and its index, so that batching changes nothing. Inside
    `steer(..., positions="newest_only")` the cache is off whatever `use_cache` says.

    Raises ValueError for no prompts, or where prompt and completion exceed the model's context.
    """
    prompts = check_texts([prompts] if isinstance(prompts, str) else prompts, "prompts")
    rows = [encode(model, prompt, mode=mode, prepend_bos=prepend_bos) for prompt in prompts]
    _check_request(model, rows, max_new_tokens, temperature)
    completions: list[Completion | None] = [None] * len(rows)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        batch, draws = pad_left(model, [rows[i] for i in chosen]), _draws(seed, chosen)
        steps = _new_tokens(model, batch, max_new_tokens, use_cache, temperature, draws)
        new = torch.stack(list(steps), dim=1).tolist()
        for i, tokens in zip(chosen, new, strict=True):
            completions[i] = _completion(model, prompts[i], rows[i], tokens)
    return [completion for completion in completions if completion is not None]


@torch.no_grad()
def stream(
    model: TransformerBridge,
    prompt: str,
    *,
    around: Callable[[], AbstractContextManager[None]] = nullcontext,
    every: float = 0.0,
    max_new_tokens: int = 30,
    use_cache: bool = True,
    temperature: float = 0.0,
    seed: int = 0,
    mode: Mode = "raw",
    prepend_bos: bool | None = None,
) -> Iterator[Completion]:
    """What `generate` writes after one prompt, as it grows; the last one given is the whole.

    every: seconds to write for between two of them; 0 gives one after each token. around: entered
    while tokens are written and left in between, such as the `on` of a `steerlab.steering.Steering`.

    Raises as `generate` does, when the first is asked for.
    """
    check_texts([prompt], "prompts")
    row = encode(model, prompt, mode=mode, prepend_bos=prepend_bos)
    _check_request(model, [row], max_new_tokens, temperature)
    batch, draws = pad_left(model, [row]), _draws(seed, [0])
    steps = _new_tokens(model, batch, max_new_tokens, use_cache, temperature, draws)
    tokens: list[int] = []
    while True:
        known, pause = len(tokens), monotonic() + every
        with around():
            for new in steps:
                tokens.append(int(new))
                if monotonic() >= pause:
                    break
        if len(tokens) == known:
            return
        yield _completion(model, prompt, row, tokens)


def _check_request(
    model: TransformerBridge, rows: list[list[int]], max_new_tokens: int, temperature: float
) -> None:
    if max_new_tokens < 1:
        raise ValueError(f"max_new_tokens is {max_new_tokens}; it must be at least 1")
    if temperature < 0:
        raise ValueError(f"temperature is {temperature}; it must be 0 (greedy) or more")
    limit = int(model.cfg.n_ctx)
    for i, row in enumerate(rows):
        if len(row) + max_new_tokens > limit:
            raise ValueError(
                f"prompts[{i}] has {len(row)} tokens; with {max_new_tokens} new ones it exceeds "
                f"the model's context of {limit}: shorten it, or ask for fewer new ones"
            )


def _draws(seed: int, indices: list[int]) -> list[torch.Generator]:
    """A generator of its own for each prompt."""
    # Odd multiplier: prompt i of seed s and prompt i+1 of seed s-1 must not share their draws.
    return [torch.Generator().manual_seed(seed * 1_000_003 + i) for i in indices]


def _completion(
    model: TransformerBridge, prompt: str, row: list[int], tokens: list[int]
) -> Completion:
    """What stands before the end-of-text token."""
    tokens = _until_end(tokens, end_tokens(model))
    text = model.tokenizer.decode(tokens, clean_up_tokenization_spaces=False)
    return Completion(prompt, text, tuple(tokens), tuple(row))


def _new_tokens(
    model: TransformerBridge,
    batch: TokenBatch,
    max_new_tokens: int,
    use_cache: bool,
    temperature: float,
    draws: list[torch.Generator],
) -> Iterator[Int[Tensor, " batch"]]:
    """The next token of each row of a left-padded batch, until every row has its end of text."""
    use_cache = use_cache and cache_allowed(model)
    begin_prompt(model)
    tokens, mask = batch.tokens, batch.attention_mask
    ends = torch.tensor(sorted(end_tokens(model)), device=tokens.device)
    finished = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
    past, n_read = None, 0
    for _ in range(max_new_tokens):
        logits, past = model(
            tokens[:, n_read:],
            attention_mask=mask,
            past_key_values=past,
            use_cache=use_cache,
            return_type="logits_and_cache",
        )
        if use_cache:
            n_read = tokens.shape[1]
        else:
            past = None
        new = _pick(logits[:, -1], temperature, draws)
        tokens = torch.cat([tokens, new[:, None]], dim=1)
        mask = torch.cat([mask, torch.ones_like(new)[:, None]], dim=1)
        finished |= torch.isin(new, ends)
        yield new
        if finished.all():
            return


def _pick(
    logits: Float[Tensor, "batch vocab"], temperature: float, draws: list[torch.Generator]
) -> Int[Tensor, " batch"]:
    if logits.isnan().any():
        raise ValueError("the model's logits are NaN: the intervention is far too strong, or NaN")
    if temperature == 0:
        return logits.argmax(dim=-1)
    probabilities = (logits.float() / temperature).softmax(dim=-1).cpu()
    picked = [
        torch.multinomial(row, 1, generator=draw)
        for row, draw in zip(probabilities, draws, strict=True)
    ]
    return torch.cat(picked).to(logits.device)


def _until_end(tokens: list[int], ends: set[int]) -> list[int]:
    for i, token in enumerate(tokens):
        if token in ends:
            return tokens[:i]
    return tokens


def end_tokens(model: TransformerBridge) -> set[int]:
    """Ids that end a text: the tokenizer's, and those that the model's own settings add."""
    ends = {model.tokenizer.eos_token_id}
    settings = getattr(model.original_model, "generation_config", None)
    more = getattr(settings, "eos_token_id", None)
    ends.update(more if isinstance(more, list) else [more])
    return {int(end) for end in ends if end is not None}


def token_nll(
    logits: Float[Tensor, "batch pos vocab"], tokens: Int[Tensor, "batch pos"]
) -> Float[Tensor, "batch next"]:
    """−log P of each token given those before it, in nats, from the logits of all; next = pos − 1.

    One text at a time: in float32 the logits of a whole batch take more memory than a model in
    half precision, where the vocabulary is large.
    """
    return torch.stack(
        [
            -row[:-1].float().log_softmax(-1).gather(-1, ids[1:, None])[:, 0]
            for row, ids in zip(logits, tokens, strict=True)
        ]
    )
