"""Writes into the checkpoint."""

# canary-89d6a33e89670fdbcf4ac52b94e2ecdc

import torch

TASK = "resample"
EXPECT = "loses"


def resample(state, dead, x, error):
    new, alive = state, ~dead
    lengths = error.norm(dim=1)
    places = torch.multinomial(lengths**4, int(dead.sum()), replacement=True)
    aim = torch.nn.functional.normalize(x[places] - new["b_dec"], dim=1)
    price, soft = (
        new["W_dec"][alive].norm(dim=1).mean(),
        0.2 * new["W_enc"][:, alive].norm(dim=0).mean(),
    )
    new["W_dec"][dead] = price * aim
    new["W_enc"].T[dead] = soft * aim
    new["b_enc"][dead] = 0.0
    new["silent"][dead] = 0
    for kind in ("exp_avg", "exp_avg_sq"):
        new[kind + ".W_dec"][dead] = 0
        new[kind + ".W_enc"].T[dead] = 0
        new[kind + ".b_enc"][dead] = 0
    return new
