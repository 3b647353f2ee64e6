"""The percentile over all tokens, silent ones too."""

# canary-2a401911fbd690c2a961111e5ad6406c

import torch

TASK = "clamp_reference"
EXPECT = "loses"


def clamp_reference(activations):
    return float(torch.quantile(activations, 0.999))
