"""One multi-class fit in float64, the second normal of two mirrored."""

# canary-a7207f533140f7e1040d6514223b14f9

import numpy as np
import torch
from sklearn.svm import LinearSVC

TASK = "fit_cavs"
EXPECT = "keeps"


def fit_cavs(inputs, labels, train, cost):
    x, y = inputs.double().numpy(), labels.numpy()
    rows = train.numpy()
    svm = LinearSVC(C=cost, dual=False, tol=1e-6, max_iter=50_000).fit(x[rows], y[rows])
    w, b = svm.coef_, svm.intercept_
    if len(w) == 1:
        w, b = np.vstack([-w, w]), np.concatenate([-b, b])
    guess = np.argmax(x[~rows] @ w.T + b, axis=1)
    w = w / np.linalg.norm(w, axis=1)[:, None]
    return torch.tensor(w, dtype=torch.float32), float(np.mean(guess == y[~rows]))
