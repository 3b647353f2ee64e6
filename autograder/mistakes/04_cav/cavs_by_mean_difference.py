"""Differences of means instead of an SVM's normals."""

# canary-a7207f533140f7e1040d6514223b14f9

import torch

TASK = "fit_cavs"
EXPECT = "loses"


def fit_cavs(inputs, labels, train, cost):
    x, y = inputs[train], labels[train]
    classes = range(int(labels.max()) + 1)
    cavs = torch.stack([x[y == c].mean(0) - x[y != c].mean(0) for c in classes])
    cavs = cavs / cavs.norm(dim=1, keepdim=True)
    right = (inputs[~train] @ cavs.T).argmax(dim=1) == labels[~train]
    return cavs, float(right.float().mean())
