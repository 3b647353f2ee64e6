"""Compares |z| with the threshold, so strongly negative ones come out."""

# canary-2a401911fbd690c2a961111e5ad6406c

TASK = "jumprelu_encode"
EXPECT = "loses"


def jumprelu_encode(x, sae):
    z = x @ sae["W_enc"] + sae["b_enc"]
    return z * (z.abs() > sae["threshold"])
