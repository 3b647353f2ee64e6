"""Right: the other side is set to minus infinity, and nothing is sliced."""

# canary-b9dce8c98d9cfb8bf4c9b8986a4e2ec1

TASK = "math_margin"
EXPECT = "keeps"


def math_margin(logits, is_math, is_token):
    z = logits.double()
    math = z.masked_fill(~(is_math & is_token), float("-inf"))
    rest = z.masked_fill(is_math | ~is_token, float("-inf"))
    margin = math.amax(dim=-1) - rest.amax(dim=-1)
    odds = math.log_softmax(-1).logsumexp(-1) + math.logsumexp(-1) - rest.logsumexp(-1)
    return margin.float(), odds.float()
