"""Eigenvectors of the covariance matrix, turned by a comparison."""

# canary-e2f2452f56fc60d5d1c39057eba3cb04

import torch

TASK = "concept_directions"
EXPECT = "keeps"


def concept_directions(x, labels, k, n_components=50):
    vectors = torch.linalg.eigh(torch.cov(x.T.double())).eigenvectors.flip(1)
    axes = vectors[:, : min(n_components, len(x) - 1)].T.to(x)
    along = x @ axes.T
    s = along[labels].mean(0) - along[~labels].mean(0)
    axes = torch.where(s[:, None] < 0, -axes, axes)
    best = torch.topk(s.abs(), min(k, len(s)))
    return axes[best.indices], best.values
