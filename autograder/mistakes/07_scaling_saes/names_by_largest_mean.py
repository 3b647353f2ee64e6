"""The concept with the highest mean score."""

# canary-89d6a33e89670fdbcf4ac52b94e2ecdc

import torch
from steerlab.sae import auroc

TASK = "name_features"
EXPECT = "loses"


def name_features(choose_scores, choose_labels, judge_scores, judge_labels):
    known = sorted(set(choose_labels) - {None})
    means = torch.stack(
        [choose_scores[[i for i, w in enumerate(choose_labels) if w == k]].mean(0) for k in known]
    )
    keep = [i for i, w in enumerate(judge_labels) if w]
    entries = []
    for feature, row in enumerate(means.argmax(0).tolist()):
        hits = torch.tensor([judge_labels[i] == known[row] for i in keep])
        score = float(auroc(judge_scores[keep][:, [feature]], hits))
        entries.append((known[row], score) if choose_scores[:, feature].any() else None)
    return entries
