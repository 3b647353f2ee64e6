"""The figures of assignment 07_scaling_saes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from steerlab.plots.figure import (
    COMPUTED_NOW,
    GUESS,
    NEUTRAL,
    SERIES,
    Numbers,
    caption,
    floats,
    plain_numbers,
    waits,
)
from steerlab.predict import Prediction

Law = tuple[float, float, float]  # a, alpha, c of c + a·n^(−alpha)


def resumed_runs(
    losses: Mapping[str, Sequence[float]],
    killed_at: int,
    distances: Mapping[str, float],
    prediction: Prediction | None = None,
    *,
    n: str,
    window: int = 10,
    provenance: str = COMPUTED_NOW,
) -> None:
    """How trainings go on after an interruption, and how far from the undisturbed one they end.

    losses: the loss of every step, the undisturbed training first; the others begin at step
    `killed_at`. distances: of the final parameters from the undisturbed ones, in units of the way
    that those have come since. A prediction is the name of the one that ends furthest.
    """
    if waits(prediction):
        return
    fig, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.4), layout="constrained")
    for i, ((name, values), colour) in enumerate(zip(losses.items(), SERIES, strict=False)):
        start = 0 if i == 0 else killed_at
        smooth = np.convolve(floats(values), np.ones(window) / window, mode="valid")
        steps = start + window / 2 + np.arange(len(smooth))
        shown = steps > killed_at / 2
        left.plot(steps[shown], smooth[shown], color=colour, lw=3 if i == 0 else 1.3, label=name)
    left.axvline(killed_at, color=NEUTRAL, ls=":", lw=1)
    left.set_xlabel(f"step (killed at {killed_at})")
    left.set_ylabel(f"loss, mean of {window} steps")
    names = list(distances)
    colours = [SERIES[(i + 1) % len(SERIES)] for i in range(len(names))]
    right.barh(names, [distances[name] for name in names], color=colours)
    for i, name in enumerate(names):
        right.text(distances[name], i, f" {distances[name]:.2g}", va="center", fontsize=8)
    right.invert_yaxis()
    right.margins(x=0.18)
    right.set_xlabel("distance from the undisturbed end\n(1: as far as that came after the kill)")
    if prediction is not None and prediction.answer in names:
        right.get_yticklabels()[names.index(str(prediction.answer))].set_color(GUESS)
        right.set_title(f"furthest, you said: {prediction.answer}", fontsize=9, color=GUESS)
    for ax in (left, right):
        ax.spines[["top", "right"]].set_visible(False)
    left.legend(frameon=False, fontsize=8)
    caption(fig, n, provenance)


def dead_latents(
    curves: Mapping[str, Sequence[Mapping[str, float]]],
    *,
    n: str,
    resampled_at: Sequence[int] = (),
    provenance: str = COMPUTED_NOW,
) -> None:
    """Dead latents and FVU over the steps of several trainings: lists of {"step", "dead", "fvu"}."""
    fig, panels = plt.subplots(1, 2, figsize=(9.2, 3.3), layout="constrained")
    for ax, key, label in zip(
        panels, ("dead", "fvu"), ("dead latents (%)", "FVU on held-out tokens"), strict=True
    ):
        for (name, rows), colour in zip(curves.items(), SERIES, strict=False):
            scale = 100 if key == "dead" else 1
            values = scale * floats([row[key] for row in rows])
            ax.plot([row["step"] for row in rows], values, color=colour, lw=1.6, label=name)
        for step in resampled_at:
            ax.axvline(step, color=NEUTRAL, ls=":", lw=0.8)
        ax.set_xlabel("step" + (" (dotted: resampled)" if len(resampled_at) else ""))
        ax.set_ylabel(label)
        ax.spines[["top", "right"]].set_visible(False)
    panels[1].set_yscale("log")
    plain_numbers(panels[1].yaxis)
    handles, labels = panels[0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    caption(fig, n, provenance)


def scaling_law(
    points: Sequence[Mapping[str, float]],
    laws: Mapping[str, Law],
    held_out: Mapping[str, float] | None = None,
    live: Mapping[str, Sequence[Mapping[str, float]]] | None = None,
    prediction: Prediction | None = None,
    *,
    n: str,
    provenance: str,
) -> None:
    """FVU against dictionary size with fitted laws, and what each size cost.

    points: {"d_sae", "fvu", "cpu_seconds"} that the laws were fitted to; held_out: one that they were
    not, and that a prediction is about; live: further points by name, trained by the reader.
    """
    if waits(prediction):
        return
    fig, (left, right) = plt.subplots(1, 2, figsize=(9.6, 3.6), layout="constrained")
    sizes = [point["d_sae"] for point in points]
    ends = [*sizes, *([held_out["d_sae"]] if held_out else [])]
    grid = np.geomspace(min(ends), max(ends) * 1.1, 100)
    for (name, (a, alpha, c)), style in zip(laws.items(), ("-", "--", ":"), strict=False):
        left.plot(grid, c + a * grid**-alpha, style, color=NEUTRAL, lw=1.3, label=name)
    left.plot(sizes, [p["fvu"] for p in points], "o", color=SERIES[0], label="fitted to")
    right.plot(sizes, [p["cpu_seconds"] for p in points], "o-", color=SERIES[0], label="recorded")
    if held_out is not None:
        hollow: Any = {"ls": "", "marker": "s", "mfc": "white", "mec": SERIES[3], "ms": 8}
        left.plot([held_out["d_sae"]], [held_out["fvu"]], label="left out of the fit", **hollow)
        right.plot([held_out["d_sae"]], [held_out["cpu_seconds"]], **hollow)
        if prediction is not None and isinstance(prediction.answer, float):
            left.plot(
                [held_out["d_sae"]], [prediction.answer], "x", ms=10, mew=2, color=GUESS,
                label="your prediction",
            )  # fmt: skip
    for (name, own), marker in zip((live or {}).items(), "*D", strict=False):
        size = 12 if marker == "*" else 8
        full: Any = {"ls": "", "marker": marker, "ms": size, "color": GUESS, "mec": "black"}
        left.plot([p["d_sae"] for p in own], [p["fvu"] for p in own], label=name, **full)
        right.plot([p["d_sae"] for p in own], [p["cpu_seconds"] for p in own], label=name, **full)
    left.set_ylabel("FVU on held-out tokens")
    right.set_ylabel("processor seconds of training")
    _log_log(left, right, "size of the dictionary (latents)")
    left.legend(frameon=False, fontsize=8)
    right.legend(frameon=False, fontsize=8)
    caption(fig, n, provenance)


def sparsity_by_size(
    points: Sequence[Mapping[str, float]],
    matched: Sequence[Mapping[str, float]],
    prediction: Prediction | None = None,
    *,
    n: str,
    provenance: str,
    fixed: str = "ReLU, one λ",
    at_one_l0: str = "TopK, one k",
) -> None:
    """L0 and FVU against dictionary size, where λ is fixed and where L0 is.

    A prediction is the L0 of the widest of `points`.
    """
    if waits(prediction):
        return
    fig, panels = plt.subplots(1, 2, figsize=(9.2, 3.4), layout="constrained")
    keys = {"l0": "L0 (latents active on a token)", "fvu": "FVU on held-out tokens"}
    for ax, (key, label) in zip(panels, keys.items(), strict=True):
        for (name, some), colour in zip(
            {fixed: points, at_one_l0: matched}.items(), SERIES, strict=False
        ):
            ordered = sorted(some, key=lambda point: point["d_sae"])
            ax.plot(
                [p["d_sae"] for p in ordered],
                [p[key] for p in ordered],
                "o-",
                color=colour,
                label=name,
            )
        ax.set_ylabel(label)
    widest = max(point["d_sae"] for point in points)
    if prediction is not None and isinstance(prediction.answer, float):
        panels[0].plot(
            [widest], [prediction.answer], "x", ms=10, mew=2, color=GUESS, label="your prediction"
        )
    _log_log(panels[0], panels[1], "size of the dictionary (latents)")
    panels[0].legend(frameon=False, fontsize=8)
    caption(fig, n, provenance)


def names_of_features(
    rates: Numbers,
    scores: Numbers,
    marked: Mapping[str, tuple[float, float]] | None = None,
    *,
    n: str,
    provenance: str = COMPUTED_NOW,
) -> None:
    """Every named feature: the score of its name on held-out texts against how often it fires."""
    fig, ax = plt.subplots(figsize=(6.8, 3.6), layout="constrained")
    ax.plot(100 * floats(rates), floats(scores), ".", color=SERIES[0], ms=4, alpha=0.5)
    for name, (rate, score) in (marked or {}).items():
        ax.plot([100 * rate], [score], "o", mfc="none", mec=SERIES[3], ms=9)
        ax.annotate(
            name, (100 * rate, score), textcoords="offset points", xytext=(7, -11), fontsize=8
        )
    ax.axhline(0.5, color=NEUTRAL, lw=0.8, ls=":")
    ax.set_xscale("log")
    plain_numbers(ax.xaxis)
    ax.set_xlabel("fires on … % of the tokens")
    ax.set_ylabel("AUROC of its name on\nheld-out texts (dotted: chance)")
    ax.spines[["top", "right"]].set_visible(False)
    caption(fig, n, provenance)


def found_feature(
    doses: Sequence[float],
    rates: Mapping[str, Numbers],
    costs: Mapping[str, Numbers],
    prediction: Prediction | None = None,
    *,
    n: str,
    ylabel: str,
    provenance: str = COMPUTED_NOW,
) -> None:
    """What pushes do at the same doses: share on topic, and nats a token above unsteered text.

    rates, costs: one value for each dose, the found feature first and then its controls. A
    prediction is a curve: the share on topic at each dose.
    """
    if waits(prediction):
        return
    fig, (left, right) = plt.subplots(1, 2, figsize=(9.2, 3.4), layout="constrained")
    for i, (name, values) in enumerate(rates.items()):
        style = {"color": SERIES[i], "lw": 2.2 if i == 0 else 1.4, "marker": "o", "ms": 4}
        left.plot(doses, floats(values), label=name, **style)
        right.plot(doses, floats(costs[name]), label=name, **style)
    if prediction is not None and isinstance(prediction.answer, tuple):
        guess = floats([float(value) for value in prediction.answer])
        left.plot(doses, guess, "x--", color=GUESS, label="your prediction")
    left.set_ylim(-0.04, 1.04)
    left.set_ylabel(ylabel)
    right.axhline(1.0, color=NEUTRAL, ls=":", lw=1)
    right.set_ylabel("NLL above unsteered\n(nats a token; dotted: usable)")
    for ax in (left, right):
        ax.set_xlabel("dose (size of the push over the residual's norm)")
        ax.spines[["top", "right"]].set_visible(False)
    handles, labels = left.get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    caption(fig, n, provenance)


def _log_log(left: Axes, right: Axes, xlabel: str) -> None:
    for ax in (left, right):
        ax.set_xscale("log", base=2)
        ax.set_yscale("log")
        ax.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        plain_numbers(ax.yaxis)
        ax.set_xlabel(xlabel)
        ax.spines[["top", "right"]].set_visible(False)
