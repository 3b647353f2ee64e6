"""The decoder's bias is not in the reconstruction."""

# canary-2a401911fbd690c2a961111e5ad6406c

TASK = "error_term"
EXPECT = "loses"


def error_term(x, features, sae):
    return x - features @ sae["W_dec"]
