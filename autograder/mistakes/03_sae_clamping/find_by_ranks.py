"""Mann and Whitney's U from SciPy's ranks."""

# canary-2a401911fbd690c2a961111e5ad6406c

from scipy.stats import rankdata

TASK = "find_feature"
EXPECT = "keeps"


def area(scores, labels):
    ranks = rankdata(scores.numpy())
    n, m = int(labels.sum()), int((~labels).sum())
    return (ranks[labels.numpy()].sum() - n * (n + 1) / 2) / (n * m)


def find_feature(choose_scores, choose_labels, judge_scores, judge_labels):
    every = [area(column, choose_labels) for column in choose_scores.T]
    best = max(range(len(every)), key=every.__getitem__)
    return best, area(judge_scores[:, best], judge_labels)
