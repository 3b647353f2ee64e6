"""Of several targets, the first."""

# canary-a7207f533140f7e1040d6514223b14f9

import torch

TASK = "sensitivities"
EXPECT = "loses"


def sensitivities(model, tokens, attention_mask, hook_name, targets, vectors):
    nudges = []

    def nudge(resid, hook):
        nudges.append(torch.zeros_like(resid, requires_grad=True))
        return resid + nudges[-1]

    with model.hooks(fwd_hooks=[(hook_name, nudge)]):
        logits = model(tokens, attention_mask=attention_mask)
    log_p = logits[:, -1].log_softmax(dim=-1)[:, targets[0]]
    [gradient] = torch.autograd.grad(log_p.sum(), nudges)
    position = attention_mask.cumsum(dim=1) - 1
    counts = attention_mask.bool() & (position > 0)
    return (gradient * counts[..., None]).sum(dim=1) @ vectors.T
