"""Reads what leaves the block, not what enters it."""

# canary-5e04d68c68e9eab8cde484408dc2ae67

import torch

TASK = "sentence_residuals"
EXPECT = "loses"


def sentence_residuals(model, sentences):
    means = []
    for sentence in sentences:
        _, cache = model.run_with_cache(model.to_tokens(sentence))
        layers = range(model.cfg.n_layers)
        means.append(
            torch.stack([cache[f"blocks.{i}.hook_resid_post"][0, 1:].mean(0) for i in layers])
        )
    return torch.stack(means)
