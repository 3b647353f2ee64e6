"""Counts the first generated token as prompt."""

# canary-5e04d68c68e9eab8cde484408dc2ae67

import torch

TASK = "steering_mask"
EXPECT = "loses"


def steering_mask(start, n_tokens, n_prompt, positions):
    position = torch.arange(start, start + n_tokens)
    masks = {
        "all": position > 0,
        "prompt": (position > 0) & (position <= n_prompt),
        "generated": position > n_prompt,
    }
    if positions not in masks:
        raise ValueError(positions)
    return masks[positions]
