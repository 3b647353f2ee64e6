"""The derivative by a coefficient of each vector, one at a time."""

# canary-a7207f533140f7e1040d6514223b14f9

import torch

TASK = "sensitivities"
EXPECT = "keeps"


def sensitivities(model, tokens, attention_mask, hook_name, targets, vectors):
    where = (attention_mask.cumsum(1) > 1).float() * attention_mask
    columns = []
    for vector in vectors:
        amount = torch.zeros(len(tokens), 1, 1, requires_grad=True)

        def add(resid, hook, vector=vector, amount=amount):
            return resid + amount * where[..., None] * vector

        with model.hooks(fwd_hooks=[(hook_name, add)]):
            logits = model(tokens, attention_mask=attention_mask)[:, -1]
        log_p = logits[:, targets].logsumexp(-1) - logits.logsumexp(-1)
        columns.append(torch.autograd.grad(log_p.sum(), amount)[0].flatten())
    return torch.stack(columns, dim=1)
