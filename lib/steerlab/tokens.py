"""From texts to left-padded tokens, with the mask that tells padding, BOS and text apart.

The pad token of many models is their BOS or end-of-text token, so an id alone never says whether
it is padding. Everything in steerlab that reads a batch keeps the attention mask beside the ids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Mode = Literal["raw", "chat"]


@dataclass(frozen=True)
class TokenBatch:
    """Texts as left-padded token ids: `tokens` and `attention_mask`, both [batch, pos], integers.

    `bos_token_id` is the id that counts as BOS where it stands at position 0.
    """

    tokens: Int[Tensor, "batch pos"]
    attention_mask: Int[Tensor, "batch pos"]
    bos_token_id: int | None

    @property
    def real(self) -> Bool[Tensor, "batch pos"]:
        """True where there is a token of the text or its BOS, False on padding."""
        return self.attention_mask.bool()

    @property
    def positions(self) -> Int[Tensor, "batch pos"]:
        """Absolute position of each real token, counted from 0; -1 on padding."""
        positions = self.attention_mask.cumsum(dim=1) - 1
        return positions.masked_fill(~self.real, -1)

    @property
    def bos(self) -> Bool[Tensor, "batch pos"]:
        """True on a BOS token at position 0."""
        if self.bos_token_id is None:
            return torch.zeros_like(self.real)
        return (self.positions == 0) & (self.tokens == self.bos_token_id)

    @property
    def content(self) -> Bool[Tensor, "batch pos"]:
        """Real tokens except position 0, which is the attention sink whether or not it is a BOS."""
        return self.positions > 0

    @property
    def lengths(self) -> Int[Tensor, " batch"]:
        """Real tokens in each row."""
        return self.attention_mask.sum(dim=1)

    def row(self, index: int) -> list[int]:
        """Token ids of one text, padding left out."""
        return self.tokens[index][self.real[index]].tolist()


def check_mode(mode: str) -> None:
    """Refuse anything but "raw" and "chat". Raises ValueError."""
    if mode not in ("raw", "chat"):
        raise ValueError(f'mode is "raw" or "chat", not {mode!r}')


def check_texts(texts: Sequence[str], what: str = "texts") -> list[str]:
    """The texts as a list. Raises TypeError unless it is a list of strings, ValueError if empty."""
    if isinstance(texts, str):
        raise TypeError(f"{what} is one string; pass a list of strings, e.g. [{texts[:20]!r}]")
    texts = list(texts)
    if not texts:
        raise ValueError(f"{what} is empty; pass at least one string")
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"{what}[{i}] is {type(text).__name__}, not a string")
    return texts


def chat_text(model: TransformerBridge, turns: Sequence[Mapping[str, str]]) -> str:
    """A conversation as the text that the model reads, with the assistant's next turn opened.

    turns: {"role": "user" or "assistant", "content": text}, the user's first and last. The template
    writes BOS where the model wants one: `generate(model, chat_text(...), prepend_bos=False)`.
    Raises ValueError on a model without a chat template.
    """
    tokenizer = model.tokenizer
    if not getattr(tokenizer, "chat_template", None):
        raise ValueError('this model has no chat template; use mode="raw"')
    text = tokenizer.apply_chat_template(list(turns), add_generation_prompt=True, tokenize=False)
    return str(text)


def encode(
    model: TransformerBridge,
    text: str,
    *,
    mode: Mode = "raw",
    prepend_bos: bool | None = None,
) -> list[int]:
    """Token ids of one text with at most one BOS.

    mode "raw" reads the text as it stands; "chat" wraps it as the user's turn and opens the
    assistant's (`add_generation_prompt=True`). `prepend_bos=None` does what the model was trained
    with. Raises ValueError for a text without tokens, or "chat" on a model without a chat template.
    """
    check_mode(mode)
    tokenizer = model.tokenizer
    if mode == "chat":
        text = chat_text(model, [{"role": "user", "content": text}])
        prepend_bos = bool(prepend_bos)  # the template writes its own BOS where the model wants one
    elif prepend_bos is None:
        prepend_bos = bool(model.cfg.default_prepend_bos)
    ids = list(tokenizer(text, add_special_tokens=False)["input_ids"])
    bos = tokenizer.bos_token_id
    if prepend_bos and bos is not None and ids[:1] != [bos]:
        ids = [bos, *ids]
    if not ids:
        raise ValueError("a text without a single token: pass some text, or prepend_bos=True")
    return ids


def pad_left(
    model: TransformerBridge,
    rows: Sequence[Sequence[int]],
) -> TokenBatch:
    """Rows of token ids, left-padded into one batch on the model's device."""
    width = max(len(row) for row in rows)
    pad = model.tokenizer.pad_token_id
    tokens = torch.tensor([[pad] * (width - len(row)) + list(row) for row in rows])
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows])
    device = model.cfg.device
    return TokenBatch(tokens.to(device), mask.to(device), model.tokenizer.bos_token_id)


def tokenize(
    model: TransformerBridge,
    texts: Sequence[str],
    *,
    mode: Mode = "raw",
    prepend_bos: bool | None = None,
    truncate: bool = False,
) -> TokenBatch:
    """Texts as one left-padded batch [batch, pos] on the model's device.

    A text longer than the model's context is cut there with `truncate=True`; otherwise, and for
    the other wrong inputs named in `encode`, raises ValueError saying which text it is.
    """
    texts = check_texts(texts)
    rows = []
    for i, text in enumerate(texts):
        try:
            row = encode(model, text, mode=mode, prepend_bos=prepend_bos)
        except ValueError as error:
            raise ValueError(f"texts[{i}]: {error}") from None
        limit = int(model.cfg.n_ctx)
        if len(row) > limit and not truncate:
            raise ValueError(
                f"texts[{i}] has {len(row)} tokens but the model reads at most {limit}; "
                "shorten it, or pass truncate=True"
            )
        rows.append(row[:limit])
    return pad_left(model, rows)
