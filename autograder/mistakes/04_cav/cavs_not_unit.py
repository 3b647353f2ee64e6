"""The normals keep the length that the SVM gave them."""

# canary-a7207f533140f7e1040d6514223b14f9

import torch
from sklearn.svm import LinearSVC

TASK = "fit_cavs"
EXPECT = "loses"


def fit_cavs(inputs, labels, train, cost):
    normals, margins = [], []
    for c in range(int(labels.max()) + 1):
        svm = LinearSVC(C=cost, max_iter=20_000)
        svm.fit(inputs[train].numpy(), (labels[train] == c).numpy())
        normals.append(torch.from_numpy(svm.coef_[0]).float())
        margins.append(torch.from_numpy(svm.decision_function(inputs[~train].numpy())))
    right = torch.stack(margins).argmax(dim=0) == labels[~train]
    return torch.stack(normals), float(right.float().mean())
