"""Sorted, the entry just below the percentile."""

# canary-2a401911fbd690c2a961111e5ad6406c

TASK = "clamp_reference"
EXPECT = "keeps"


def clamp_reference(activations):
    firing = sorted(a for a in activations.tolist() if a)
    return firing[int(0.999 * (len(firing) - 1))] if firing else 0.0
