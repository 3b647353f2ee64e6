"""A feature that never fires has no quantile."""

# canary-2a401911fbd690c2a961111e5ad6406c

import torch

TASK = "clamp_reference"
EXPECT = "loses"


def clamp_reference(activations):
    return float(torch.quantile(activations[activations > 0], 0.999))
