"""A contrast brings two classes of texts that differ in the concept, learned from and held out."""

from __future__ import annotations

import json

import datasets
import pytest
from steerlab.data import contrast
from steerlab.evaluation import concept_score


@pytest.mark.parametrize("concept", ["sentiment", "toxicity"])
def test_the_embedded_corpus_tells_the_classes_apart_by_its_own_words(concept):
    told = contrast(concept, n=60)
    for texts in (told.target_texts, told.target_held_out, told.target_pairs):
        assert concept_score(texts, told.words_for, told.words_against) > 0.7
    for texts in (told.other_texts, told.other_held_out, told.other_pairs):
        assert concept_score(texts, told.words_for, told.words_against) < 0.3
    assert len(told.target_texts) == len(told.other_texts) == 30
    assert not set(told.target_texts) & set(told.target_held_out)
    assert contrast(concept, n=60) == told != contrast(concept, n=60, seed=1)


@pytest.mark.parametrize("concept", ["sentiment", "toxicity"])
def test_pairs_are_alike_but_for_the_concept(concept):
    told = contrast(concept, n=200)
    alike = [
        len(set(a.lower().split()) & set(b.lower().split())) / len(set(a.split()))
        for a, b in zip(told.target_pairs, told.other_pairs, strict=True)
    ]
    shuffled = [
        len(set(a.lower().split()) & set(b.lower().split())) / len(set(a.split()))
        for a, b in zip(told.target_pairs, told.other_pairs[::-1], strict=True)
    ]
    assert sum(alike) > 1.8 * sum(shuffled)


def test_personas_say_the_same_and_say_nothing_of_the_class_themselves():
    for concept in ("sentiment", "toxicity"):
        told = contrast(concept, n=20)
        assert told.target_prefix != told.other_prefix
        assert concept_score(told.statements, told.words_for, told.words_against) is None


def test_the_reversed_contrast_exchanges_everything_that_has_two_sides():
    told = contrast("toxicity", n=20)
    back = told.reversed()
    assert (back.target, back.other) == ("rude", "polite")
    assert back.target_texts == told.other_texts
    assert back.words_for == told.words_against
    assert back.prompts == told.prompts
    assert back.reversed() == told


# ----------------------------------------------------------------------------------- data sets


def rows_of(concept, n=30):
    """Rows with the columns of the hub's data set, and two that have to be left out."""
    if concept == "sentiment":
        rows = [{"sentence": f"film {i}", "label": i % 2} for i in range(n)]
        return [*rows, {"sentence": "hidden", "label": -1}, {"sentence": "  ", "label": 1}]
    if concept == "toxicity":
        return [{"text": f"comment {i}", "toxicity": 0.1 if i % 2 else 0.8} for i in range(n)]
    rows = [
        {
            "question": f"Why {i}?",
            "best_answer": f"truth {i}",
            "incorrect_answers": [f"lie {i}", "x"],
        }
        for i in range(n)
    ]
    bare = {"question": "Never asked?", "best_answer": "", "incorrect_answers": ["y"]}
    return [*rows, bare, bare | {"best_answer": "z", "incorrect_answers": []}]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("concept", "target"),
    [("sentiment", "positive"), ("toxicity", "civil"), ("truthfulness", "truthful")],
)
def test_a_local_copy_gives_what_the_hub_would(tmp_path, monkeypatch, concept, target):
    path = write(tmp_path / "rows.jsonl", rows_of(concept))
    told = contrast(concept, "hub", n=12, path=path)
    assert told.target == target
    assert len(told.target_texts) == len(told.other_texts) == len(told.target_pairs) == 6
    assert len(told.target_held_out) == len(told.other_held_out) == 6
    everything = (*told.target_texts, *told.other_texts, *told.target_held_out)
    assert not {"hidden", "", "Never asked? z"} & set(everything)
    asked = []
    real = datasets.load_dataset

    def load(name, *rest, **options):
        asked.append((name, *rest))
        return real("json", data_files=str(path), split="train", streaming=True)

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert contrast(concept, "hub", n=12) == told
    assert asked[0][0] in ("stanfordnlp/sst2", "google/civil_comments", "truthfulqa/truthful_qa")


def test_labels_of_the_data_sets_are_read_the_right_way_round(tmp_path):
    films = contrast("sentiment", "hub", n=10, path=write(tmp_path / "a", rows_of("sentiment")))
    assert all(int(text.split()[1]) % 2 == 1 for text in films.target_texts)
    said = contrast("toxicity", "hub", n=10, path=write(tmp_path / "b", rows_of("toxicity")))
    assert all(int(text.split()[1]) % 2 == 1 for text in said.target_texts)


def test_truth_and_falsehood_are_answers_to_the_same_questions(tmp_path):
    path = write(tmp_path / "rows.jsonl", rows_of("truthfulness"))
    told = contrast("truthfulness", "hub", n=12, path=path)
    for true, false in zip(told.target_pairs, told.other_pairs, strict=True):
        assert true.replace("truth", "lie") == false
    assert set(told.target_pairs) <= set(told.target_texts)
    questions = {text.split("?")[0] for text in told.target_texts}
    assert not questions & {text.split("?")[0] for text in told.other_held_out}


# ------------------------------------------------------------------------------------ bad input


def test_data_that_cannot_serve_is_refused_by_what_is_wrong(tmp_path, monkeypatch):
    one_class = write(tmp_path / "one", [{"sentence": "s", "label": 1}] * 40)
    with pytest.raises(ValueError, match="12 positive and 0 negative"):
        contrast("sentiment", "hub", n=12, path=one_class)
    columns = write(tmp_path / "columns", [{"text": "s", "label": 1}])
    with pytest.raises(ValueError, match="has no column sentence"):
        contrast("sentiment", "hub", n=12, path=columns)
    garbage = tmp_path / "garbage"
    garbage.write_text("{not json")
    with pytest.raises(ValueError, match="cannot be read as JSON lines"):
        contrast("sentiment", "hub", n=12, path=garbage)
    with pytest.raises(ValueError, match="cannot be read as JSON lines"):
        contrast("sentiment", "hub", n=12, path=tmp_path / "nowhere")

    def away(*_, **__):
        raise OSError("no route")

    monkeypatch.setattr(datasets, "load_dataset", away)
    with pytest.raises(ConnectionError, match='path= with a local copy, or corpus="concepts"'):
        contrast("toxicity", "hub")


def test_requests_that_cannot_be_met_are_refused():
    with pytest.raises(ValueError, match="'sentiment', 'toxicity', 'truthfulness'"):
        contrast("honesty")
    with pytest.raises(ValueError, match='corpus is "concepts" or "hub"'):
        contrast("sentiment", "web")
    with pytest.raises(ValueError, match="n is 7"):
        contrast("sentiment", n=7)
    with pytest.raises(ValueError, match="nothing that is true or false"):
        contrast("truthfulness")
    with pytest.raises(ValueError, match='pass corpus="hub"'):
        contrast("sentiment", path="rows.jsonl")
