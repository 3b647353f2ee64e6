"""Probabilities are formed before the logarithm, and the small ones are 0."""

# canary-b9dce8c98d9cfb8bf4c9b8986a4e2ec1

TASK = "math_margin"
EXPECT = "loses"


def math_margin(logits, is_math, is_token):
    logits = logits.float()
    math, rest = logits[:, is_math & is_token], logits[:, ~is_math & is_token]
    margin = math.max(dim=1).values - rest.max(dim=1).values
    p = logits[:, is_token].softmax(dim=1)
    chosen = is_math[is_token]
    return margin, p[:, chosen].sum(dim=1).log() - p[:, ~chosen].sum(dim=1).log()
