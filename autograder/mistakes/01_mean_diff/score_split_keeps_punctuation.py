"""Splits at white space, so that punctuation hides words."""

# canary-5e04d68c68e9eab8cde484408dc2ae67

TASK = "concept_score"
EXPECT = "loses"


def concept_score(prompt, text, words_for, words_against):
    words = text[len(prompt) :].lower().split()
    n_for = sum(word in words_for for word in words)
    n_against = sum(word in words_against for word in words)
    return n_for / (n_for + n_against) if n_for + n_against else None
