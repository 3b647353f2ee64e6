"""The learning rate's share comes first."""

# canary-6c8c387ae13f6a16017f7a29bc201cd5

TASK = "schedule"
EXPECT = "loses"


def schedule(step, n_steps):
    fifth = n_steps / 5
    return min(1.0, (n_steps - step) / fifth), min(1.0, step / fifth)
