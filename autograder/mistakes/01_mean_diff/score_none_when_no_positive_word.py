"""Says None also where all words are against."""

# canary-5e04d68c68e9eab8cde484408dc2ae67

import re

TASK = "concept_score"
EXPECT = "loses"


def concept_score(prompt, text, words_for, words_against):
    words = re.findall("[a-z]+", text[len(prompt) :].lower())
    n_for = sum(word in words_for for word in words)
    n_against = sum(word in words_against for word in words)
    return n_for / (n_for + n_against) if n_for else None
