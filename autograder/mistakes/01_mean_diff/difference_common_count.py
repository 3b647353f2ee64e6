"""Divides both sums by the same count."""

# canary-5e04d68c68e9eab8cde484408dc2ae67

TASK = "mean_difference"
EXPECT = "loses"


def mean_difference(positive, negative):
    return (positive.sum(dim=0) - negative.sum(dim=0)) / len(positive)
