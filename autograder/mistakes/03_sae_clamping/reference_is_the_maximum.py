"""The largest activation."""

# canary-2a401911fbd690c2a961111e5ad6406c

TASK = "clamp_reference"
EXPECT = "loses"


def clamp_reference(activations):
    return float(activations.max())
