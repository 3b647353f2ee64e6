"""The checks that stand under each exercise: they take the student's function and diagnose it.

A check says one of three things. The function is right: one line that begins with `✓`. It is not
written yet: one friendly line, and the notebook goes on. It is wrong: `CheckFailed`, whose message
says what the function seems to do and what to look at next; IPython shows that one line and no
traceback. An exception of the student's own comes through untouched, since its traceback points
at the student's line.

The inputs are small and fixed, and nothing here computes an answer the way an exercise asks for
it. Marks are given by other tests, on other inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import torch

RESID_PRE = "blocks.{layer}.hook_resid_pre"


class CheckFailed(AssertionError):
    """A check found the function wrong; the message is the diagnosis."""

    def _render_traceback_(self) -> list[str]:
        """What IPython prints in place of a traceback."""
        return [f"✗ {self}"]


def check_of(task: str) -> Callable[[Callable[..., str]], Callable[..., None]]:
    """Make a check of `task` out of a function that diagnoses and returns what it looked at."""

    def decorate(diagnose: Callable[..., str]) -> Callable[..., None]:
        @wraps(diagnose)
        def check(function: Callable[..., Any], *args: Any) -> None:
            try:
                looked_at = diagnose(function, *args)
            except NotImplementedError:
                print(f"… {task} is not written yet. Fill in the cell above, then run this one.")
            except CheckFailed as failure:
                raise CheckFailed(f"{task}: {failure}") from None
            else:
                print(f"✓ {task}: {looked_at}")

        return check

    return decorate


def expect(condition: object, diagnosis: str) -> None:
    """Raise CheckFailed with this diagnosis unless the condition holds."""
    if not condition:
        raise CheckFailed(diagnosis)


def expect_tensor(value: object, shape: Sequence[int], dims: str) -> torch.Tensor:
    """`value` as a finite tensor of `shape`, or a diagnosis; `dims` names the dimensions."""
    expect(value is not None, "it returns None. Is the `return` missing?")
    if not isinstance(value, torch.Tensor):
        raise CheckFailed(f"it returns a {type(value).__name__}; return a tensor [{dims}].")
    expect(
        tuple(value.shape) == tuple(shape),
        f"the result has shape {list(value.shape)}; [{dims}] is {list(shape)} here.",
    )
    if value.is_floating_point():
        expect(
            bool(value.isfinite().all()),
            "the result holds NaN or infinity. Do you divide by a count that can be 0?",
        )
    return value


def expect_pair(value: object, names: str) -> tuple[Any, Any]:
    """The two parts of a result, or a diagnosis; `names` says what they are."""
    expect(value is not None, "it returns None. Is the `return` missing?")
    if not isinstance(value, tuple | list):
        raise CheckFailed(f"return two things, ({names}); it returns a {type(value).__name__}.")
    expect(len(value) == 2, f"return two things, ({names}); it returns {len(value)}.")
    return value[0], value[1]


def same(a: torch.Tensor, b: torch.Tensor, tolerance: float = 1e-3) -> bool:
    """Equal up to rounding, relative to the larger of the two."""
    a, b = a.detach().double().cpu(), b.detach().double().cpu()
    return bool((a - b).norm() <= tolerance * max(a.norm(), b.norm(), 1e-12))
