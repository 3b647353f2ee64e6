"""Rows of the vocabulary that are no token count among the rest."""

# canary-b9dce8c98d9cfb8bf4c9b8986a4e2ec1

TASK = "math_margin"
EXPECT = "loses"


def math_margin(logits, is_math, is_token):
    logits = logits.float()
    math, rest = logits[:, is_math], logits[:, ~is_math]
    margin = math.max(dim=1).values - rest.max(dim=1).values
    return margin, math.logsumexp(dim=1) - rest.logsumexp(dim=1)
