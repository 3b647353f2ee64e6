"""Subtracts the mean of all sentences from the positive mean."""

# canary-5e04d68c68e9eab8cde484408dc2ae67

import torch

TASK = "mean_difference"
EXPECT = "loses"


def mean_difference(positive, negative):
    return positive.mean(dim=0) - torch.cat([positive, negative]).mean(dim=0)
