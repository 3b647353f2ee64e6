"""The prompts that measure interference: enough of each kind, none on both sides of a choice."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from steerlab.data.prompts import KINDS, PROMPT_SETS, interference_prompts
from steerlab.tiny import CHECKPOINT
from tokenizers import Tokenizer

ROW = {"id": "a", "kind": "code", "split": "evaluation", "text": "x"}


@pytest.mark.parametrize("source", PROMPT_SETS)
def test_a_set_has_forty_different_prompts_of_each_kind(source):
    prompts = interference_prompts(source)
    assert len(prompts) >= 112
    assert Counter(p.kind for p in prompts) == dict.fromkeys(KINDS, 40)
    assert len({p.text for p in prompts}) == len({p.id for p in prompts}) == len(prompts)


@pytest.mark.parametrize("source", PROMPT_SETS)
def test_prompts_that_choose_are_half_of_the_pure_ones_and_never_judge(source):
    choosing = interference_prompts(source, split="selection")
    judging = interference_prompts(source, split="evaluation")
    assert Counter(p.kind for p in choosing) == {"code": 20, "math": 20}
    assert Counter(p.kind for p in judging) == {"code": 20, "math": 20, "mixed": 40}
    assert not {p.text for p in choosing} & {p.text for p in judging}


def test_the_embedded_model_knows_every_word_of_its_set():
    tokenizer = Tokenizer.from_file(str(CHECKPOINT / "tokenizer.json"))
    for prompt in interference_prompts("concepts"):
        pieces = tokenizer.encode(prompt.text).tokens
        assert len(pieces) <= 48, prompt
        # A word outside its corpus falls into letters; single letters alone are variables.
        letters = "".join("x" if len(p) == 1 and p.isalpha() else "." for p in pieces)
        assert "xxx" not in letters, prompt


def test_prompts_come_from_a_file_too(tmp_path):
    file = tmp_path / "mine.json"
    file.write_text(json.dumps([ROW, ROW | {"id": "b", "text": "y", "kind": "mixed"}]))
    assert [p.id for p in interference_prompts(file, kind="mixed")] == ["b"]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([ROW, ROW | {"id": "b"}], "two prompts have the text 'x'"),
        ([ROW, ROW | {"text": "y"}], "two prompts have the id 'a'"),
        ([ROW | {"kind": "poem"}], "kind is one of code, math, mixed"),
        ([ROW | {"more": 1}], "expected exactly the fields id, kind, split, text"),
        ([], "holds no list of prompts"),
    ],
)
def test_a_file_that_would_mix_up_a_sweep_is_refused(tmp_path, rows, said):
    file = tmp_path / "mine.json"
    file.write_text(json.dumps(rows))
    with pytest.raises(ValueError, match=said):
        interference_prompts(file)


def test_a_set_that_does_not_exist_names_those_that_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="'english' and 'concepts'"):
        interference_prompts(tmp_path / "nothing.json")
    with pytest.raises(ValueError, match="kind is one of 'code', 'math', 'mixed'"):
        interference_prompts(kind="prose")
