"""Documents without a label count as not of the concept."""

# canary-89d6a33e89670fdbcf4ac52b94e2ecdc

import torch
from steerlab.sae import auroc

TASK = "name_features"
EXPECT = "loses"


def name_features(choose_scores, choose_labels, judge_scores, judge_labels):
    known = sorted({w for w in choose_labels if w})

    def table(scores, words):
        keep = list(range(len(words)))
        rows = [auroc(scores[keep], torch.tensor([words[i] == k for i in keep])) for k in known]
        return torch.stack(rows)

    first, second = table(choose_scores, choose_labels), table(judge_scores, judge_labels)
    best = first.argmax(0)
    worth, alive = second[best, range(len(best))], choose_scores.amax(0) > 0
    pairs = zip(best.tolist(), worth.tolist(), alive.tolist(), strict=True)
    return [(known[b], w) if on else None for b, w, on in pairs]
