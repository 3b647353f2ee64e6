"""Lambdas with default arguments, torch.where for the mask."""

# canary-5e04d68c68e9eab8cde484408dc2ae67

import torch

TASK = "steering_hooks"
EXPECT = "keeps"


def steering_hooks(vectors, coefficient, layers, mask):
    return [
        (
            f"blocks.{layer}.hook_resid_pre",
            lambda resid, hook, push=coefficient * vectors[layer]: torch.where(
                mask[None, :, None].to(resid.device), resid + push.to(resid), resid
            ),
        )
        for layer in layers
    ]
