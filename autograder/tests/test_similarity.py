"""Shared code is found whatever it is renamed to; what everybody was given is not."""

from __future__ import annotations

import subprocess
import sys

from autograder.report.similarity import WINDOW, K, Source, similar_pairs, winnow
from hypothesis import given, settings
from hypothesis import strategies as st

LONG = """
def mean_of_rows(table, weights):
    total = [0.0] * len(table[0])
    for row, weight in zip(table, weights):
        for column, value in enumerate(row):
            total[column] += value * weight
    norm = sum(weights)
    return [value / norm if norm else None for value in total]
"""
OTHER = """
import re

class Reader:
    def __init__(self, path):
        self.path, self.words = path, {}

    def read(self):
        with open(self.path) as file:
            while line := file.readline():
                for word in re.findall("[a-z]+", line.lower()):
                    self.words[word] = self.words.get(word, 0) + 1
        return sorted(self.words.items(), key=lambda pair: -pair[1])
"""


def renamed(text: str) -> str:
    for old, new in {
        "mean_of_rows": "average",
        "table": "data",
        "weights": "mass",
        "weight": "m",
        "total": "acc",
        "column": "j",
        "value": "v",
        "row": "line",
        "norm": "z",
    }.items():
        text = text.replace(old, new)
    return "# mine alone\n" + text.replace("    ", "  ").replace(" * ", "*")


def pairs(public=(), threshold=0.5, **sources):
    return similar_pairs(
        {name: Source((text,)) for name, text in sources.items()}, public, threshold
    )


def test_a_renamed_and_reformatted_copy_is_found():
    (found,) = pairs(ada=LONG, bob=renamed(LONG), cy=OTHER)
    assert (found.left, found.right) == ("ada", "bob")
    assert found.similarity == 1
    assert found.identical


def test_different_programs_share_nothing():
    assert pairs(ada=LONG, bob=OTHER, threshold=0.05) == []


def test_a_copied_part_is_found_with_its_lines():
    (found,) = pairs(ada=LONG, bob=OTHER + renamed(LONG))
    assert not found.identical
    lines = OTHER.count("\n")
    assert {line for _, line in found.left_lines} <= set(range(LONG.count("\n") + 1))
    assert min(line for _, line in found.right_lines) >= lines
    assert len({line for _, line in found.right_lines}) >= 6


def test_what_everybody_was_given_is_no_copy():
    assert pairs(public=[LONG], ada=LONG, bob=LONG) == []
    (found,) = pairs(public=[OTHER], ada=OTHER + LONG, bob=OTHER + renamed(LONG))
    assert min(line for _, line in found.left_lines) >= OTHER.count("\n")


def test_code_that_a_large_part_of_the_class_has_is_common_coin():
    crowd = {f"s{index}": LONG + f"\nx{index} = {index}\n" * (index + 1) for index in range(8)}
    assert not [pair for pair in pairs(**crowd) if not pair.identical]


def test_identical_code_is_listed_however_many_have_it():
    crowd = {f"s{index}": LONG for index in range(8)}
    assert len(pairs(**crowd)) == 8 * 7 // 2


def test_two_who_wrote_next_to_nothing_are_not_alike():
    assert pairs(ada="x = 1\nprint(x)", bob="y = 2\nprint(y)", threshold=0.0) == []


def test_broken_python_and_magics_do_not_stop_the_search():
    broken = "%pip install x\n!ls 'unclosed\ndef f(:\n  return '''\n"
    (found,) = pairs(ada=LONG + broken, bob=renamed(LONG), cy=broken)
    assert {found.left, found.right} == {"ada", "bob"}


def test_two_processes_agree():
    code = (
        "from autograder.report.similarity import *; import sys\n"
        "a, b = sys.argv[1:]\n"
        "print(similar_pairs({'a': Source((a,)), 'b': Source((a[:250] + b,))}, [], 0.0))"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code, LONG, OTHER],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1
    assert "similarity=0" in said.pop()


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), max_size=80))
def test_every_window_has_a_chosen_hash_and_it_is_a_smallest(hashes):
    chosen = winnow(hashes)
    assert chosen == sorted(set(chosen))
    for start in range(len(hashes) - WINDOW + 1):
        window = hashes[start : start + WINDOW]
        inside = [index for index in chosen if start <= index < start + WINDOW]
        assert min(window) in [hashes[index] for index in inside]


@settings(deadline=None)
@given(
    st.text("abcdefg", min_size=K + WINDOW - 1, max_size=40),
    st.text("hijk", max_size=20),
    st.text("lmnop", max_size=20),
)
def test_a_long_enough_shared_run_always_shares_a_fingerprint(run, before, after):
    def marks(text):
        grams = [hash(text[start : start + K]) for start in range(len(text) - K + 1)]
        return {grams[index] for index in winnow(grams)}

    assert marks(before + run) & marks(run + after)
