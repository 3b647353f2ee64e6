"""The mean of the non-zero activations."""

# canary-2a401911fbd690c2a961111e5ad6406c

TASK = "clamp_reference"
EXPECT = "loses"


def clamp_reference(activations):
    firing = activations[activations > 0]
    return float(firing.mean()) if len(firing) else 0.0
