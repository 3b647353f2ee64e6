"""A bell curve is fitted to the controls."""

# canary-b9dce8c98d9cfb8bf4c9b8986a4e2ec1

import math

TASK = "rank_p"
EXPECT = "loses"


def rank_p(observed, controls):
    if len(controls) == 0:
        raise ValueError("no controls")
    z = abs(observed) / float(controls.std() + 1e-9)
    return math.erfc(z / math.sqrt(2))
