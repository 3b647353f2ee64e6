"""The accuracy counts right yes/no answers of single classifiers."""

# canary-a7207f533140f7e1040d6514223b14f9

import torch
from sklearn.svm import LinearSVC

TASK = "fit_cavs"
EXPECT = "loses"


def fit_cavs(inputs, labels, train, cost):
    normals, right = [], []
    for c in range(int(labels.max()) + 1):
        svm = LinearSVC(C=cost, max_iter=20_000)
        svm.fit(inputs[train].numpy(), (labels[train] == c).numpy())
        normals.append(torch.from_numpy(svm.coef_[0]).float())
        right.append(svm.score(inputs[~train].numpy(), (labels[~train] == c).numpy()))
    cavs = torch.stack(normals)
    return cavs / cavs.norm(dim=1, keepdim=True), sum(right) / len(right)
