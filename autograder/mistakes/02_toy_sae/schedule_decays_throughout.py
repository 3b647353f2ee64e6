"""The learning rate falls from the first step on."""

# canary-6c8c387ae13f6a16017f7a29bc201cd5

TASK = "schedule"
EXPECT = "loses"


def schedule(step, n_steps):
    return min(1.0, 5 * step / n_steps), 1 - step / n_steps
