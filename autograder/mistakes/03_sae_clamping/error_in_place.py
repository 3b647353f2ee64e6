"""Subtracts from the x that it is given."""

# canary-2a401911fbd690c2a961111e5ad6406c

TASK = "error_term"
EXPECT = "loses"


def error_term(x, features, sae):
    x -= features @ sae["W_dec"] + sae["b_dec"]
    return x
