"""Centre and scale from all rows, held-out ones included."""

# canary-a7207f533140f7e1040d6514223b14f9

TASK = "prepare"
EXPECT = "loses"


def prepare(means, train):
    centred = means - means.mean(dim=0)
    return centred * means.shape[1] ** 0.5 / centred.norm(dim=1).mean()
