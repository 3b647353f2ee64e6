"""Sums of variances over coordinates, nonzero and bincount, in numpy."""

# canary-6c8c387ae13f6a16017f7a29bc201cd5

import numpy as np

TASK = "sae_scores"
EXPECT = "keeps"


def sae_scores(x, x_hat, code, losses):
    x, x_hat, code = (part.detach().cpu().double().numpy() for part in (x, x_hat, code))
    firing = np.bincount(code.nonzero()[1], minlength=code.shape[1])
    fvu = ((x - x_hat) ** 2).mean(0).sum() / x.var(0).sum()
    scores = {"loss_recovered": None, "fvu": fvu.item()}
    scores["l0"] = (firing.sum() / code.shape[0]).item()
    scores["dead"] = np.mean(firing == 0).item()
    if losses:
        scores["loss_recovered"] = 1 - (losses[1] - losses[0]) / (losses[2] - losses[0])
    return scores
