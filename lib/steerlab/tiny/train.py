"""Train the embedded model: `python -m steerlab.tiny.train --out DIR`.

A GPT-2 of a million parameters reads ten million tokens of the concept corpus, each document once.
That takes about half an hour on two ordinary cores. The number of tokens matters more than the text
shows: at a tenth of them the model already writes clean sentences, but carries no topic that a
probe could find and no sentiment that could be steered.

The folder written is an ordinary Hugging Face checkpoint in float16. Equal arguments give equal
weights on the same machine.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.nn import functional as F
from transformers import GPT2Config, GPT2LMHeadModel

from steerlab.data import generate
from steerlab.tiny.text import CONTEXT, batches, build_tokenizer, document_losses, stream

VALIDATION_SEED = 7_000_003  # no training chunk has it: chunk seeds are 1000 · seed + chunk
TOKENIZER_SEED = 7_000_001  # the tokenizer stays the same when the model's seed changes


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights. Learning rates as in GPT-style training at this size."""

    seed: int = 1
    tokens: int = 10_000_000
    batch: int = 16
    layers: int = 4
    width: int = 128
    heads: int = 4
    learning_rate: float = 3e-3
    last_learning_rate: float = 6e-5
    warmup_steps: int = 60
    weight_decay: float = 0.05
    autocast: bool = False  # bfloat16; pays only on processors that compute in it
    tokenizer_documents: int = 20_000

    @property
    def steps(self) -> int:
        return max(1, self.tokens // (self.batch * CONTEXT))


def learning_rate(recipe: Recipe, step: int) -> float:
    """Linear warm-up, then half a cosine down to `last_learning_rate` at the last step."""
    warm = min(1.0, (step + 1) / recipe.warmup_steps)
    cosine = 0.5 * (1 + math.cos(math.pi * step / max(1, recipe.steps - 1)))
    low = recipe.last_learning_rate
    return warm * (low + (recipe.learning_rate - low) * cosine)


def new_model(recipe: Recipe, vocabulary: int) -> GPT2LMHeadModel:
    """A GPT-2 with fresh weights and no dropout: no document is read twice."""
    config = GPT2Config(
        vocab_size=vocabulary,
        n_positions=CONTEXT,
        n_embd=recipe.width,
        n_layer=recipe.layers,
        n_head=recipe.heads,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=0,
        eos_token_id=0,
        # Equal to GPT-2's own `gelu_new`, in one fused operation.
        activation_function="gelu_pytorch_tanh",
    )
    return GPT2LMHeadModel(config)


def train(recipe: Recipe, *, log: Callable[[str], None] = print):
    """Train from nothing. Returns (model, tokenizer), the model in float32 and evaluation mode."""
    tokenizer = build_tokenizer(TOKENIZER_SEED, documents=recipe.tokenizer_documents)
    torch.manual_seed(recipe.seed)
    model = new_model(recipe, len(tokenizer)).train()
    log(f"{sum(p.numel() for p in model.parameters()):,} parameters, {len(tokenizer)} tokens")
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() <= 1]
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98), fused=True)
    started, recent = time.time(), 0.0
    # One token more than the context, so that every position has a next token to predict.
    rows = batches(stream(recipe.seed), tokenizer, recipe.batch, CONTEXT + 1)
    for step in range(recipe.steps):
        ids = next(rows)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(recipe, step)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=recipe.autocast):
            logits = model(ids[:, :-1], use_cache=False).logits
        loss = F.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        recent = loss.item() if step == 0 else 0.98 * recent + 0.02 * loss.item()
        if step % 200 == 199:
            tokens = (step + 1) * recipe.batch * CONTEXT
            log(f"{time.time() - started:5.0f} s  {tokens:>10,} tokens  loss {recent:.4f}")
    return model.eval(), tokenizer


def save(model: GPT2LMHeadModel, tokenizer, folder: Path) -> None:
    """Write the Hugging Face folder, weights in float16. Leaves other files there alone."""
    model.config.pad_token_id = tokenizer.pad_token_id
    model.config.activation_function = "gelu_new"
    model.half().save_pretrained(folder)
    model.float()
    tokenizer.save_pretrained(folder)
    # The name that every version of transformers knows; 5 writes one that 4 cannot load.
    settings = folder / "tokenizer_config.json"
    named = json.loads(settings.read_text()) | {"tokenizer_class": "PreTrainedTokenizerFast"}
    settings.write_text(json.dumps(named, indent=2) + "\n")
    (folder / "model.safetensors").chmod(0o644)  # safetensors writes for the owner alone


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m steerlab.tiny.train", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write, made if missing")
    parser.add_argument("--seed", type=int, default=Recipe.seed)
    parser.add_argument("--tokens", type=int, default=Recipe.tokens, help="training tokens")
    parser.add_argument("--batch", type=int, default=Recipe.batch, help="rows of 128 tokens a step")
    parser.add_argument("--learning-rate", type=float, default=Recipe.learning_rate)
    parser.add_argument("--threads", type=int, default=2, help="processor threads")
    parser.add_argument(
        "--documents",
        type=int,
        default=Recipe.tokenizer_documents,
        help="documents that the tokenizer takes its words from",
    )
    parser.add_argument("--held-out", type=int, default=2000, help="documents to score at the end")
    parser.add_argument("--autocast", action="store_true", help="bfloat16, where it is fast")
    chosen = parser.parse_args(arguments)
    for name in ("tokens", "batch", "documents", "held_out", "threads"):
        if getattr(chosen, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1.")
    torch.set_num_threads(chosen.threads)
    recipe = Recipe(
        seed=chosen.seed,
        tokens=chosen.tokens,
        batch=chosen.batch,
        learning_rate=chosen.learning_rate,
        autocast=chosen.autocast,
        tokenizer_documents=chosen.documents,
    )
    model, tokenizer = train(recipe, log=lambda line: print(line, flush=True))
    save(model, tokenizer, chosen.out)
    held_out = generate(chosen.held_out, VALIDATION_SEED)
    losses, counts = document_losses(model, tokenizer, held_out)
    own = sum(d.nats for d in held_out) / int(counts.sum())
    reached = float(losses.sum() / counts.sum())
    print(f"held-out loss {reached:.4f} nats a token, the generator's own {own:.4f}")


if __name__ == "__main__":
    main()
