"""numpy's generator; the texts are permuted and the labels stay."""

# canary-a7207f533140f7e1040d6514223b14f9

import numpy as np
import torch
from sklearn.svm import LinearSVC

TASK = "random_cavs"
EXPECT = "keeps"


def random_cavs(inputs, is_concept, n, seed, cost):
    dice, x, y = np.random.default_rng(seed), inputs.double().numpy(), is_concept.numpy()
    out = np.empty((n, x.shape[1]))
    for k in range(n):
        svm = LinearSVC(C=cost, dual=False, max_iter=50_000).fit(dice.permutation(x), y)
        out[k] = svm.coef_ / np.linalg.norm(svm.coef_)
    return torch.from_numpy(out).float()
