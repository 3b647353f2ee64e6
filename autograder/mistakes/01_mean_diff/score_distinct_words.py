"""Counts a word once however often it comes."""

# canary-5e04d68c68e9eab8cde484408dc2ae67

import re

TASK = "concept_score"
EXPECT = "loses"


def concept_score(prompt, text, words_for, words_against):
    words = set(re.findall("[a-z]+", text[len(prompt) :].lower()))
    n_for, n_against = len(words & set(words_for)), len(words & set(words_against))
    return n_for / (n_for + n_against) if n_for + n_against else None
