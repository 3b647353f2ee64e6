"""The mask is the wrong way round: the prompts that judge choose."""

# canary-b9dce8c98d9cfb8bf4c9b8986a4e2ec1

import torch

TASK = "candidate_features"
EXPECT = "loses"


def candidate_features(activity, prompt, is_code, chooses, k):
    tokens = torch.bincount(prompt, minlength=len(is_code))
    sums = torch.zeros(len(is_code), activity.shape[1]).index_add_(0, prompt, activity.float())
    means = sums / tokens.clamp(min=1)[:, None]
    gap = means[is_code & ~chooses].mean(dim=0) - means[~is_code & ~chooses].mean(dim=0)
    return gap.topk(k).indices, (-gap).topk(k).indices
