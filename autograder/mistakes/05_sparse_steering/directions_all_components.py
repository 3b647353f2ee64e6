"""n_components is ignored."""

# canary-e2f2452f56fc60d5d1c39057eba3cb04

import torch

TASK = "concept_directions"
EXPECT = "loses"


def concept_directions(x, labels, k, n_components=50):
    axes = torch.linalg.svd(x - x.mean(0), full_matrices=False)[2]
    s = axes @ (x[labels].mean(0) - x[~labels].mean(0))
    best = s.abs().argsort(descending=True)[:k]
    return axes[best] * torch.sign(s[best])[:, None], s[best].abs()
