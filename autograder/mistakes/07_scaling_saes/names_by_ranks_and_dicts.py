"""Ranks by scipy, a dict for each feature."""

# canary-89d6a33e89670fdbcf4ac52b94e2ecdc

from scipy.stats import rankdata

TASK = "name_features"
EXPECT = "keeps"


def name_features(choose_scores, choose_labels, judge_scores, judge_labels):
    def areas(scores, labels):
        labelled = [(s, w) for s, w in zip(scores.tolist(), labels, strict=True) if w is not None]
        ranks = rankdata([s for s, _ in labelled])
        found = {}
        for concept in sorted({w for _, w in labelled}):
            own = [r for r, (_, w) in zip(ranks, labelled, strict=True) if w == concept]
            n, rest = len(own), len(labelled) - len(own)
            found[concept] = float((sum(own) - n * (n + 1) / 2) / (n * rest))
        return found

    names = []
    for feature in range(choose_scores.shape[1]):
        if not bool(choose_scores[:, feature].count_nonzero()):
            names.append(None)
            continue
        chosen = areas(choose_scores[:, feature], choose_labels)
        name = max(chosen, key=chosen.get)
        names.append((name, areas(judge_scores[:, feature], judge_labels)[name]))
    return names
