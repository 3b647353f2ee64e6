"""Each turn of the loop begins anew."""

# canary-2a401911fbd690c2a961111e5ad6406c

TASK = "clamp_and_decode"
EXPECT = "loses"


def clamp_and_decode(features, error, sae, values):
    for feature, value in values.items():
        clamped = features.clone()
        clamped[..., feature] = value
    return clamped @ sae["W_dec"] + sae["b_dec"] + error
