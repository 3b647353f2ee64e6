"""All clamped features get the first one's value."""

# canary-2a401911fbd690c2a961111e5ad6406c

TASK = "clamp_and_decode"
EXPECT = "loses"


def clamp_and_decode(features, error, sae, values):
    clamped = features.clone()
    clamped[..., list(values)] = next(iter(values.values()))
    return clamped @ sae["W_dec"] + sae["b_dec"] + error
