"""Only controls on the effect's own side count."""

# canary-b9dce8c98d9cfb8bf4c9b8986a4e2ec1

TASK = "rank_p"
EXPECT = "loses"


def rank_p(observed, controls):
    if len(controls) == 0:
        raise ValueError("no controls")
    reached = (controls >= observed).sum() if observed >= 0 else (controls <= observed).sum()
    return (1 + int(reached)) / (1 + len(controls))
