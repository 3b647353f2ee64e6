"""Centres and scales the tensor that it was given."""

# canary-a7207f533140f7e1040d6514223b14f9

TASK = "prepare"
EXPECT = "loses"


def prepare(means, train):
    means -= means[train].mean(dim=0)
    means *= means.shape[1] ** 0.5 / means[train].norm(dim=1).mean()
    return means
