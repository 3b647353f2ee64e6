"""Plain Python, one position at a time."""

# canary-5e04d68c68e9eab8cde484408dc2ae67

import torch

TASK = "steering_mask"
EXPECT = "keeps"


def steering_mask(start, n_tokens, n_prompt, positions):
    first, end = {
        "all": (1, None),
        "prompt": (1, n_prompt),
        "generated": (max(1, n_prompt), None),
    }.get(positions, (None, None))
    if first is None:
        raise ValueError(f"unknown positions {positions!r}")
    wanted = [i >= first and (end is None or i < end) for i in range(start, start + n_tokens)]
    return torch.tensor(wanted)
