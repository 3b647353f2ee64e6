"""Every row gets the length √d."""

# canary-a7207f533140f7e1040d6514223b14f9

TASK = "prepare"
EXPECT = "loses"


def prepare(means, train):
    centred = means - means[train].mean(dim=0)
    return centred / centred.norm(dim=1, keepdim=True) * means.shape[1] ** 0.5
