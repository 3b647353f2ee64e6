"""Counts positions from the beginning of the pass and not of the text."""

# canary-5e04d68c68e9eab8cde484408dc2ae67

import torch

TASK = "steering_mask"
EXPECT = "loses"


def steering_mask(start, n_tokens, n_prompt, positions):
    position = torch.arange(n_tokens)
    if positions == "all":
        return position > 0
    if positions == "prompt":
        return (position > 0) & (position < n_prompt)
    if positions == "generated":
        return position >= n_prompt
    raise ValueError(positions)
