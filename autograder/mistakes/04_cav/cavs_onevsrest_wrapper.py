"""OneVsRestClassifier around LinearSVC, labels as −1 and 1."""

# canary-a7207f533140f7e1040d6514223b14f9

import torch
from sklearn.svm import LinearSVC

TASK = "fit_cavs"
EXPECT = "keeps"


def fit_cavs(inputs, labels, train, cost):
    x, names = inputs.numpy(), sorted(set(labels.tolist()))
    svms = {}
    for name in names:
        sign = torch.where(labels[train] == name, 1, -1)
        svms[name] = LinearSVC(C=cost, max_iter=100_000).fit(x[train.numpy()], sign.numpy())
    held_out = [i for i, seen in enumerate(train.tolist()) if not seen]
    right = 0
    for i in held_out:
        row = x[i : i + 1]
        best = max(names, key=lambda name: float(svms[name].decision_function(row)[0]))
        right += best == int(labels[i])
    normals = [torch.tensor(svms[name].coef_.ravel()) for name in names]
    cavs = torch.nn.functional.normalize(torch.stack(normals), dim=-1)
    return cavs, right / len(held_out)
