"""Sorts the sentences by length and returns the rows in that order."""

# canary-5e04d68c68e9eab8cde484408dc2ae67

import torch

TASK = "sentence_residuals"
EXPECT = "loses"


def sentence_residuals(model, sentences):
    means = []
    for sentence in sorted(sentences, key=len):
        _, cache = model.run_with_cache(model.to_tokens(sentence))
        layers = range(model.cfg.n_layers)
        means.append(
            torch.stack([cache[f"blocks.{i}.hook_resid_pre"][0, 1:].mean(0) for i in layers])
        )
    return torch.stack(means)
