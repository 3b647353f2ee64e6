"""One dead latent after the other, drawn with numpy."""

# canary-89d6a33e89670fdbcf4ac52b94e2ecdc

import numpy as np

TASK = "resample"
EXPECT = "keeps"


def resample(state, dead, x, error):
    fresh = {key: value.clone() for key, value in state.items()}
    loss = error.double().square().sum(1).numpy()
    chances = loss**2 / (loss**2).sum()
    living = [i for i in range(len(dead)) if not dead[i]]
    row_norm = sum(float(state["W_dec"][i].norm()) for i in living) / len(living)
    column_norm = sum(float(state["W_enc"][:, i].norm()) for i in living) / len(living)
    draws = np.random.default_rng()
    for i in dead.nonzero().flatten().tolist():
        toward = x[draws.choice(len(x), p=chances)] - state["b_dec"]
        toward = toward / toward.norm()
        fresh["W_dec"][i], fresh["W_enc"][:, i] = toward * row_norm, toward * column_norm / 5
        fresh["b_enc"][i] = fresh["silent"][i] = 0
        for kind in ("exp_avg", "exp_avg_sq"):
            for key, place in (("W_dec", i), ("W_enc", (slice(None), i)), ("b_enc", i)):
                fresh[f"{kind}.{key}"][place] = 0
    return fresh
