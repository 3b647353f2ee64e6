"""How often a feature fires, and not how strongly."""

# canary-b9dce8c98d9cfb8bf4c9b8986a4e2ec1

import torch

TASK = "candidate_features"
EXPECT = "loses"


def candidate_features(activity, prompt, is_code, chooses, k):
    fires = (activity > 0).float()
    means = torch.stack([fires[prompt == i].mean(dim=0) for i in range(len(is_code))])
    gap = means[is_code & chooses].mean(dim=0) - means[~is_code & chooses].mean(dim=0)
    return gap.topk(k).indices, (-gap).topk(k).indices
