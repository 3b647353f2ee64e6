"""Leaves BOS out of the sum but still divides by the count with BOS."""

# canary-5e04d68c68e9eab8cde484408dc2ae67

import torch

TASK = "sentence_residuals"
EXPECT = "loses"


def sentence_residuals(model, sentences):
    means = []
    for sentence in sentences:
        tokens = model.to_tokens(sentence)
        _, cache = model.run_with_cache(tokens)
        total = [
            cache[f"blocks.{i}.hook_resid_pre"][0, 1:].sum(0) for i in range(model.cfg.n_layers)
        ]
        means.append(torch.stack(total) / tokens.shape[1])
    return torch.stack(means)
