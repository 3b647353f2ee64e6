"""A Counter over what lies between non-letters, exact fractions."""

# canary-5e04d68c68e9eab8cde484408dc2ae67

import re
from collections import Counter
from fractions import Fraction

TASK = "concept_score"
EXPECT = "keeps"


def concept_score(prompt, text, words_for, words_against):
    counts = Counter(re.split(r"[^a-z]+", text.removeprefix(prompt).casefold()))
    n_for = Fraction(sum(counts[word] for word in set(words_for)))
    n_against = Fraction(sum(counts[word] for word in set(words_against)))
    total = n_for + n_against
    return None if total == 0 else float(n_for / total)
