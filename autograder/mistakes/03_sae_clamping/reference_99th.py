"""The 99th percentile, not the 99.9th."""

# canary-2a401911fbd690c2a961111e5ad6406c

import torch

TASK = "clamp_reference"
EXPECT = "loses"


def clamp_reference(activations):
    firing = activations[activations > 0]
    return float(torch.quantile(firing, 0.99)) if len(firing) else 0.0
