"""From corpus documents to the token rows that the embedded model is trained and scored on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

import torch
from jaxtyping import Float, Int
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor
from torch.nn import functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from steerlab.data import Document, generate

BOUNDARY = "<|endoftext|>"  # begins, ends and pads; id 0
CONTEXT = 128
_CHUNK = 5_000  # documents generated at a time


def build_tokenizer(seed: int, *, documents: int = 20_000, at_least: int = 3):
    """A byte-level BPE whose tokens are the corpus's words, and bytes for everything else.

    A word (as GPT-2 splits text) seen `at_least` times in `documents` documents is one token; any
    other is spelled in bytes, so that every text can be read and given back. There are no merges
    and so no fragments of words, which would stand in the vocabulary without ever being trained.

    Returns a `PreTrainedTokenizerFast` that adds no special token by itself.
    """
    splitter = pre_tokenizers.ByteLevel(add_prefix_space=False)
    counts: Counter[str] = Counter()
    for document in generate(documents, seed):
        counts.update(word for word, _ in splitter.pre_tokenize_str(document.text))
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    common = sorted(w for w, n in counts.items() if n >= at_least and len(w) > 1)
    words = sorted(common, key=lambda word: -counts[word])
    vocabulary = {token: i for i, token in enumerate([BOUNDARY, *alphabet, *words])}
    bpe = Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    bpe.pre_tokenizer = splitter
    bpe.decoder = decoders.ByteLevel()
    bpe.add_special_tokens([BOUNDARY])
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token=BOUNDARY,
        eos_token=BOUNDARY,
        unk_token=BOUNDARY,
        pad_token=BOUNDARY,
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )


def stream(seed: int) -> Iterator[Document]:
    """Corpus documents without end; chunk i of seed s is drawn with seed 1000 s + i."""
    chunk = 0
    while True:
        yield from generate(_CHUNK, 1000 * seed + chunk)
        chunk += 1


def pack(documents: Iterable[Document], tokenizer, length: int = CONTEXT) -> Iterator[list[int]]:
    """Lay documents end to end into rows of `length` tokens, each document after a boundary token.

    Every row begins at the start of a document, so that position 0 always holds the boundary and
    the model never has to guess a beginning that it cannot see. What does not fit is dropped.
    """
    boundary = tokenizer.bos_token_id
    row: list[int] = []
    for document in documents:
        row += [boundary, *tokenizer(document.text)["input_ids"]]
        if len(row) >= length:
            yield row[:length]
            row = []


def batches(
    documents: Iterable[Document], tokenizer, batch: int, length: int = CONTEXT
) -> Iterator[Int[Tensor, "batch pos"]]:
    """Stack packed rows; an incomplete last batch is dropped."""
    rows = []
    for row in pack(documents, tokenizer, length):
        rows.append(row)
        if len(rows) == batch:
            yield torch.tensor(rows)
            rows = []


@torch.no_grad()
def document_losses(
    model: PreTrainedModel, tokenizer, documents: list[Document], batch: int = 50
) -> tuple[Float[Tensor, " document"], Int[Tensor, " document"]]:
    """Summed cross-entropy in nats and predicted tokens of each document on its own.

    A document is predicted from the boundary before it up to and including the boundary after it.
    That is what `Document.nats` accounts for, so the two sums may be compared.
    """
    boundary = tokenizer.bos_token_id
    encoded = tokenizer([d.text for d in documents])["input_ids"]
    losses, counts = torch.zeros(len(encoded)), torch.zeros(len(encoded), dtype=torch.long)
    order = sorted(range(len(encoded)), key=lambda i: len(encoded[i]))
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        width = min(CONTEXT, max(len(encoded[i]) for i in chosen) + 2)
        ids = torch.full((len(chosen), width), boundary)
        targets = torch.full((len(chosen), width), -100)
        for row, i in enumerate(chosen):
            text = torch.tensor([boundary, *encoded[i], boundary])[:width]
            ids[row, : len(text)] = text
            targets[row, : len(text)] = text
        logits = model(ids, attention_mask=(targets >= 0).long()).logits[:, :-1].float()
        loss = F.cross_entropy(logits.transpose(1, 2), targets[:, 1:], reduction="none")
        losses[chosen] = loss.sum(1)
        counts[chosen] = (targets[:, 1:] >= 0).sum(1)
    return losses, counts
