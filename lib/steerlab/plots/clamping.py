"""The figures of assignment 03_sae_clamping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np

from steerlab.plots.figure import (
    AGAINST,
    COMPUTED_NOW,
    GUESS,
    NEUTRAL,
    SERIES,
    TOWARDS,
    Numbers,
    caption,
    finish,
    floats,
    waits,
)
from steerlab.predict import Prediction


def form_cost(
    widths: Sequence[int],
    textbook: Sequence[float],
    step: Sequence[float],
    prediction: Prediction | None = None,
    *,
    n: str,
    provenance: str = COMPUTED_NOW,
) -> None:
    """Seconds of one call of either form of the clamp, by the number of latents; both axes log.

    A prediction is the number of times by which the step is faster at the largest width.
    """
    if waits(prediction):
        return
    fig, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
    ax.plot(widths, 1e6 * np.asarray(textbook), "o-", color=AGAINST, label="textbook form")
    ax.plot(widths, 1e6 * np.asarray(step), "o-", color=TOWARDS, label="your step")
    if prediction is not None and isinstance(prediction.answer, float) and prediction.answer > 0:
        guess = 1e6 * textbook[-1] / prediction.answer
        ax.plot([widths[-1]], [guess], "D", color=GUESS, label="your prediction")
    ax.set_xscale("log", base=2)
    ax.set_yscale("log")
    ax.set_xticks(list(widths), [f"{width:,}" for width in widths])
    ax.set_xlabel("latents in the dictionary")
    ax.set_ylabel("time of one call (µs)")
    ax.set_title("What a clamp costs at one token")
    finish(fig, ax, n, provenance)


def feature_quality(
    areas: Mapping[str, Sequence[float]],
    *,
    found: float = 0.9,
    n: str,
    provenance: str = COMPUTED_NOW,
) -> None:
    """Held-out AUROCs of what was chosen for each concept, one row of dots for each kind of score.

    areas: for each kind (features, coordinates, …) one AUROC a concept. found: the AUROC from which
    a concept counts as found.
    """
    fig, ax = plt.subplots(figsize=(6.8, 1.5 + 0.45 * len(areas)), layout="constrained")
    for y, (values, colour) in enumerate(zip(areas.values(), SERIES, strict=False)):
        # Spread up and down in the order of the concepts, so that equal dots stay visible.
        spread = y + np.linspace(-0.22, 0.22, len(values))
        ax.scatter(values, spread, s=26, color=colour, zorder=2)
        count = sum(value > found for value in values)
        ax.text(1.03, y, f"{count} of {len(values)}", va="center", fontsize=8, color=NEUTRAL)
    ax.axvline(found, color=NEUTRAL, ls=":", lw=1)
    ax.axvline(0.5, color=NEUTRAL, lw=0.5)
    ax.text(0.505, len(areas) - 0.55, "chance", va="bottom", fontsize=8, color=NEUTRAL)
    ax.set_yticks(range(len(areas)), list(areas))
    ax.set_ylim(len(areas) - 0.5, -0.5)
    ax.set_xlim(0.3, 1.02)
    ax.set_xlabel("AUROC on documents that had no say in the choice")
    ax.set_title(f"One score for each topic (right: above {found:g})")
    ax.spines[["top", "right"]].set_visible(False)
    caption(fig, n, provenance)


def clamp_sweep(
    doses: Sequence[float],
    rates: Mapping[str, Numbers],
    nll_rise: Numbers,
    distinct2: Numbers,
    prediction: Prediction | None = None,
    *,
    n: str,
    max_rise: float = 1.0,
    min_distinct2: float = 0.8,
    provenance: str = COMPUTED_NOW,
) -> None:
    """What a clamp buys and what it costs, over the dose.

    rates: for each concept the on-topic rate at every dose; their mean is drawn bold. nll_rise: nats
    a token above unsteered, distinct2: share of the unsteered distinct-2, both means over concepts.
    A prediction is a curve of the mean on-topic rate.
    """
    if waits(prediction):
        return
    fig, axes = plt.subplots(
        3, 1, figsize=(6.4, 6.4), sharex=True, height_ratios=[3, 1.6, 1.6], layout="constrained"
    )
    top, middle, bottom = axes
    each = np.stack([floats(values) for values in rates.values()])
    for row, values in enumerate(each):
        label = "one topic" if row == 0 else None
        top.plot(doses, values, color=TOWARDS, lw=0.8, alpha=0.35, label=label)
    top.plot(doses, _mean_there(each), "o-", color=TOWARDS, lw=2, label=f"mean of {len(each)}")
    if prediction is not None and isinstance(prediction.answer, tuple):
        top.plot(prediction.at, prediction.answer, "--", color=GUESS, label="your prediction")
    top.set_ylim(-0.03, 1.03)
    top.set_ylabel("completions on the topic\n(share)")
    top.legend(frameon=False, fontsize=8)
    middle.plot(doses, floats(nll_rise), "o-", color=AGAINST)
    middle.axhline(max_rise, color=NEUTRAL, ls=":", lw=1)
    middle.text(doses[0], max_rise, "usable below", color=NEUTRAL, fontsize=8, va="bottom")
    middle.set_ylabel("NLL rise\n(nats per token)")
    bottom.plot(doses, floats(distinct2), "o-", color=AGAINST)
    bottom.axhline(min_distinct2, color=NEUTRAL, ls=":", lw=1)
    bottom.text(doses[0], min_distinct2, "usable above", color=NEUTRAL, fontsize=8, va="bottom")
    bottom.set_ylabel("distinct-2\n(of unsteered)")
    bottom.set_xlabel("dose (length of the step / length of the residual stream)")
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    caption(fig, n, provenance)


def _mean_there(values: np.ndarray) -> np.ndarray:
    """Mean of each column over the rows that have a value; NaN where none has."""
    there = ~np.isnan(values)
    counts = there.sum(0)
    sums = np.where(there, values, 0.0).sum(0)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def control_rows(
    families: Mapping[str, Sequence[float]],
    observed: float,
    prediction: Prediction | None = None,
    *,
    label: str = "the clamp",
    xlabel: str,
    n: str,
    provenance: str = COMPUTED_NOW,
) -> None:
    """Effects of control directions, one row of ticks a family, and the real effect as a line.

    A thin dashed line at −observed marks where an effect the other way is as strong. A prediction
    is a choice among the families: the one that comes closest.
    """
    if waits(prediction):
        return
    fig, ax = plt.subplots(figsize=(6.8, 1.7 + 0.5 * len(families)), layout="constrained")
    ax.axvline(observed, color=TOWARDS, lw=2.5, label=label)
    ax.axvline(-observed, color=TOWARDS, lw=1, ls="--", label="as strong, the other way")
    ax.axvline(0, color=NEUTRAL, lw=0.5)
    for y, (values, colour) in enumerate(zip(families.values(), SERIES[1:], strict=False)):
        ax.plot(values, np.full(len(values), y), "|", ms=14, mew=1.2, color=colour)
    names = list(families)
    ax.set_yticks(range(len(names)), names)
    if prediction is not None and prediction.answer in names:
        row = names.index(str(prediction.answer))
        ax.plot([], [], "s", color=GUESS, label="your prediction")
        ax.get_yticklabels()[row].set_color(GUESS)
        ax.get_yticklabels()[row].set_fontweight("bold")
    ax.set_ylim(len(families) - 0.5, -0.5)
    ax.set_xlabel(xlabel)
    ax.spines[["top", "right"]].set_visible(False)
    fig.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    caption(fig, n, provenance)


def steering_by_sparsity(
    panels: Mapping[str, Mapping[str, Sequence[tuple[float, float | None, bool]]]],
    prediction: Prediction | None = None,
    *,
    n: str,
    provenance: str = COMPUTED_NOW,
) -> None:
    """On-topic rates of several dictionaries over the strength of the clamp, one panel a unit.

    panels: by the name of the unit, for each dictionary (strength, rate, usable) in order; strengths
    that cost too much are drawn hollow. A prediction is a choice among the dictionaries.
    """
    if waits(prediction):
        return
    fig, axes = plt.subplots(
        1, len(panels), figsize=(3.9 * len(panels), 3.8), sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for ax, (unit, points) in zip(axes[0], panels.items(), strict=True):
        for (name, row), colour in zip(points.items(), SERIES, strict=False):
            strengths = [strength for strength, _, _ in row]
            rates = floats([rate for _, rate, _ in row])
            chosen = prediction is not None and prediction.answer == name
            label = f"{name} (your prediction)" if chosen else name
            ax.plot(strengths, rates, color=colour, lw=3 if chosen else 1.5, label=label)
            for strength, rate, (_, _, fine) in zip(strengths, rates, row, strict=True):
                ax.plot(strength, rate, "o", color=colour, mfc=colour if fine else "white")
        ax.set_xlabel(unit)
        ax.set_ylim(-0.03, 1.03)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0, 0].plot([], [], "o", color=NEUTRAL, mfc="white", label="costs too much")
    axes[0, 0].set_ylabel("completions on the topic (share)")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False, fontsize=8)
    caption(fig, n, provenance)


def switched_off(
    rates: Mapping[str, Sequence[float]],
    settings: Sequence[str],
    *,
    n: str,
    provenance: str = COMPUTED_NOW,
) -> None:
    """On-topic rates of each concept under several settings, one row of dots a concept.

    rates: for each concept one rate for every one of `settings`, in their order.
    """
    fig, ax = plt.subplots(figsize=(6.8, 1.8 + 0.28 * len(rates)), layout="constrained")
    markers = "oDs^v"
    for k, (name, colour) in enumerate(zip(settings, SERIES, strict=False)):
        values = floats([row[k] for row in rates.values()])
        # A little apart, so that equal rates stay visible.
        rows = np.arange(len(rates)) + 0.14 * (k - (len(settings) - 1) / 2)
        ax.plot(values, rows, markers[k % len(markers)], ms=5.5, color=colour, label=name)
    ax.set_yticks(range(len(rates)), list(rates))
    ax.set_ylim(len(rates) - 0.5, -0.5)
    ax.set_xlim(-0.03, 1.03)
    ax.set_xlabel("completions on the topic (share)")
    ax.grid(axis="y", color=NEUTRAL, alpha=0.15)
    ax.spines[["top", "right"]].set_visible(False)
    fig.legend(loc="outside upper center", ncols=len(settings), frameon=False, fontsize=8)
    caption(fig, n, provenance)
