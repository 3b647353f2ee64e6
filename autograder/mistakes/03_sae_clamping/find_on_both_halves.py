"""Chooses on all documents together."""

# canary-2a401911fbd690c2a961111e5ad6406c

import torch

TASK = "find_feature"
EXPECT = "loses"


def areas(scores, labels):
    positive, negative = scores[labels], scores[~labels]
    gaps = positive[:, None] - negative[None]
    return ((gaps > 0).float() + 0.5 * (gaps == 0).float()).mean(dim=(0, 1))


def find_feature(choose_scores, choose_labels, judge_scores, judge_labels):
    scores = torch.cat([choose_scores, judge_scores])
    labels = torch.cat([choose_labels, judge_labels])
    best = int(areas(scores, labels).argmax())
    return best, float(areas(judge_scores, judge_labels)[best])
