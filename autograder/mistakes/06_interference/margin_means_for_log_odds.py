"""The log-odds are a difference of mean logits."""

# canary-b9dce8c98d9cfb8bf4c9b8986a4e2ec1

TASK = "math_margin"
EXPECT = "loses"


def math_margin(logits, is_math, is_token):
    logits = logits.float()
    math, rest = logits[:, is_math & is_token], logits[:, ~is_math & is_token]
    margin = math.max(dim=1).values - rest.max(dim=1).values
    return margin, math.mean(dim=1) - rest.mean(dim=1)
