"""Adam written out, with torch.autograd.grad."""

# canary-6c8c387ae13f6a16017f7a29bc201cd5

import torch

TASK = "train_sae"
EXPECT = "keeps"


def train_sae(sae, x, rows, sparsities, learning_rates, loss, watch):
    now = {name: tensor.detach().clone() for name, tensor in sae.items()}
    memory = {name: (torch.zeros_like(t), torch.zeros_like(t)) for name, t in now.items()}
    for step in range(len(rows)):
        leaves = {name: tensor.detach().requires_grad_() for name, tensor in now.items()}
        value = loss(leaves, x[rows[step]], float(sparsities[step]))
        slopes = torch.autograd.grad(value, list(leaves.values()))
        for name, slope in zip(leaves, slopes, strict=True):
            m, v = memory[name]
            m, v = 0.9 * m + 0.1 * slope, 0.999 * v + 0.001 * slope**2
            memory[name] = m, v
            m_hat, v_hat = m / (1 - 0.9 ** (step + 1)), v / (1 - 0.999 ** (step + 1))
            now[name] = now[name] - learning_rates[step] * m_hat / (v_hat.sqrt() + 1e-8)
        watch(step, now)
    return now
