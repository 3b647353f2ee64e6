"""Where nothing is present, nothing is invalid."""

# canary-b9dce8c98d9cfb8bf4c9b8986a4e2ec1

TASK = "validity_shares"
EXPECT = "loses"


def validity_shares(present, valid):
    if len(present) == 0:
        raise ValueError("no texts")
    fine = valid | ~present
    return (
        float(present.float().mean()),
        float(fine.float().mean()),
        float((present & valid).float().mean()),
    )
