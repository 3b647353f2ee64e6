"""Thresholds minus positions, both by einsum."""

# canary-e2f2452f56fc60d5d1c39057eba3cb04

import torch

TASK = "missing"
EXPECT = "keeps"


def missing(h, directions, target_mean, alpha=1.0):
    thresholds = torch.einsum("kd,d->k", directions, target_mean)
    return alpha * (thresholds - torch.einsum("...d,kd->...k", h, directions))
