"""A scheduler sets the learning rate; parameters as nn.Parameter."""

# canary-6c8c387ae13f6a16017f7a29bc201cd5

import torch

TASK = "train_sae"
EXPECT = "keeps"


def train_sae(sae, x, rows, sparsities, learning_rates, loss, watch):
    params = {name: torch.nn.Parameter(torch.empty_like(t).copy_(t)) for name, t in sae.items()}
    optimizer = torch.optim.Adam(list(params.values()), lr=1.0)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rates[min(step, len(learning_rates) - 1)]
    )
    for step, (chosen, weight) in enumerate(zip(rows.unbind(), sparsities, strict=True)):
        value = loss(params, x.index_select(0, chosen), weight)
        value.backward()
        optimizer.step()
        scheduler.step()
        for parameter in params.values():
            parameter.grad = None
        watch(step, {name: p.detach().clone() for name, p in params.items()})
    return {name: p.data for name, p in params.items()}
