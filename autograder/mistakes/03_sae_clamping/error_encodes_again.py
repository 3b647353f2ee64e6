"""Ignores the features that it is given and computes others."""

# canary-2a401911fbd690c2a961111e5ad6406c

import torch

TASK = "error_term"
EXPECT = "loses"


def error_term(x, features, sae):
    again = torch.relu(x @ sae["W_enc"] + sae["b_enc"])
    return x - (again @ sae["W_dec"] + sae["b_dec"])
