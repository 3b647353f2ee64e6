"""Without controls, p is 1."""

# canary-b9dce8c98d9cfb8bf4c9b8986a4e2ec1

TASK = "rank_p"
EXPECT = "loses"


def rank_p(observed, controls):
    return (1 + int((controls.abs() >= abs(observed)).sum())) / (1 + len(controls))
