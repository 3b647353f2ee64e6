"""P(valid | present) is divided by all texts."""

# canary-b9dce8c98d9cfb8bf4c9b8986a4e2ec1

TASK = "validity_shares"
EXPECT = "loses"


def validity_shares(present, valid):
    if len(present) == 0:
        raise ValueError("no texts")
    there, both = int(present.sum()), int((present & valid).sum())
    return there / len(present), both / len(present) if there else None, both / len(present)
