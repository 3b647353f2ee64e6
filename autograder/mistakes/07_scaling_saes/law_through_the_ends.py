"""A line through the first and the last point."""

# canary-89d6a33e89670fdbcf4ac52b94e2ecdc

import math

import numpy as np

TASK = "fit_law"
EXPECT = "loses"


def fit_law(points, l0, offsets):
    used = [p for p in points if abs(p["l0"] - l0) <= l0 / 20]
    u = np.log(np.array([p["d_sae"] for p in used], dtype=float))
    y = np.array([p["fvu"] for p in used])
    laws = []
    for c in offsets:
        if c < y.min():
            m, b = np.polyfit(
                u[[u.argmin(), u.argmax()]], np.log(y - c)[[u.argmin(), u.argmax()]], 1
            )
            miss = np.log(y) - np.log(c + math.exp(b) * np.exp(m * u))
            laws.append((float((miss**2).sum()), math.exp(b), float(-m), c))
    return min(laws)[1:]
