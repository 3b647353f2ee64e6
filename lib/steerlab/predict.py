"""Predict first: say what you expect before a figure shows what is.

A prediction cell sets `answer` and calls `predict`. While the answer is `None` the figures that
take the prediction stay undrawn and say what they wait for; afterwards they lay the prediction
over the measurement. Answering is what counts, not being right: the questions are picked
because the right answer surprises.

Four kinds of answer exist. A number; one of several `options`; a ranking, which is a list of all
`options`; a sketched curve, which is one number for each value in `at`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, Literal

Answer = float | str | tuple[float, ...] | tuple[str, ...] | None
Kind = Literal["number", "choice", "ranking", "curve"]


@dataclass(frozen=True)
class Prediction:
    """What was asked and what was answered; `answer` is None until the student fills it in."""

    key: str
    question: str
    kind: Kind
    answer: Answer
    unit: str = ""
    options: tuple[str, ...] = ()
    at: tuple[float, ...] = ()

    @property
    def filled(self) -> bool:
        return self.answer is not None

    def waiting(self) -> str:
        """The sentence that stands where the figure will be."""
        return f"The figure waits for your prediction {self.key!r}. {self.question}"

    def beside(self, measured: Any) -> str:
        """One line that lays the prediction beside what was measured."""
        return f"{self.key}: you said {self._say(self.answer)}, measured {self._say(measured)}"

    def _say(self, value: Any) -> str:
        if value is None:
            return "nothing yet"
        if isinstance(value, str):
            return value
        if isinstance(value, Real):
            return f"{float(value):.3g}{self.unit and ' ' + self.unit}"
        join = " > " if self.kind == "ranking" else ", "
        return join.join(v if isinstance(v, str) else f"{float(v):.3g}" for v in value)


def predict(
    question: str,
    answer: Any,
    *,
    key: str,
    unit: str = "",
    options: Sequence[str] = (),
    at: Sequence[float] = (),
    low: float = -math.inf,
    high: float = math.inf,
) -> Prediction:
    """Record an answer to `question`, or that there is none yet.

    `options` makes it a choice (answer: one of them, 2 being taken for "2") or a ranking (answer: a
    list of all of them); `at` makes it a curve (answer: one number for each value); otherwise it
    is a number between `low` and `high`, in `unit`. Raises ValueError when the answer
    does not fit the question.
    """
    kind: Kind = "number"
    if options:
        kind = "ranking" if isinstance(answer, list | tuple) else "choice"
    elif len(at):
        kind = "curve"
    checked = None if answer is None else _checked(answer, kind, key, options, at, low, high)
    prediction = Prediction(key, question, kind, checked, unit, tuple(options), tuple(at))
    print(question)
    if prediction.filled:
        print(f"→ prediction {key} = {prediction._say(checked)}")
    else:
        print(f"→ prediction {key}: put your answer in the place of None, then run this cell.")
    return prediction


def _checked(
    answer: Any,
    kind: Kind,
    key: str,
    options: Sequence[str],
    at: Sequence[float],
    low: float,
    high: float,
) -> Answer:
    """`answer` in its canonical form, or a ValueError that says what would fit."""
    if kind == "choice":
        chosen = str(answer) if isinstance(answer, int) else answer
        if chosen not in options:
            quoted = ", ".join(map(repr, options))
            raise ValueError(
                f"prediction {key!r}: {answer!r} is not one of the options; "
                f"write one of {quoted}, with the quotation marks"
            )
        return str(chosen)
    if kind == "ranking":
        ranked = tuple(str(option) for option in answer)
        if sorted(ranked) != sorted(options):
            raise ValueError(
                f"prediction {key!r}: a ranking lists each of {list(options)} once, "
                f"highest first; got {answer!r}"
            )
        return ranked
    if kind == "curve":
        values = list(answer) if isinstance(answer, list | tuple) else [answer]
        if len(values) != len(at):
            raise ValueError(
                f"prediction {key!r}: {len(values)} values for {len(at)} points {list(at)}"
            )
        return tuple(_number(value, key, low, high) for value in values)
    return _number(answer, key, low, high)


def _number(value: Any, key: str, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, Real) or not math.isfinite(value):
        raise ValueError(f"prediction {key!r}: {value!r} is not a number")
    number = float(value)
    if not low <= number <= high:
        raise ValueError(f"prediction {key!r}: {number:g} lies outside {low:g} to {high:g}")
    return number
