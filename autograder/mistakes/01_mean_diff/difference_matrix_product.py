"""One signed weighted sum over both sets."""

# canary-5e04d68c68e9eab8cde484408dc2ae67

import torch

TASK = "mean_difference"
EXPECT = "keeps"


def mean_difference(positive, negative):
    weights = torch.cat(
        [
            torch.full((len(positive),), 1 / len(positive), dtype=positive.dtype),
            torch.full((len(negative),), -1 / len(negative), dtype=positive.dtype),
        ]
    )
    return torch.einsum("s,sld->ld", weights, torch.cat([positive, negative]))
