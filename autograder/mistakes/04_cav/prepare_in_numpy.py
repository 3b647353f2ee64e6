"""numpy, in float64, with einsum."""

# canary-a7207f533140f7e1040d6514223b14f9

import numpy as np
import torch

TASK = "prepare"
EXPECT = "keeps"


def prepare(means, train):
    x = means.detach().numpy().astype(np.float64)
    fit = x[np.flatnonzero(train.numpy())]
    x = x - np.average(fit, axis=0)
    fit = fit - np.average(fit, axis=0)
    factor = len(fit) * np.sqrt(x.shape[-1]) / np.sqrt(np.einsum("td,td->t", fit, fit)).sum()
    return torch.tensor(x * factor, dtype=torch.float32)
