"""The embedded concept corpus: what it promises to whoever trains, probes or steers with it."""

import ast
import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from steerlab.data import (
    CIVILITIES,
    REGISTERS,
    SENTIMENTS,
    TOPICS,
    generate,
    sentences,
    sentiment_words,
    token_labels,
    topic_words,
)
from steerlab.data.vocabulary import CIVILITY_POOLS, PLAIN_POOLS, SENTIMENT_POOLS, TOPIC_POOLS
from steerlab.data.writer import SENTIMENT_NOISE, TOPIC_NOISE
from steerlab.tiny.text import build_tokenizer

seeds = st.integers(min_value=0, max_value=2**40)
quickly = settings(max_examples=20, deadline=None)


@pytest.fixture(scope="module")
def corpus():
    return generate(3000, seed=12)


@quickly
@given(seed=seeds, n=st.integers(0, 12))
def test_the_same_seed_gives_the_same_corpus(seed, n):
    assert generate(n, seed) == generate(n, seed)


@quickly
@given(seed=seeds)
def test_a_longer_corpus_begins_with_the_shorter_one(seed):
    assert generate(8, seed)[:3] == generate(3, seed)


def test_another_seed_gives_another_corpus():
    assert generate(5, 0) != generate(5, 1)


@quickly
@given(seed=seeds)
def test_spans_lie_inside_the_text_and_spans_of_one_attribute_never_overlap(seed):
    for document in generate(10, seed):
        for attribute in ("topic", "sentiment", "civility", "register"):
            end = 0
            for span in (s for s in document.spans if s.attribute == attribute):
                assert end <= span.start < span.end <= len(document.text)
                end = span.end


@quickly
@given(seed=seeds)
def test_a_span_names_the_class_that_its_word_belongs_to(seed):
    words = {"topic": topic_words, "sentiment": sentiment_words}
    for document in generate(10, seed):
        for span in document.spans:
            covered = document.text[span.start : span.end].lower()
            if span.attribute in words:
                assert covered in words[span.attribute](span.value)
            elif span.attribute == "civility":
                phrases = [p.lower() for pool in CIVILITY_POOLS[span.value].values() for p in pool]
                assert covered in phrases
            else:
                assert span.value in REGISTERS


def test_register_spans_cover_every_letter(corpus):
    for document in corpus[:300]:
        covered = set()
        for span in document.spans:
            if span.attribute == "register":
                covered |= set(range(span.start, span.end))
        left = [c for i, c in enumerate(document.text) if i not in covered]
        assert all(c.isspace() for c in left)


@quickly
@given(
    seed=seeds,
    topic=st.sampled_from(TOPICS),
    sentiment=st.sampled_from(SENTIMENTS),
    register=st.sampled_from(("story", "instruction")),
)
def test_filters_hold(seed, topic, sentiment, register):
    for document in generate(5, seed, topic=topic, sentiment=sentiment, register=register):
        assert (document.topic, document.sentiment) == (topic, sentiment)
        assert document.register == register


@quickly
@given(seed=seeds, civility=st.sampled_from(CIVILITIES))
def test_asking_for_a_civility_gives_chats(seed, civility):
    for document in generate(3, seed, civility=civility):
        assert (document.register, document.civility) == ("chat", civility)


