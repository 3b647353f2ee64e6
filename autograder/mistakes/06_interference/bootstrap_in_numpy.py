"""Right: numpy's generator and percentiles."""

# canary-b9dce8c98d9cfb8bf4c9b8986a4e2ec1

import numpy as np

TASK = "bootstrap_interval"
EXPECT = "keeps"


def bootstrap_interval(values, prompt, level, n_resamples, seed):
    values, prompt = values.numpy().astype(float), prompt.numpy()
    means = np.array([values[prompt == i].mean() for i in np.unique(prompt)])
    drawn = np.random.default_rng(seed).choice(means, (n_resamples, len(means)))
    low, high = np.percentile(drawn.mean(1), [50 * (1 - level), 50 * (1 + level)])
    return float(low), float(high)
