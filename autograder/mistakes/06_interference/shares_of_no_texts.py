"""No texts give zeros."""

# canary-b9dce8c98d9cfb8bf4c9b8986a4e2ec1

TASK = "validity_shares"
EXPECT = "loses"


def validity_shares(present, valid):
    n = max(len(present), 1)
    there, both = int(present.sum()), int((present & valid).sum())
    return there / n, both / there if there else None, both / n
