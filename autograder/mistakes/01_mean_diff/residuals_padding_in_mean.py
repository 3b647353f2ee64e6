"""One padded batch, and the padding is averaged in."""

# canary-5e04d68c68e9eab8cde484408dc2ae67

import torch

TASK = "sentence_residuals"
EXPECT = "loses"


def sentence_residuals(model, sentences):
    _, cache = model.run_with_cache(model.to_tokens(sentences))
    layers = range(model.cfg.n_layers)
    return torch.stack([cache[f"blocks.{i}.hook_resid_pre"][:, 1:].mean(1) for i in layers], dim=1)
