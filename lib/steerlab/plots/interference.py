"""The figures of assignment 06_interference and of `steerlab evaluate`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from steerlab.plots.figure import (
    COMPUTED_NOW,
    GUESS,
    NEUTRAL,
    SERIES,
    TOWARDS,
    floats,
    waits,
)
from steerlab.predict import Prediction

Point = Mapping[str, Any]
DOSE = "dose α (length added / length of the residual stream)"
PRICE = "KL from the unsteered model (nats at the next token)"
_FAMILY_COLOURS = dict(
    zip(("isotropic", "decoder-row", "shuffled-label"), SERIES[1:4], strict=True)
)


def interference_overlay(
    panels: Mapping[str, Sequence[Point]],
    prediction: Prediction | None = None,
    *,
    n: str,
    name: str = "direction",
    shares: Sequence[str] = (),
    provenance: str = COMPUTED_NOW,
) -> None:
    """What a direction does at each strength, laid over what controls of equal length do.

    panels: one row of axes each, by the label of its y axis; its points as in the summary of a
    sweep ("alpha", "value", "value_interval", "controls"). One column a control family: the band
    holds nine in ten controls, the dashed line is their mean. The bars are 95% bootstrap intervals
    over prompts. shares: labels of panels that run from 0 to 1. A prediction is a curve of the first
    panel, or a choice among the families: the one that comes closest.
    """
    if waits(prediction):
        return
    families = list(
        dict.fromkeys(f for points in panels.values() for p in points for f in p["controls"])
    )
    columns = families or [""]
    fig, axes = plt.subplots(
        len(panels),
        len(columns),
        figsize=(1.4 + 2.7 * len(columns), 1.0 + 2.1 * len(panels)),
        sharex=True,
        sharey="row",
        squeeze=False,
        layout="constrained",
    )
    for row, (label, points) in enumerate(panels.items()):
        for ax, family in zip(axes[row], columns, strict=True):
            _overlay(ax, points, family)
            ax.spines[["top", "right"]].set_visible(False)
            if label in shares:
                ax.set_ylim(-0.03, 1.03)
        axes[row, 0].set_ylabel(label)
    guess = None if prediction is None else prediction.answer
    for ax, family in zip(axes[0], columns, strict=True):
        chosen = guess == family
        title = f"{family} controls" if family else ""
        ax.annotate(
            f"{title}\n(your prediction)" if chosen else title,
            (0.5, 1.14),
            xycoords="axes fraction",
            ha="center",
            va="bottom",
            fontsize=10,
            color=GUESS if chosen else "black",
        )
        if prediction is not None and isinstance(guess, tuple):
            ax.plot(prediction.at, guess, "D--", color=GUESS, ms=4, lw=1)
    keys: list[Any] = [plt.Line2D([], [], marker="o", color=TOWARDS, label=name)]
    if families:
        keys += [
            plt.Rectangle(
                (0, 0), 1, 1, color=NEUTRAL, alpha=0.3, lw=0, label="nine in ten controls"
            ),
            plt.Line2D([], [], ls="--", color=NEUTRAL, label="their mean"),
        ]
    if isinstance(guess, tuple):
        keys.append(plt.Line2D([], [], marker="D", ls="--", color=GUESS, label="your prediction"))
    fig.legend(handles=keys, loc="outside upper center", ncols=len(keys), frameon=False, fontsize=8)
    _caption_below(fig, DOSE, n, provenance)


def _overlay(ax: Any, points: Sequence[Point], family: str) -> None:
    alphas = floats([p["alpha"] for p in points])
    base = next((p["value"] for p in points if p["alpha"] == 0), None)
    if base is not None:
        ax.axhline(base, color=NEUTRAL, lw=0.7, ls=":")
    measured = any(family in p["controls"] for p in points)
    if measured and base is not None:
        colour = _FAMILY_COLOURS.get(family, NEUTRAL)
        # At dose 0 every control is the unsteered model.
        at = [
            p["controls"].get(family)
            or dict.fromkeys(("low", "mean", "high"), 0.0 if p["alpha"] == 0 else None)
            for p in points
        ]
        low, mean, high = (base + floats([c[key] for c in at]) for key in ("low", "mean", "high"))
        ax.fill_between(alphas, low, high, color=colour, alpha=0.25, lw=0)
        ax.plot(alphas, mean, "--", color=colour, lw=1)
    most = max((p["controls"].get(family, {}).get("n", 0) for p in points), default=0)
    counts = f"{points[0]['n_prompts']} prompts" + (f", {most} controls" if family else "")
    ax.set_title(counts, loc="left", fontsize=7, color=NEUTRAL, pad=2)
    values = floats([p["value"] for p in points])
    low, high = (floats([p["value_interval"][i] for p in points]) for i in (0, 1))
    spread = np.maximum([values - low, high - values], 0)
    ax.errorbar(alphas, values, yerr=spread, fmt="o-", color=TOWARDS, ms=4, lw=1.5, elinewidth=1)


def effect_by_price(
    price: Mapping[str, Mapping[float, float | None]],
    effect: Mapping[str, Mapping[float, float | None]],
    families: Mapping[str, Sequence[str]],
    prediction: Prediction | None = None,
    *,
    n: str,
    ylabel: str,
    name: str = "direction",
    subject: str = "subject",
    provenance: str = COMPUTED_NOW,
) -> None:
    """Effects over what they cost: two directions of one length need not disturb the model alike.

    price: KL from the unsteered model in nats, by direction and strength; effect: likewise, changes.
    families: the controls by family, each a dot for every strength. Strengths of either sign have
    axes of their own. A prediction is a choice between "inside" and "outside" the controls' cloud.
    """
    if waits(prediction):
        return
    fig, axes = plt.subplots(
        1, 2, figsize=(8.4, 3.9), sharex=True, sharey=True, layout="constrained"
    )
    for ax, sign in zip(axes, (-1, 1), strict=True):
        for family, names in families.items():
            dots = [
                (price[d][a], effect[d][a])
                for d in names
                for a in price[d]
                if a * sign > 0 and price[d][a] is not None and effect[d][a] is not None
            ]
            if dots:
                costs, changes = zip(*dots, strict=True)
                few = len(dots) <= 100
                ax.scatter(
                    costs,
                    changes,
                    s=20 if few else 7,
                    alpha=0.7 if few else 0.35,
                    color=_FAMILY_COLOURS.get(family, NEUTRAL),
                    lw=0,
                    label=f"{family} controls",
                )
        strengths = sorted((a for a in price[subject] if a * sign > 0), key=abs)
        x, y = ([by[subject][a] for a in strengths] for by in (price, effect))
        ax.plot(floats(x), floats(y), "o-", color=TOWARDS, label=name, zorder=3)
        for a, u, v in zip(strengths, x, y, strict=True):
            if u is not None and v is not None:
                ax.annotate(
                    f"{a:+g}", (u, v), textcoords="offset points", xytext=(5, 5), fontsize=8
                )
        ax.axhline(0, color=NEUTRAL, lw=0.7, ls=":")
        ax.set_xscale("log")
        ax.margins(x=0.12, y=0.12)  # room for the strengths written beside the points
        ax.set_title(f"dose {'above' if sign > 0 else 'below'} 0", fontsize=10)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel(ylabel)
    handles, labels = axes[0].get_legend_handles_labels()
    if prediction is not None:
        handles.append(plt.Line2D([], [], ls="", marker="s", color=GUESS))
        labels.append(f"your prediction: {prediction.answer}")
    fig.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False, fontsize=8)
    _caption_below(fig, PRICE, n, provenance)


def _caption_below(fig: Any, label: str, n: str, provenance: str) -> None:
    """The x label that all axes share, and under it the caption."""
    fig.supxlabel(f"{label}\nn = {n} · {provenance}", fontsize=9)
