"""Says whether a feature is on, and not how much."""

# canary-2a401911fbd690c2a961111e5ad6406c

TASK = "jumprelu_encode"
EXPECT = "loses"


def jumprelu_encode(x, sae):
    return (x @ sae["W_enc"] + sae["b_enc"] > sae["threshold"]).float()
