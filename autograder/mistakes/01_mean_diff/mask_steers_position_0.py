"""Steers position 0 as well."""

# canary-5e04d68c68e9eab8cde484408dc2ae67

import torch

TASK = "steering_mask"
EXPECT = "loses"


def steering_mask(start, n_tokens, n_prompt, positions):
    position = torch.arange(start, start + n_tokens)
    if positions == "all":
        return torch.ones(n_tokens, dtype=torch.bool)
    if positions == "prompt":
        return position < n_prompt
    if positions == "generated":
        return position >= n_prompt
    raise ValueError(positions)
