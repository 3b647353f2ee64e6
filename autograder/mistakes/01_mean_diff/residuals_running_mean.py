"""Hooks that update a running mean, in float64, no cache object."""

# canary-5e04d68c68e9eab8cde484408dc2ae67

import torch

TASK = "sentence_residuals"
EXPECT = "keeps"


def sentence_residuals(model, sentences):
    out = torch.zeros(len(sentences), model.cfg.n_layers, model.cfg.d_model, dtype=torch.float64)

    def reader(row, layer):
        def read(resid, hook):
            for n, token in enumerate(resid[0, 1:].double(), start=1):
                out[row, layer] += (token.cpu() - out[row, layer]) / n

        return read

    for row, sentence in enumerate(sentences):
        hooks = [
            (f"blocks.{layer}.hook_resid_pre", reader(row, layer))
            for layer in range(model.cfg.n_layers)
        ]
        with torch.no_grad():
            model.run_with_hooks(model.to_tokens(sentence), fwd_hooks=hooks)
    return out.float()
