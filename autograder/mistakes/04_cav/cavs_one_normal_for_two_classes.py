"""One multi-class fit: with two classes it has a single normal."""

# canary-a7207f533140f7e1040d6514223b14f9

import torch
from sklearn.svm import LinearSVC

TASK = "fit_cavs"
EXPECT = "loses"


def fit_cavs(inputs, labels, train, cost):
    svm = LinearSVC(C=cost, max_iter=20_000).fit(inputs[train].numpy(), labels[train].numpy())
    cavs = torch.from_numpy(svm.coef_).float()
    accuracy = svm.score(inputs[~train].numpy(), labels[~train].numpy())
    return cavs / cavs.norm(dim=1, keepdim=True), accuracy
