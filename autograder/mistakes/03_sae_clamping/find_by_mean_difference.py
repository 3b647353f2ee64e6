"""Chooses by the difference of means, which one loud document decides."""

# canary-2a401911fbd690c2a961111e5ad6406c

TASK = "find_feature"
EXPECT = "loses"


def areas(scores, labels):
    positive, negative = scores[labels], scores[~labels]
    gaps = positive[:, None] - negative[None]
    return ((gaps > 0).float() + 0.5 * (gaps == 0).float()).mean(dim=(0, 1))


def find_feature(choose_scores, choose_labels, judge_scores, judge_labels):
    means = choose_scores[choose_labels].mean(0) - choose_scores[~choose_labels].mean(0)
    best = int(means.argmax())
    return best, float(areas(judge_scores, judge_labels)[best])
