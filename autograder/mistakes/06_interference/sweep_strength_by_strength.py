"""Right: strengths outside, directions inside, numpy arrays in between."""

# canary-b9dce8c98d9cfb8bf4c9b8986a4e2ec1

import numpy as np
import torch

TASK = "sweep"
EXPECT = "keeps"


def sweep(measure, direction, draw, n, alphas, stream_norm):
    kept = [direction, *draw(n).unbind()]
    base = measure(0 * direction)
    columns = []
    for alpha in alphas:
        columns.append([measure(v * (alpha * stream_norm / float(v.norm()))) - base for v in kept])
    table = np.array(columns).T
    return torch.from_numpy(table[0]), torch.from_numpy(table[1:])
