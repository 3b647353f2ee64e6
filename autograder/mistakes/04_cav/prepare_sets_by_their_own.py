"""Held-out rows are centred and scaled by their own mean and length."""

# canary-a7207f533140f7e1040d6514223b14f9

TASK = "prepare"
EXPECT = "loses"


def prepare(means, train):
    out = means.clone()
    for rows in (train, ~train):
        centred = means[rows] - means[rows].mean(dim=0)
        out[rows] = centred * means.shape[1] ** 0.5 / centred.norm(dim=1).mean()
    return out
