"""Clips with numpy, returns a list, counts the fifths that are left."""

# canary-6c8c387ae13f6a16017f7a29bc201cd5

import numpy as np

TASK = "schedule"
EXPECT = "keeps"


def schedule(step, n_steps):
    warm, left = step * 5 / n_steps, 5 - step * 5 / n_steps
    return [float(np.clip(warm, 0, 1)), left if left <= 1 else 1]
