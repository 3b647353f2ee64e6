"""Right: a loop over prompts, and one sort for both ends."""

# canary-b9dce8c98d9cfb8bf4c9b8986a4e2ec1

import torch

TASK = "candidate_features"
EXPECT = "keeps"


def candidate_features(activity, prompt, is_code, chooses, k):
    sides = {True: [], False: []}
    for i in range(len(is_code)):
        if chooses[i]:
            sides[bool(is_code[i])].append(activity[prompt == i].double().mean(dim=0))
    gap = torch.stack(sides[True]).mean(dim=0) - torch.stack(sides[False]).mean(dim=0)
    order = gap.argsort(descending=True)
    return order[:k], order.flip(0)[:k]
