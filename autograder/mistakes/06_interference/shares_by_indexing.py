"""Right: the valid ones among those that are present, by indexing."""

# canary-b9dce8c98d9cfb8bf4c9b8986a4e2ec1

TASK = "validity_shares"
EXPECT = "keeps"


def validity_shares(present, valid):
    if not present.numel():
        raise ValueError("there is no text to take a share of")
    among = valid[present].double()
    middle = among.mean().item() if among.numel() else None
    return [present.double().mean().item(), middle, among.sum().item() / present.numel()]
