"""The rest minus mathematics."""

# canary-b9dce8c98d9cfb8bf4c9b8986a4e2ec1

TASK = "math_margin"
EXPECT = "loses"


def math_margin(logits, is_math, is_token):
    logits = logits.float()
    math, rest = logits[:, is_math & is_token], logits[:, ~is_math & is_token]
    margin = rest.max(dim=1).values - math.max(dim=1).values
    return margin, rest.logsumexp(dim=1) - math.logsumexp(dim=1)
