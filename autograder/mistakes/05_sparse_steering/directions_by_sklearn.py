"""scikit-learn does the decomposition; order and sign in a loop."""

# canary-e2f2452f56fc60d5d1c39057eba3cb04

import numpy as np
import torch
from sklearn.decomposition import PCA

TASK = "concept_directions"
EXPECT = "keeps"


def concept_directions(x, labels, k, n_components=50):
    limit = min(n_components, *x.shape)
    fitted = PCA(n_components=limit, svd_solver="full").fit(x.double().numpy())
    mask = labels.numpy()
    scores = fitted.transform(x.double().numpy())
    ranked = []
    for j in range(limit):
        gap = scores[mask, j].mean() - scores[~mask, j].mean()
        ranked.append((abs(gap), np.sign(gap) * fitted.components_[j]))
    ranked.sort(key=lambda pair: -pair[0])
    rows = torch.tensor(np.array([axis for _, axis in ranked[:k]]))
    return rows.float(), torch.tensor([gap for gap, _ in ranked[:k]]).float()
