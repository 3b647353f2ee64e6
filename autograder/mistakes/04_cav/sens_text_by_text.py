"""Texts one at a time without padding, the stream as a leaf, backward()."""

# canary-a7207f533140f7e1040d6514223b14f9

import torch

TASK = "sensitivities"
EXPECT = "keeps"


def sensitivities(model, tokens, attention_mask, hook_name, targets, vectors):
    rows = []
    for row, real in zip(tokens, attention_mask.bool(), strict=True):
        held = {}

        def leaf(resid, hook, held=held):
            held["stream"] = resid.detach().clone().requires_grad_(True)
            return held["stream"] + 0.0

        with torch.enable_grad():
            logits = model.run_with_hooks(row[real][None], fwd_hooks=[(hook_name, leaf)])
            p = torch.softmax(logits[0, -1].double(), dim=-1)[targets].sum()
            torch.log(p).backward()
        total = held["stream"].grad[0, 1:].sum(dim=0)
        rows.append(torch.stack([total @ v for v in vectors]))
    return torch.stack(rows).detach()
