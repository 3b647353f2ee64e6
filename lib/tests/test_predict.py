"""A prediction is a number, a choice, a ranking or a curve; figures wait until it is given."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from steerlab.predict import predict


def test_an_unanswered_prediction_is_not_filled_and_says_what_to_do(capsys):
    prediction = predict("How many?", None, key="n")
    assert not prediction.filled
    assert "How many?" in prediction.waiting()
    assert "None" in capsys.readouterr().out


def test_an_answered_prediction_is_filled_and_printed_with_its_unit(capsys):
    prediction = predict("How far?", 30, key="angle", unit="degrees", low=0, high=90)
    assert prediction.filled
    assert prediction.answer == 30.0
    assert "→ prediction angle = 30 degrees" in capsys.readouterr().out
    assert prediction.beside(61.2) == "angle: you said 30 degrees, measured 61.2 degrees"


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_a_number_is_taken_exactly_when_it_lies_in_the_range(value):
    if 0 <= value <= 1:
        assert predict("?", value, key="share", low=0, high=1).answer == value
    else:
        with pytest.raises(ValueError, match="share"):
            predict("?", value, key="share", low=0, high=1)


def test_zero_is_an_answer():
    assert predict("?", 0, key="n").filled


def test_a_choice_is_one_of_the_options():
    assert predict("?", "b", key="c", options=["a", "b"]).answer == "b"
    with pytest.raises(ValueError, match="write one of 'a', 'b', with the quotation marks"):
        predict("?", "d", key="c", options=["a", "b"])


def test_a_whole_number_chooses_the_option_that_is_written_so():
    assert predict("?", 2, key="c", options=["1", "2"]).answer == "2"
    for answer in (3, 2.0, True):
        with pytest.raises(ValueError, match="quotation marks"):
            predict("?", answer, key="c", options=["1", "2"])


@given(st.permutations(["red", "green", "blue"]))
def test_a_ranking_is_any_order_of_all_options(order):
    prediction = predict("?", order, key="rank", options=["red", "green", "blue"])
    assert prediction.kind == "ranking"
    assert prediction.answer == tuple(order)


@pytest.mark.parametrize("order", [["a"], ["a", "a"], ["a", "b", "c"]])
def test_a_ranking_that_misses_or_repeats_an_option_is_refused(order):
    with pytest.raises(ValueError, match="each of"):
        predict("?", order, key="rank", options=["a", "b"])


def test_a_curve_has_one_number_for_each_point():
    prediction = predict("?", [0, 0.5, 1], key="curve", at=[-1, 0, 1], low=0, high=1)
    assert prediction.kind == "curve"
    assert prediction.answer == (0.0, 0.5, 1.0)
    with pytest.raises(ValueError, match="2 values for 3 points"):
        predict("?", [0, 1], key="curve", at=[-1, 0, 1])
    with pytest.raises(ValueError, match="outside"):
        predict("?", [0, 2, 1], key="curve", at=[-1, 0, 1], low=0, high=1)


@pytest.mark.parametrize("answer", ["much", True, [1, 2], object()])
def test_what_is_no_number_is_refused_by_name(answer):
    with pytest.raises(ValueError, match="is not a number"):
        predict("?", answer, key="n")
