"""Only ever moves the feature up: max(f, α) − f."""

# canary-2a401911fbd690c2a961111e5ad6406c

import torch

TASK = "clamp_step"
EXPECT = "loses"


def clamp_step(x, sae, values):
    chosen = list(values)
    alpha = torch.tensor([values[i] for i in chosen])
    z = x @ sae["W_enc"][:, chosen] + sae["b_enc"][chosen]
    features = torch.relu(z) * (z > sae["threshold"][chosen])
    return (alpha - features).clamp(min=0) @ sae["W_dec"][chosen]
