"""Negative minus positive."""

# canary-5e04d68c68e9eab8cde484408dc2ae67

TASK = "mean_difference"
EXPECT = "loses"


def mean_difference(positive, negative):
    return negative.mean(dim=0) - positive.mean(dim=0)
