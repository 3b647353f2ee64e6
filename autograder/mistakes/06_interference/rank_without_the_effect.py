"""The effect is not counted as one of them, and p can be 0."""

# canary-b9dce8c98d9cfb8bf4c9b8986a4e2ec1

TASK = "rank_p"
EXPECT = "loses"


def rank_p(observed, controls):
    if len(controls) == 0:
        raise ValueError("no controls")
    return float((controls.abs() >= abs(observed)).float().mean())
