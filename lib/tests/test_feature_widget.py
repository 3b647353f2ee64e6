"""The feature browser shows cards by number and by label, and its errors in itself."""

from __future__ import annotations

import pytest
import torch
from steerlab.activations import Activations
from steerlab.feature_widget import FeatureBrowser

WORDS = ["a", "<b>", "c", "d"]


class Tokenizer:
    def decode(self, ids, **kwargs):
        return " " + WORDS[ids[0]]


def activations():
    n = torch.arange(8)
    return Activations({"h": torch.zeros(8, 2)}, n // 4, n % 4 + 1, n % 4, 2)


CODE = torch.zeros(8, 5)
CODE[1, 0], CODE[6, 0], CODE[2, 3] = 2.0, 3.0, 1.0


def strongest(strengths, documents, tokens, skip, n):
    return strengths.topk(n).indices.tolist()[: int((strengths > 0).sum())]


def browser(top_contexts=strongest, **more):
    labels = {0: ("topic: ocean", 0.97), 3: ("topic: music", 0.8)}
    return FeatureBrowser(activations(), CODE, top_contexts, Tokenizer(), labels=labels, **more)


def test_a_card_shows_contexts_rate_and_label_and_escapes_the_text():
    shown = browser().shown.value
    assert "feature 0" in shown
    assert "topic: ocean" in shown
    assert "25%" in shown
    assert "&lt;b&gt;" in shown
    assert "<b>&" not in shown


def test_contexts_stay_within_their_text():
    found = browser().contexts(0)
    assert [context.document for context in found.top] == [1, 0]
    assert all(len(context.tokens) == 4 for context in found.top)
    assert {context.quartile for context in found.quartiles} == {1, 2}


def test_search_goes_to_the_best_label_and_lists_the_others():
    it = browser()
    it.query.value = "MUSIC"
    it.find.click()
    assert it.feature.value == 3
    it.query.value = "topic"
    it.find.click()
    assert it.feature.value == 0
    assert len(it.found.options) == 2


def test_next_goes_round_over_the_features_that_fire():
    it = browser()
    it.next.click()
    assert it.feature.value == 3
    it.next.click()
    assert it.feature.value == 0


def test_a_silent_feature_is_called_dead():
    it = browser(start=1)
    assert "dead here" in it.shown.value


def test_what_goes_wrong_in_the_students_function_is_shown_in_the_widget():
    def broken(*args):
        raise NotImplementedError("your code <here>")

    it = browser(broken)
    assert "NotImplementedError" in it.error.value
    assert "&lt;here&gt;" in it.error.value
    outside = browser(lambda *args: [99])
    assert "place 99" in outside.error.value


def test_a_query_that_finds_nothing_says_which_labels_there_are():
    it = browser()
    it.query.value = "opera"
    it.find.click()
    assert "topic: ocean" in it.error.value


def test_a_code_of_other_tokens_is_refused():
    with pytest.raises(ValueError, match="8"):
        FeatureBrowser(activations(), CODE[:3], strongest, Tokenizer())
