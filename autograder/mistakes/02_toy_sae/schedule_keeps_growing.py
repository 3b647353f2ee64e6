"""The warm-up is not capped."""

# canary-6c8c387ae13f6a16017f7a29bc201cd5

TASK = "schedule"
EXPECT = "loses"


def schedule(step, n_steps):
    return 5 * step / n_steps, min(1.0, 5 * (n_steps - step) / n_steps)
