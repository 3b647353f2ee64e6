"""Reading the residual stream of many texts at once.

`collect` runs texts through the model in length-sorted batches, reads the hook points asked for
and stops there, and keeps one row per token. Padding and position 0 are left out: whatever token
stands first is the attention sink, with a residual norm far from every other token's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from steerlab.hooks import check_hook_names, read_batch
from steerlab.tokens import Mode, check_texts, encode, pad_left, tokenize

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

__all__ = ["Activations", "collect", "tokenize"]


@dataclass(frozen=True)
class Activations:
    """Activations of the tokens of some texts, one row a token, in the order of the texts.

    values: for each hook name [n_tokens, d_model], float32 on the CPU.
    document: which text the token comes from; position: where in it, counted from 0 with BOS;
    tokens: its id; each [n_tokens]. n_documents counts texts, also those without a row.
    """

    values: dict[str, Float[Tensor, "n_tokens d_model"]]
    document: Int[Tensor, " n_tokens"]
    position: Int[Tensor, " n_tokens"]
    tokens: Int[Tensor, " n_tokens"]
    n_documents: int

    def __len__(self) -> int:
        return len(self.document)

    def mean_per_document(self, hook_name: str) -> Float[Tensor, "n_documents d_model"]:
        """Mean over each text's tokens. Raises ValueError for a text without a row to average."""
        values = self._values(hook_name)
        counts = self._counts()
        sums = torch.zeros(self.n_documents, values.shape[1]).index_add_(0, self.document, values)
        return sums / counts[:, None]

    def last_per_document(self, hook_name: str) -> Float[Tensor, "n_documents d_model"]:
        """Activation of each text's last token. Raises ValueError for a text without a row."""
        values = self._values(hook_name)
        return values[self._counts().cumsum(0) - 1]

    def _values(self, hook_name: str) -> Tensor:
        if hook_name not in self.values:
            have = ", ".join(self.values)
            raise ValueError(f"{hook_name!r} was not collected; collected: {have}")
        return self.values[hook_name]

    def _counts(self) -> Tensor:
        counts = torch.bincount(self.document, minlength=self.n_documents)
        empty = (counts == 0).nonzero().flatten().tolist()
        if empty:
            raise ValueError(
                f"texts {empty[:5]} have no token beyond position 0, so nothing to average; "
                "make them longer or leave them out"
            )
        return counts


@torch.no_grad()
def collect(
    model: TransformerBridge,
    texts: Sequence[str],
    hook_names: str | Iterable[str],
    *,
    batch_size: int = 32,
    mode: Mode = "raw",
    prepend_bos: bool | None = None,
) -> Activations:
    """Activations at `hook_names` for every token of `texts` except padding and position 0.

    The forward pass ends at the deepest hook asked for. Texts longer than the model's context are
    cut there. Raises ValueError for no texts, an empty text or an unknown hook name.
    """
    texts = check_texts(texts)
    names = check_hook_names(model, hook_names)
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
    limit = int(model.cfg.n_ctx)
    rows = [encode(model, text, mode=mode, prepend_bos=prepend_bos)[:limit] for text in texts]
    # Sorted by length, a batch holds little padding.
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    parts: dict[str, list[Tensor]] = {name: [] for name in names}
    document, position, tokens = [], [], []
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        batch = pad_left(model, [rows[i] for i in chosen])
        keep = batch.content
        for name, value in read_batch(model, batch, names).items():
            parts[name].append(value[keep].float().cpu())
        document.append(torch.tensor(chosen)[:, None].expand(keep.shape)[keep.cpu()])
        position.append(batch.positions[keep].cpu())
        tokens.append(batch.tokens[keep].cpu())
    documents = torch.cat(document)
    # A stable sort puts the texts back in order and keeps the tokens of each in theirs.
    back = torch.argsort(documents, stable=True)
    return Activations(
        values={name: torch.cat(part)[back] for name, part in parts.items()},
        document=documents[back],
        position=torch.cat(position)[back],
        tokens=torch.cat(tokens)[back],
        n_documents=len(texts),
    )
