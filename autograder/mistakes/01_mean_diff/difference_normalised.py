"""Scales the vector of each layer to length 1."""

# canary-5e04d68c68e9eab8cde484408dc2ae67

TASK = "mean_difference"
EXPECT = "loses"


def mean_difference(positive, negative):
    difference = positive.mean(dim=0) - negative.mean(dim=0)
    return difference / difference.norm(dim=-1, keepdim=True)
