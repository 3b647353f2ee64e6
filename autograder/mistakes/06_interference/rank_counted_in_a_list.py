"""Right: counted in plain Python."""

# canary-b9dce8c98d9cfb8bf4c9b8986a4e2ec1

TASK = "rank_p"
EXPECT = "keeps"


def rank_p(observed, controls):
    if not controls.numel():
        raise ValueError("an effect without controls has no rank")
    as_far = [c for c in controls.tolist() if abs(c) >= abs(observed)]
    return (len(as_far) + 1) / (controls.numel() + 1)
