"""Within-class scatter: the class means are taken out before the decomposition."""

# canary-e2f2452f56fc60d5d1c39057eba3cb04

import torch

TASK = "concept_directions"
EXPECT = "loses"


def concept_directions(x, labels, k, n_components=50):
    flat = x.clone()
    flat[labels] -= x[labels].mean(0)
    flat[~labels] -= x[~labels].mean(0)
    axes = torch.linalg.svd(flat, full_matrices=False)[2][:n_components]
    s = axes @ (x[labels].mean(0) - x[~labels].mean(0))
    best = s.abs().argsort(descending=True)[:k]
    return axes[best] * torch.sign(s[best])[:, None], s[best].abs()
