"""Divides every coordinate by its own deviation."""

# canary-a7207f533140f7e1040d6514223b14f9

TASK = "prepare"
EXPECT = "loses"


def prepare(means, train):
    return (means - means[train].mean(dim=0)) / means[train].std(dim=0)
