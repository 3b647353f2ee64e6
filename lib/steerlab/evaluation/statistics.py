"""What a number measured on a few dozen prompts is worth: rank p-values and bootstrap intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 2_000


def rank_p(observed: float, controls: Sequence[float]) -> float:
    """Two-sided rank p-value of an effect, (1 + #{|control| ≥ |observed|}) / (1 + n).

    It cannot fall below 1 / (1 + n). Raises ValueError for no controls or a value that is not finite.
    """
    if not len(controls):
        raise ValueError("no controls to rank the effect among")
    if not math.isfinite(observed) or not all(math.isfinite(c) for c in controls):
        raise ValueError("the observed effect or a control is NaN or infinite")
    # Equal up to rounding counts as equal, which errs against the effect.
    slack = 1e-9 * max(1.0, abs(observed))
    reached = sum(abs(control) >= abs(observed) - slack for control in controls)
    return (1 + reached) / (1 + len(controls))


@dataclass(frozen=True)
class Interval:
    """An estimate with its bootstrap interval; None where nothing was there to estimate."""

    estimate: float | None
    low: float | None
    high: float | None
    n_prompts: int


def bootstrap_over_prompts(
    values: Sequence[float | None],
    prompts: Sequence[str],
    baseline: Sequence[float | None] | None = None,
    *,
    level: float = 0.95,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Interval:
    """Mean over prompts, or its change from a baseline, with a percentile interval (Efron, 1979).

    values[i] belongs to prompts[i]. A prompt is what was drawn and so what is drawn again: rows of
    one prompt (its tokens, its samples) are averaged first and never resampled apart, which would
    make the interval too narrow. baseline: the same rows without steering; both sides of a
    difference are taken from the same resampled prompts. None is missing.

    Raises ValueError for lists of different length, no prompts, or a level outside (0, 1).
    """
    if len(values) != len(prompts) or (baseline is not None and len(baseline) != len(prompts)):
        raise ValueError("values, prompts and baseline differ in length; expected one row each")
    if not prompts or not 0 < level < 1 or resamples < 1:
        raise ValueError("expected at least one prompt and resample, and a level between 0 and 1")
    names = list(dict.fromkeys(prompts))
    columns = [_by_prompt(values, prompts, names)]
    if baseline is not None:
        columns.append(_by_prompt(baseline, prompts, names))
    drawn = np.random.default_rng(seed).integers(0, len(names), (resamples, len(names)))
    estimate = _difference([_mean(column[None]) for column in columns])[0]
    if np.isnan(estimate):
        return Interval(None, None, None, len(names))
    means = _difference([_mean(column[drawn]) for column in columns])
    means = means[~np.isnan(means)]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(estimate), float(low), float(high), len(names))


def slope(strengths: Sequence[float], effects: Sequence[float | None]) -> float | None:
    """Least-squares slope through the origin of effects over strengths: a sweep in one number.

    None where no effect at a strength other than 0 is known.
    """
    known = [(s, e) for s, e in zip(strengths, effects, strict=True) if e is not None and s]
    if not known:
        return None
    return sum(s * e for s, e in known) / sum(s * s for s, _ in known)


def _by_prompt(
    values: Sequence[float | None], prompts: Sequence[str], names: Sequence[str]
) -> np.ndarray:
    rows = np.array([np.nan if value is None else float(value) for value in values])
    index = {name: i for i, name in enumerate(names)}
    which = np.array([index[prompt] for prompt in prompts])
    there = ~np.isnan(rows)
    sums = np.bincount(which[there], rows[there], minlength=len(names))
    counts = np.bincount(which[there], minlength=len(names))
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _mean(drawn: np.ndarray) -> np.ndarray:
    there = ~np.isnan(drawn)
    counts = there.sum(axis=1)
    sums = np.where(there, drawn, 0.0).sum(axis=1)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _difference(means: list[np.ndarray]) -> np.ndarray:
    return means[0] if len(means) == 1 else means[0] - means[1]
