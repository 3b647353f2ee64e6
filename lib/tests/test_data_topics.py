"""Texts about topics come with their labels, and the words that judge them tell topics apart."""

import pytest
from steerlab.data import TOPICS, topic_texts, topic_words, words_of_topics
from steerlab.data import topics as module
from steerlab.settings import course_settings


def test_every_text_of_the_embedded_corpus_has_its_topic():
    texts, labels = topic_texts("concepts", 300, seed=1)
    assert len(texts) == len(labels) == 300
    assert set(labels) == set(TOPICS)
    own = [any(word in text.lower() for word in topic_words(label))
           for text, label in zip(texts, labels, strict=True)]  # fmt: skip
    assert sum(own) > 0.95 * len(own)  # 6% of topic words are drawn from any topic
    assert topic_texts("concepts", 300, seed=1) == (texts, labels)
    assert topic_texts("concepts", 10, seed=2) != topic_texts("concepts", 10, seed=1)


def test_newsgroups_are_asked_for_as_many_posts(monkeypatch):
    monkeypatch.setattr(module, "newsgroups", lambda *asked: (["a post"], [str(asked)]))
    assert topic_texts("newsgroups", 40, 3) == (["a post"], ["('train', 40, 3)"])


def test_each_topic_has_words_of_its_own():
    assert words_of_topics("concepts", [], [])["ocean"] == topic_words("ocean")
    texts = ["the puck hit the goalie"] * 6 + ["the orbit of the probe"] * 6 + ["hapax"]
    words = words_of_topics("newsgroups", texts, ["hockey"] * 6 + ["space"] * 6 + ["space"], n=3)
    assert set(words) == {"hockey", "space"}
    assert {"puck", "goalie"} <= set(words["hockey"])
    assert {"orbit", "probe"} <= set(words["space"])
    assert "hapax" not in words["space"]
    assert not set(words["hockey"]) & set(words["space"])


def test_another_corpus_or_count_is_refused():
    with pytest.raises(ValueError, match="'concepts', 'newsgroups'"):
        topic_texts("poems", 10, 0)
    with pytest.raises(ValueError, match="at least one text"):
        topic_texts("concepts", 0, 0)
    with pytest.raises(ValueError, match="1 labels for 2 texts"):
        words_of_topics("newsgroups", ["a", "b"], ["x"])


def test_each_model_gets_topics_that_it_can_read():
    assert course_settings("tiny").topics == "concepts"
    assert course_settings("gpt2").topics == "newsgroups"
    assert course_settings("gemma-2-2b-it").base == "gemma-2-2b"
    assert course_settings("tiny").base is None
    # Posts begin with greetings and quotations: what is left must be enough to average.
    settings = course_settings("gemma-2-2b")
    assert 0 < settings.skip_tokens < settings.max_text_tokens
