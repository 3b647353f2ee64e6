"""Pairs the sentences up and drops what is left over."""

# canary-5e04d68c68e9eab8cde484408dc2ae67

TASK = "mean_difference"
EXPECT = "loses"


def mean_difference(positive, negative):
    n = min(len(positive), len(negative))
    return (positive[:n] - negative[:n]).mean(dim=0)
