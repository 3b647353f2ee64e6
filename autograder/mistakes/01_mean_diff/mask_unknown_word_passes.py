"""An unknown word steers nothing, without a word."""

# canary-5e04d68c68e9eab8cde484408dc2ae67

import torch

TASK = "steering_mask"
EXPECT = "loses"


def steering_mask(start, n_tokens, n_prompt, positions):
    position = torch.arange(start, start + n_tokens)
    if positions == "all":
        return position > 0
    if positions == "prompt":
        return (position > 0) & (position < n_prompt)
    if positions == "generated":
        return (position > 0) & (position >= n_prompt)
    return position < 0
