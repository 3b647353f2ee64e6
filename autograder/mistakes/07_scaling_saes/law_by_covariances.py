"""Slopes from covariances in logarithms to base 2, offsets by a generator."""

# canary-89d6a33e89670fdbcf4ac52b94e2ecdc

from math import log2

import torch

TASK = "fit_law"
EXPECT = "keeps"


def fit_law(points, l0, offsets):
    used = [p for p in points if 0.95 <= p["l0"] / l0 <= 1.05]
    u = torch.tensor([log2(p["d_sae"]) for p in used], dtype=torch.float64)
    y = torch.tensor([p["fvu"] for p in used], dtype=torch.float64)

    def law(c):
        v = (y - c).log2()
        slope = ((u - u.mean()) * v).sum() / (u - u.mean()).square().sum()
        a = 2 ** (v.mean() - slope * u.mean())
        missed = y.log() - (c + a * 2 ** (slope * u)).log()
        return float(missed @ missed), (float(a), float(-slope), c)

    return min((law(c) for c in offsets if c < float(y.min())), key=lambda found: found[0])[1]
