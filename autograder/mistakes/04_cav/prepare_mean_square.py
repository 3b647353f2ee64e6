"""The mean of the squared lengths is d, not the mean length √d."""

# canary-a7207f533140f7e1040d6514223b14f9

TASK = "prepare"
EXPECT = "loses"


def prepare(means, train):
    centred = means - means[train].mean(dim=0)
    return centred * (means.shape[1] / centred[train].square().sum(dim=1).mean()) ** 0.5
