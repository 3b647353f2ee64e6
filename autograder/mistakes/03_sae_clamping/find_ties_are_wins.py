"""A tie counts as a win, so features that never fire look perfect."""

# canary-2a401911fbd690c2a961111e5ad6406c

TASK = "find_feature"
EXPECT = "loses"


def areas(scores, labels):
    return (scores[labels][:, None] >= scores[~labels][None]).float().mean(dim=(0, 1))


def find_feature(choose_scores, choose_labels, judge_scores, judge_labels):
    best = int(areas(choose_scores, choose_labels).argmax())
    return best, float(areas(judge_scores, judge_labels)[best])
