"""Counts substrings, so that badly counts as bad."""

# canary-5e04d68c68e9eab8cde484408dc2ae67

TASK = "concept_score"
EXPECT = "loses"


def concept_score(prompt, text, words_for, words_against):
    completion = text[len(prompt) :].lower()
    n_for = sum(completion.count(word) for word in words_for)
    n_against = sum(completion.count(word) for word in words_against)
    return n_for / (n_for + n_against) if n_for + n_against else None