@pytest.mark.parametrize(
    ("filters", "said"),
    [
        ({"topic": "cheese"}, "unknown topic 'cheese'"),
        ({"register": "poem"}, "unknown register 'poem'"),
        ({"register": "math", "topic": "space"}, "carries topic"),
        ({"sentiment": "positive", "civility": "rude"}, "leave out a filter"),
    ],
)
def test_an_impossible_filter_is_refused_by_name(filters, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        generate(1, 0, **filters)


def test_a_negative_number_of_documents_is_refused():
    with pytest.raises(ValueError, match="n must be 0 or more"):
        generate(-1, 0)


def test_every_label_comes_about_equally_often(corpus):
    for attribute, values in (("topic", TOPICS), ("sentiment", SENTIMENTS)):
        labels = [getattr(d, attribute) for d in corpus if getattr(d, attribute) is not None]
        for value in values:
            assert 0.6 < labels.count(value) * len(values) / len(labels) < 1.4
    assert {d.register for d in corpus} == set(REGISTERS)


def test_labels_are_soft_at_the_stated_noise(corpus):
    # Noise draws from all classes, so a third (a twelfth) of it lands on the right one.
    stated = {"sentiment": SENTIMENT_NOISE * 2 / 3, "topic": TOPIC_NOISE * 11 / 12}
    for attribute, expected in stated.items():
        pairs = [
            (span.value, getattr(d, attribute))
            for d in corpus
            for span in d.spans
            if span.attribute == attribute
        ]
        wrong = sum(value != label for value, label in pairs) / len(pairs)
        assert wrong == pytest.approx(expected, abs=0.01)


def test_no_word_has_two_labels_or_is_also_a_plain_word():
    labelled = [
        word
        for pools in (*TOPIC_POOLS.values(), *SENTIMENT_POOLS.values())
        for words in pools.values()
        for word in words
    ]
    assert len(labelled) == len(set(labelled))
    plain = {word.lower() for words in PLAIN_POOLS.values() for word in words}
    assert not plain & set(labelled)


def test_every_class_has_as_many_words_as_any_other():
    # Otherwise a share of words would favour the class with more of them.
    for pools in (TOPIC_POOLS, SENTIMENT_POOLS):
        for pool in next(iter(pools.values())):
            sizes = {len(pools[value][pool]) for value in pools}
            assert max(sizes) - min(sizes) <= 1, pool


def test_every_code_block_is_valid_python(corpus):
    blocks = [b for d in corpus for b in re.findall(r"```python\n(.*?)\n```", d.text, re.DOTALL)]
    assert len(blocks) > 300
    for block in blocks:
        ast.parse(block)


def test_every_sum_is_right_and_every_formula_is_closed(corpus):
    formulas = [f for d in corpus for f in re.findall(r"\$\$ (.*?) \$\$", d.text)]
    sums = [m for f in formulas if (m := re.fullmatch(r"(\d) \+ (\d) = (\d+)", f))]
    assert len(sums) > 300
    assert all(int(m[1]) + int(m[2]) == int(m[3]) for m in sums)
    assert all(f.count("{") == f.count("}") for f in formulas)
    assert all(d.text.count("$$") % 2 == 0 for d in corpus)


def test_mixed_prompts_are_answered_with_code_and_mathematics_in_either_order():
    answers = [
        [s.value for s in d.spans if s.attribute == "register"]
        for d in generate(300, 3, register="instruction")
    ]
    assert ["instruction", "code", "math"] in answers
    assert ["instruction", "math", "code"] in answers


def test_haiku_have_three_lines_after_their_prompt():
    for document in generate(50, 4, register="haiku"):
        prompt, *lines = document.text.split("\n")
        assert prompt.startswith("Write a haiku")
        assert len(lines) == 3


def test_articles_agree_with_the_word_that_follows(corpus):
    for document in corpus:
        assert not re.search(r"\b[Aa] (?!us)[aeiou]\w", document.text), document.text
        assert not re.search(r"\b[Aa]n [^aeiou]", document.text), document.text


def test_nats_are_what_the_draws_cost():
    """Conditioning on a label saves exactly the log of its number of values."""
    free = generate(4000, 5, register="haiku")
    given_topic = [
        document
        for i, topic in enumerate(TOPICS)
        for document in generate(330, 50 + i, register="haiku", topic=topic)
    ]
    mean_free = sum(d.nats for d in free) / len(free)
    mean_given = sum(d.nats for d in given_topic) / len(given_topic)
    assert mean_free - mean_given == pytest.approx(2.485, abs=0.15)  # log 12
    assert all(d.nats > 0 for d in free)


def test_nats_of_a_sum_can_be_computed_by_hand():
    # Asked for mathematics: 4 lengths; then per line no lead (3/4), kind 6/12, two digits.
    for document in generate(400, 6, register="math"):
        if re.fullmatch(r"\$\$ \d \+ \d = \d+ \$\$\n\$\$ \d \+ \d = \d+ \$\$", document.text):
            line = math.log(4 / 3) + math.log(2) + math.log(100)
            assert document.nats == pytest.approx(math.log(4) + 2 * line)
            return
    pytest.fail("no document of two plain sums among 400")


@quickly
@given(seed=seeds, sentiment=st.sampled_from(SENTIMENTS))
def test_labelled_sentences_are_seeded_single_and_of_their_sentiment(seed, sentiment):
    drawn = sentences(sentiment, 6, seed)
    assert drawn == sentences(sentiment, 6, seed)
    assert len(drawn) == 6
    for sentence in drawn:
        assert sentence[0].isupper()
        assert sentence.endswith(".")
        assert sentence.count(".") == 1
        assert set(re.findall(r"\w+", sentence.lower())) & set(sentiment_words(sentiment))


def test_an_unknown_sentiment_or_topic_is_refused():
    with pytest.raises(ValueError, match="unknown sentiment 'happy'"):
        sentences("happy", 3, 0)
    with pytest.raises(ValueError, match="unknown topic 'cheese'"):
        topic_words("cheese")
    with pytest.raises(ValueError, match="unknown sentiment 'happy'"):
        sentiment_words("happy")


def test_concept_words_are_lower_case_and_distinct():
    for topic in TOPICS:
        words = topic_words(topic)
        assert len(words) == len(set(words)) >= 40
        assert all(word == word.lower() for word in words)


class TestTokenLabels:
    @pytest.fixture(scope="class")
    def tokenizer(self):
        return build_tokenizer(0, documents=2000)

    def test_there_is_one_label_a_token_and_labelled_tokens_spell_the_spans(self, tokenizer):
        for document in generate(40, 8):
            ids = tokenizer(document.text)["input_ids"]
            for attribute in ("topic", "sentiment"):
                labels = token_labels(document, tokenizer, attribute)
                assert len(labels) == len(ids)
                spelled = "".join(
                    tokenizer.decode([i]).strip()
                    for i, label in zip(ids, labels, strict=True)
                    if label is not None
                )
                spans = [s for s in document.spans if s.attribute == attribute]
                assert spelled == "".join(document.text[s.start : s.end] for s in spans)

    def test_an_unknown_attribute_is_refused(self, tokenizer):
        with pytest.raises(ValueError, match="unknown attribute 'mood'"):
            token_labels(generate(1, 0)[0], tokenizer, "mood")

    def test_a_tokenizer_without_offsets_is_refused(self):
        with pytest.raises(ValueError, match="fast tokenizer"):
            token_labels(generate(1, 0)[0], object(), "topic")
