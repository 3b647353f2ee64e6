"""Valid is counted where nothing is present."""

# canary-b9dce8c98d9cfb8bf4c9b8986a4e2ec1

TASK = "validity_shares"
EXPECT = "loses"


def validity_shares(present, valid):
    if len(present) == 0:
        raise ValueError("no texts")
    there = int(present.sum())
    fine = int(valid.sum())
    return there / len(present), min(1.0, fine / there) if there else None, fine / len(present)
