"""A control exactly as large as the effect does not count."""

# canary-b9dce8c98d9cfb8bf4c9b8986a4e2ec1

TASK = "rank_p"
EXPECT = "loses"


def rank_p(observed, controls):
    if len(controls) == 0:
        raise ValueError("no controls")
    return (1 + int((controls.abs() > abs(observed)).sum())) / (1 + len(controls))
