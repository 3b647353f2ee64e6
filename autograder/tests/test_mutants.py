"""Automatic mutants: what is changed, what is left alone, and what is known to be no change at all."""

from __future__ import annotations

import ast

import pytest
from autograder.validation.mutants import compiled, mutants_of, sample
from hypothesis import given, settings
from hypothesis import strategies as st

MEAN = """\
def f(x, y):
    '''Half the distance.'''
    return 0.5 * (x.mean(dim=0) - y[1:].mean(dim=0))
"""


MUTANTS, _ = mutants_of("f", MEAN)


def changed(source: str, operator: str | None = None) -> set[str]:
    """What the changed lines become, by one operator or by all."""
    mutants, _ = mutants_of("f", source)
    return {m.becomes for m in mutants if operator in (None, m.operator)}


def body(line: str) -> str:
    return f"def f(x, y, n):\n    return {line}\n"


@pytest.mark.parametrize(
    ("line", "operator", "becomes"),
    [
        ("x - y", "swap_op", "x + y"),
        ("x - y", "swapped_operands", "y - x"),
        ("x * y", "dropped_term", "x"),
        ("x * y", "dropped_term", "y"),
        ("x + y", "in_place", "x.add_(y)"),
        ("x + y", "sign", "(-(x + y))"),
        ("x + y", "returned_dtype", "(x + y).half()"),
        ("x.sum(dim=1)", "dimension", "x.sum(dim=0)"),
        ("x.sum(1)", "dimension", "x.sum(0)"),
        ("x.sum(1)", "other_function", "x.mean(1)"),
        ("x.norm(dim=-1)", "kept_dimension", "x.norm(dim=-1, keepdim = True)"),
        ("x.clone() @ y", "dropped_call", "x @ y"),
        ("x.detach() * y", "dropped_call", "x * y"),
        ("x.float() * y", "dtype", "x.half() * y"),
        ("x[n]", "index_step", "x[(n + 1)]"),
        ("x[:, 0]", "index_step", "x[:, 1]"),
        ("x[1:]", "slice_bound", "x[(1 + 1):]"),
        ("x[n:]", "slice_bound", "x[:]"),
        ("x < y", "comparison", "x > y"),
        ("x < y", "swap_op", "x <= y"),
        ("g(x, y)", "swapped_arguments", "g(y, x)"),
        ("range(n)", "range_end", "range((n - 1))"),
        ("[g(i) for i in x]", "reversed_loop", "[g(i) for i in x][::-1]"),
        ("[g(i) for i in x]", "shortened_loop", "[g(i) for i in list(x)[1:]]"),
        ("x if n else y", "negated_condition", "x if (not (n)) else y"),
        ("~x", "remove_unary_ops", "x"),
    ],
)
def test_an_operator_changes_one_thing(line, operator, becomes):
    found = {text.removeprefix("return ").strip() for text in changed(body(line), operator)}
    bare = {text.removeprefix("(").removesuffix(")") for text in found}
    assert becomes in found | bare


def test_every_mutant_is_python_that_compiles_to_something_else():
    codes = [compiled(mutant.source) for mutant in MUTANTS]
    assert len(set(codes)) == len(codes) > 20
    assert compiled(MEAN) not in codes


def test_docstrings_annotations_imports_and_messages_are_left_alone():
    source = '''\
from math import sqrt

def f(x: "Float[Tensor, 'a b']") -> "Float[Tensor, 'b']":
    """Adds 1 to x."""
    if x is None:
        raise ValueError("x is 1 + 1" "or more")
    return g(x)
'''
    for mutant in mutants_of("f", source)[0]:
        for line in ("from math import sqrt", '"""Adds 1 to x."""', "-> \"Float[Tensor, 'b']\":"):
            assert line in mutant.source
        assert 'ValueError("x is 1 + 1" "or more")' in mutant.source or mutant.operator in (
            "other_exception",
            "dropped_statement",
        )


def test_what_compiles_to_the_same_code_is_no_mutant():
    # One more and one less of a folded constant's parts: 2 + 0 and 0 + 2 are 2 again, elsewhere.
    same = compiled("def f(x: int):\n    'One.'\n    return x + (1 + 1)\n")
    assert same == compiled("def f(x):\n    'Two.'\n    return x + 2\n")
    assert same != compiled("def f(x):\n    return x + 3\n")
    assert compiled("def f():\n    return 1\n") != compiled("def f():\n    return 1.0\n")


def test_two_operators_with_the_same_outcome_make_one_mutant():
    mutants, dropped = mutants_of("f", body("x[1:]"))
    sources = [mutant.source for mutant in mutants]
    assert dropped  # x[:] and x[0:] slice alike only at run time, but 1 + 1 and 2 are folded
    assert len(sources) == len(set(sources))


def test_operands_are_detached_only_where_something_is_learnt():
    plain = body("(x - y) ** 2")
    learning = plain.replace("return", "x.requires_grad_(True)\n    return")
    assert not changed(plain, "detached_operand")
    assert changed(learning, "detached_operand")


def test_a_mutant_keeps_its_name_when_another_line_is_edited():
    before = {m.id for m in mutants_of("f", "def f(x):\n    y = x + 1\n    return y * 2\n")[0]}
    after = {m.id for m in mutants_of("f", "def f(x):\n    y = x + 7\n    return y * 2\n")[0]}
    kept = {key for key in before if "return y * 2" in key}
    assert kept
    assert kept <= after


def test_equal_lines_are_told_apart_by_their_occurrence():
    source = "def f(x):\n    if x:\n        g(x + 1)\n    else:\n        g(x + 1)\n"
    mutants, _ = mutants_of("f", source)
    ids = [mutant.id for mutant in mutants]
    assert len(set(ids)) == len(ids)
    assert max(mutant.occurrence for mutant in mutants) == 2


@settings(deadline=None)
@given(n=st.integers(0, 40))
def test_a_sample_is_the_same_each_time_and_grows_by_adding(n):
    mutants = MUTANTS
    smaller, larger = sample(mutants, n), sample(mutants, n + 5)
    assert smaller == sample(mutants, n)
    assert len(smaller) == min(n, len(mutants))
    assert set(smaller) <= set(larger) <= set(mutants)
    assert sample(mutants, None) == mutants


EXPRESSIONS = st.recursive(
    st.sampled_from(["x", "y", "1", "2.5", "n", "x[n]", "y[:, 1:]", "None", "'a'"]),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "@", "<", "and"]), inner).map(
            lambda parts: f"({' '.join(parts)})"
        ),
        inner.map(lambda text: f"({text}).mean(dim=0)"),
        inner.map(lambda text: f"g({text}, n)"),
        inner.map(lambda text: f"[i for i in ({text})]"),
        st.tuples(inner, inner).map(lambda parts: f"(({parts[0]}) if n else ({parts[1]}))"),
    ),
    max_leaves=6,
)


@settings(deadline=None, max_examples=12)
@given(EXPRESSIONS)
def test_whatever_the_solution_its_mutants_are_valid_and_differ(text):
    source = body(text)
    mutants, _ = mutants_of("f", source)
    for mutant in mutants:
        ast.parse(mutant.source)
        assert mutant.source != source
        assert mutant.line != mutant.becomes
