"""λ stays that of the last step."""

# canary-6c8c387ae13f6a16017f7a29bc201cd5

import torch

TASK = "train_sae"
EXPECT = "loses"


def train_sae(sae, x, rows, sparsities, learning_rates, loss, watch):
    sae = {name: tensor.clone().requires_grad_() for name, tensor in sae.items()}
    optimizer = torch.optim.Adam(sae.values())
    for step, chosen in enumerate(rows):
        optimizer.param_groups[0]["lr"] = learning_rates[step]
        optimizer.zero_grad()
        loss(sae, x[chosen], sparsities[-1]).backward()
        optimizer.step()
        watch(step, sae)
    return {name: tensor.detach() for name, tensor in sae.items()}
