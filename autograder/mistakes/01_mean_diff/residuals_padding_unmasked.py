"""Padding is left out of the mean, but the model runs without an attention mask."""

# canary-5e04d68c68e9eab8cde484408dc2ae67

import torch

TASK = "sentence_residuals"
EXPECT = "loses"


def sentence_residuals(model, sentences):
    tokens = model.to_tokens(sentences)
    keep = (tokens != model.tokenizer.pad_token_id).float()[..., None]
    _, cache = model.run_with_cache(tokens)
    rows = []
    for i in range(model.cfg.n_layers):
        resid = cache[f"blocks.{i}.hook_resid_pre"]
        rows.append((resid * keep).sum(1) / keep.sum(1))
    return torch.stack(rows, dim=1)
