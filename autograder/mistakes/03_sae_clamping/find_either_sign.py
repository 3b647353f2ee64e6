"""Takes a feature that is low where the concept is for as good."""

# canary-2a401911fbd690c2a961111e5ad6406c

TASK = "find_feature"
EXPECT = "loses"


def areas(scores, labels):
    positive, negative = scores[labels], scores[~labels]
    gaps = positive[:, None] - negative[None]
    return ((gaps > 0).float() + 0.5 * (gaps == 0).float()).mean(dim=(0, 1))


def find_feature(choose_scores, choose_labels, judge_scores, judge_labels):
    area = areas(choose_scores, choose_labels)
    best = int((area - 0.5).abs().argmax())
    area = areas(judge_scores, judge_labels)
    return best, float(area[best])
