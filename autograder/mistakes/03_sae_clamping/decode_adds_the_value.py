"""Adds α to the activation and does not set it."""

# canary-2a401911fbd690c2a961111e5ad6406c

TASK = "clamp_and_decode"
EXPECT = "loses"


def clamp_and_decode(features, error, sae, values):
    clamped = features.clone()
    for feature, value in values.items():
        clamped[..., feature] += value
    return clamped @ sae["W_dec"] + sae["b_dec"] + error
