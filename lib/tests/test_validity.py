"""Parsers decide what is valid, and what is absent is neither valid nor invalid."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from steerlab.evaluation import (
    Validity,
    code_validity,
    is_valid_code,
    is_valid_latex,
    latex_first,
    latex_validity,
    validity_shares,
)

ABSENT, BROKEN, FINE = Validity(False, None), Validity(True, False), Validity(True, True)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("no code at all", ABSENT),
        ("```python\nprint(3 + 4)\n```", FINE),
        ("Sure:\n~~~py\nfor i in x:\n    i += 1\n~~~\nDone.", FINE),
        ("```\nx = 1\n```\n```python\nx =\n```", BROKEN),
        ("```python\nprint(3 + 4)\n", BROKEN),
        ("```javascript\nlet x = 1;\n```", ABSENT),
        ("inline `x = 1` and ```y = 2``` are no blocks", ABSENT),
        ("- item\n  ```python\n  x = 1\n  ```", FINE),
    ],
)
def test_a_text_is_as_good_as_its_worst_block_of_code(text, found):
    assert code_validity(text) == found


@pytest.mark.parametrize(
    "source", ["", "\n\n", "# only a comment", "word", "5", "-1", '"text"', "...", "a, b", "None"]
)
def test_an_empty_block_a_bare_name_and_a_bare_constant_are_not_valid_code(source):
    assert not is_valid_code(source)
    assert code_validity(f"```python\n{source}\n```") == BROKEN


@pytest.mark.parametrize(
    "source", ["print(x)", "x = 5", "import os", "    x = 1", "f.write", "pass"]
)
def test_code_that_does_something_is_valid(source):
    assert is_valid_code(source)


@given(st.text(alphabet="abc()=: \n\t\x00'\\{[", max_size=40))
def test_any_text_gets_a_verdict(text):
    is_valid_code(text)
    assert code_validity(text).present or code_validity(text).valid is None
    latex_validity("$$" + text)


FORMULAS = (
    r"2 + 3 = 5",
    r"\frac{d}{dx} x^{3} = 3 x^{2}",
    r"\int_0^1 x^{2} dx = \frac{1}{3}",
    r"\begin{aligned} a &= b \\ c &= d \end{aligned}",
    r"\left( \frac12 \right)^n",
    r"\text{if } x > 0",
    r"\{1, 2\} \subset \mathbb{N}",
    r"50\% \text{ of } 10\,\$",
)
BROKEN_FORMULAS = (
    "",
    "  ",
    r"\frac{1}{2",
    r"\frac{1}",
    "x^",
    "_",
    "}",
    r"\left( x",
    r"x \right)",
    r"\begin{aligned} a",
    r"\begin{cases} x \end{pmatrix}",
    r"\begin{poem} x \end{poem}",
    "x^2^3",
    r"\sqrt",
    r"\notacommand{x}",
    "a & b",
    "x # y",
    "$x$",
    "\\",
)


@pytest.mark.parametrize("formula", FORMULAS)
def test_latex_that_compiles_is_valid(formula):
    assert is_valid_latex(formula)
    assert latex_validity(f"So $$ {formula} $$ holds.") == FINE
    assert latex_validity(f"\\[ {formula} \\]") == FINE


@pytest.mark.parametrize("formula", BROKEN_FORMULAS)
def test_latex_parsing_is_strict(formula):
    assert not is_valid_latex(formula)


@pytest.mark.parametrize("formula", [r"\def\x{\x}\x", "{" * 990 + "}" * 990, "x" * 5000])
def test_a_formula_made_to_exhaust_a_parser_is_not_valid(formula):
    assert not is_valid_latex(formula)


def test_formulas_are_looked_for_outside_code_and_money():
    assert latex_validity("```python\nprint('$$ x^ $$')\n```") == ABSENT
    assert latex_validity("It costs $5, not $6 or \\$$7.") == ABSENT
    assert latex_validity("$$ x $$ and $$ y") == BROKEN
    assert latex_validity("$$$$") == BROKEN
    assert latex_validity(r"\begin{align*} a &= b \\ &= c \end{align*}") == FINE


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("$$ x $$", True),
        ("\n \\[ x \\]", True),
        (r"\begin{equation} x \end{equation}", True),
        ("Then $$ x $$", False),
        ("$5", False),
        ("```python\n```\n$$ x $$", False),
        ("", False),
    ],
)
def test_latex_comes_first_or_it_does_not(text, first):
    assert latex_first(text) is first


def test_shares_keep_absence_and_invalidity_apart():
    assert validity_shares([ABSENT, BROKEN, FINE, FINE]) == {
        "present": 0.75,
        "valid_if_present": 2 / 3,
        "present_and_valid": 0.5,
    }
    assert validity_shares([ABSENT])["valid_if_present"] is None
    with pytest.raises(ValueError, match="no texts"):
        validity_shares([])
