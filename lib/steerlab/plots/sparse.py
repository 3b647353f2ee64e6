"""The figures of assignment 05_sparse_steering."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

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

RankedRow = tuple[str, float | None, Numbers, float | None, bool]


def component_separations(
    variance: Sequence[float],
    separation: Sequence[float],
    chosen: Sequence[int],
    prediction: Prediction | None = None,
    *,
    n: str,
    provenance: str = COMPUTED_NOW,
) -> None:
    """Principal components by falling variance: how much each varies and how far it tells apart.

    variance: each component's share of the residuals' variance; separation: its share of the squared
    distance of the class means; both 0 to 1. chosen: indices of the components of the concept. A
    prediction is the separation of the first component, in percent.
    """
    if waits(prediction):
        return
    fig, (top, bottom) = plt.subplots(2, 1, figsize=(6.4, 4.4), sharex=True, layout="constrained")
    ranks = np.arange(1, len(variance) + 1)
    top.bar(ranks, 100 * floats(variance), color=NEUTRAL)
    top.set_ylabel("of the variance\n(%)")
    picked = np.isin(np.arange(len(separation)), list(chosen))
    colours = [TOWARDS if kept else NEUTRAL for kept in picked]
    bottom.bar(ranks, 100 * floats(separation), color=colours)
    bottom.bar([0], [0], color=TOWARDS, label="chosen for the concept")
    if prediction is not None and isinstance(prediction.answer, float):
        bottom.plot([1], [prediction.answer], "D", color=GUESS, label="your prediction")
    bottom.set_ylabel("of the squared distance\nof the class means (%)")
    bottom.set_xlabel("principal component, by falling variance")
    bottom.set_xlim(0.3, len(variance) + 0.7)
    bottom.set_xticks([1, *range(5, len(variance) + 1, 5)])
    top.spines[["top", "right"]].set_visible(False)
    finish(fig, bottom, n, provenance)


def pareto_front(
    epsilons: Sequence[float],
    active: Sequence[Numbers],
    cost: Sequence[Numbers],
    prediction: Prediction | None = None,
    *,
    d_model: int,
    k: int,
    n: str,
    provenance: str = COMPUTED_NOW,
) -> None:
    """What a tighter norm bound costs: active features and the sum of the amounts, over ε.

    epsilons: in units of the smallest ε that is feasible. active, cost: one row for each prompt, cost
    relative to the loosest bound. Lines mark the width of the stream and the number k of directions. A
    prediction is a curve of active features.
    """
    if waits(prediction):
        return
    fig, (top, bottom) = plt.subplots(
        2, 1, figsize=(6.4, 5.2), sharex=True, height_ratios=[3, 2], layout="constrained"
    )
    for ax, rows, colour in ((top, active, TOWARDS), (bottom, cost, AGAINST)):
        for i, row in enumerate(rows):
            label = "one prompt" if i == 0 else None
            ax.plot(epsilons, floats(row), "o-", ms=4, color=colour, alpha=0.7, label=label)
        ax.spines[["top", "right"]].set_visible(False)
    if prediction is not None and isinstance(prediction.answer, tuple):
        top.plot(prediction.at, prediction.answer, "D--", color=GUESS, label="your prediction")
    for height, text in ((d_model, f"d_model = {d_model}"), (k, f"k = {k}")):
        top.axhline(height, color=NEUTRAL, ls=":", lw=1)
        top.text(epsilons[-1], height, text, color=NEUTRAL, fontsize=8, ha="right", va="bottom")
    top.set_yscale("log", base=2)
    top.set_yticks([1, 2, 4, 8, 16, 32, 64, 128], [1, 2, 4, 8, 16, 32, 64, 128])
    top.set_ylabel("active features")
    top.legend(frameon=False, fontsize=8)
    bottom.set_ylabel("sum of the amounts\n(of the loosest)")
    bottom.set_xlabel("ε (of the smallest that is feasible)")
    caption(fig, n, provenance)


def bound_against_penalty(
    socp: Sequence[tuple[float, float]],
    qp: Sequence[tuple[float, float]],
    *,
    n: str,
    provenance: str = COMPUTED_NOW,
) -> None:
    """The SOCP's and the QP's answers in one plane: (length, sum of amounts) of each.

    socp: one point for each ε; qp: one for each λ.
    """
    fig, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
    for points, style, colour, label in (
        (socp, "o-", TOWARDS, "SOCP, one dot for each ε"),
        (qp, "x", AGAINST, "QP, one cross for each λ"),
    ):
        x, y = zip(*sorted(points), strict=True)
        ax.plot(x, y, style, color=colour, ms=7 if style == "x" else 4, label=label, mew=1.8)
    ax.set_xlabel("length ‖Dᵀδ‖ of what is added")
    ax.set_ylabel("sum of the amounts 1ᵀδ")
    ax.set_title("Every answer of the one program is an answer of the other")
    finish(fig, ax, n, provenance)


def warm_starts(
    seconds: Mapping[str, tuple[float, float]], *, n: str, provenance: str = COMPUTED_NOW
) -> None:
    """Time of a sequence of problems, each from nothing or from the last answer.

    seconds: for each sequence (cold, warm).
    """
    fig, ax = plt.subplots(figsize=(6.4, 1.4 + 0.6 * len(seconds)), layout="constrained")
    rows = np.arange(len(seconds))
    for shift, which, colour, label in (
        (-0.18, 0, NEUTRAL, "each from nothing"),
        (0.18, 1, TOWARDS, "each from the last answer"),
    ):
        values = [1e3 * pair[which] for pair in seconds.values()]
        bars = ax.barh(rows + shift, values, 0.34, color=colour, label=label)
        ax.bar_label(bars, [f" {value:.0f}" for value in values], fontsize=8)
    ax.set_yticks(rows, list(seconds))
    ax.set_ylim(len(seconds) - 0.5, -0.5)
    ax.margins(x=0.15)
    ax.set_xlabel("time of the whole sequence (ms)")
    finish(fig, ax, n, provenance)


def feature_table(
    amounts: Mapping[int, Sequence[float]],
    names: Mapping[int, str],
    prompts: Sequence[str],
    *,
    most: int = 24,
    n: str,
    provenance: str = COMPUTED_NOW,
) -> None:
    """Which features are active for which prompt: a map of amounts, those active most often first.

    amounts: for each feature one amount a prompt, 0 where it is not active. names: a label for a
    feature. Features beyond `most` are left out and counted.
    """
    often = sorted(amounts, key=lambda i: (-np.count_nonzero(amounts[i]), -np.sum(amounts[i])))
    shown = often[:most]
    values = np.array([amounts[i] for i in shown], dtype=float)
    fig, ax = plt.subplots(
        figsize=(3.2 + 0.34 * len(prompts), 1.9 + 0.2 * len(shown)), layout="constrained"
    )
    image = ax.imshow(np.where(values > 0, values, np.nan), aspect="auto", cmap="viridis_r")
    everywhere = [np.count_nonzero(amounts[i]) == len(prompts) for i in shown]
    labels = [f"{i}  {names.get(i, '')}".rstrip() for i in shown]
    ax.set_yticks(range(len(shown)), labels, fontsize=7)
    for tick, all_of_them in zip(ax.get_yticklabels(), everywhere, strict=True):
        tick.set_fontweight("bold" if all_of_them else "normal")
    ax.set_xticks(range(len(prompts)), prompts, rotation=60, ha="right", fontsize=7)
    left_out = len(often) - len(shown)
    more = f", {left_out} more left out" if left_out else ""
    ax.set_title(f"Bold: active for every prompt{more}", fontsize=9)
    ax.set_ylabel("feature")
    ax.set_xlabel("prompt")
    fig.colorbar(image, ax=ax, label="amount (length)", shrink=0.8)
    caption(fig, n, provenance)


def alpha_sweep(
    alphas: Sequence[float],
    reached: Mapping[str, Numbers],
    concept: Mapping[str, Numbers],
    nll_rise: Mapping[str, Numbers],
    prediction: Prediction | None = None,
    *,
    doses: Sequence[float] = (),
    max_rise: float = 1.0,
    n: str,
    provenance: str = COMPUTED_NOW,
) -> None:
    """What was asked for, what a judge sees and what it costs, over α; one line for each concept.

    reached: share of the thresholds that the steered residual of the prompt passes; concept: the judge's
    score of the completions; nll_rise: nats a token. doses: of the first concept, written above the
    axes. A prediction is a curve of the first concept's score.
    """
    if waits(prediction):
        return
    fig, axes = plt.subplots(
        3, 1, figsize=(6.4, 6.6), sharex=True, height_ratios=[1.6, 3, 1.6], layout="constrained"
    )
    parts = (
        (axes[0], reached, "thresholds reached\nat the prompt (share)"),
        (axes[1], concept, "concept in the completion\n(judge's score)"),
        (axes[2], nll_rise, "NLL rise\n(nats per token)"),
    )
    for ax, values, label in parts:
        for (name, row), colour in zip(values.items(), SERIES, strict=False):
            ax.plot(alphas, floats(row), "o-", color=colour, label=name)
        ax.set_ylabel(label)
        ax.spines[["top", "right"]].set_visible(False)
    for ax in axes[:2]:
        ax.set_ylim(-0.05, 1.05)
    if prediction is not None and isinstance(prediction.answer, tuple):
        axes[1].plot(prediction.at, prediction.answer, "D--", color=GUESS, label="your prediction")
    axes[1].legend(frameon=False, fontsize=8)
    axes[2].axhline(max_rise, color=NEUTRAL, ls=":", lw=1)
    axes[2].text(alphas[0], max_rise, "usable below", color=NEUTRAL, fontsize=8, va="bottom")
    axes[2].set_xlabel("α (1: to the mean of the target's texts)")
    if doses:
        for alpha, dose in zip(alphas, doses, strict=True):
            axes[0].text(alpha, 1.1, f"{dose:.2f}", fontsize=7, color=NEUTRAL, ha="center")
        axes[0].set_title(f"dose of {next(iter(concept))}:", fontsize=7, loc="left", pad=14)
    caption(fig, n, provenance)


def methods_ranked(
    panels: Mapping[str, Sequence[RankedRow]],
    prediction: Prediction | None = None,
    *,
    n: str,
    provenance: str = COMPUTED_NOW,
) -> None:
    """Methods at one dose, best judged first, one panel a concept.

    panels: rows of (method, judge's score, that of each prompt alone, subspace score, usable). The
    judge's score is a dot, hollow where the text costs too much, among small ticks for the prompts; the
    subspace score a bar behind it. A prediction is a choice among the methods: the one that the judge
    puts first.
    """
    if waits(prediction):
        return
    most = max(len(rows) for rows in panels.values())
    fig, axes = plt.subplots(
        1, len(panels), figsize=(4.6 * len(panels), 1.6 + 0.3 * most), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for ax, (title, rows) in zip(axes[0], panels.items(), strict=True):
        _ranking(ax, rows, prediction)
        ax.set_title(title)
    axes[0, 0].plot([], [], "o", color=TOWARDS, label="judge's score")
    axes[0, 0].plot([], [], "o", color=TOWARDS, mfc="white", label="the same, costs too much")
    axes[0, 0].plot([], [], "|", ms=8, color=TOWARDS, alpha=0.6, label="one prompt")
    axes[0, 0].bar([0], [0], color=NEUTRAL, alpha=0.3, label="subspace score")
    if prediction is not None and prediction.filled:
        axes[0, 0].plot([], [], "s", color=GUESS, label="your prediction")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=5, frameon=False, fontsize=8)
    caption(fig, n, provenance)


def _ranking(
    ax: Axes,
    rows: Sequence[RankedRow],
    prediction: Prediction | None,
) -> None:
    """One panel: the best method on top."""
    names = [name for name, *_ in rows]
    places = np.arange(len(rows))
    ax.barh(places, floats([row[3] for row in rows]), 0.7, color=NEUTRAL, alpha=0.3)
    for y, (_, score, by_prompt, _, fine) in enumerate(rows):
        single = floats(by_prompt)
        ax.plot(single, np.full(len(single), y), "|", ms=8, color=TOWARDS, alpha=0.6)
        if score is not None:
            ax.plot(score, y, "o", color=TOWARDS, mfc=TOWARDS if fine else "white")
    ax.set_yticks(places, names)
    for tick in ax.get_yticklabels():
        if prediction is not None and tick.get_text() == prediction.answer:
            tick.set_color(GUESS)
            tick.set_fontweight("bold")
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlim(-0.03, 1.03)
    ax.set_xlabel("score (share)")
    ax.spines[["top", "right"]].set_visible(False)


def layers_by_concept(
    values: Mapping[str, Sequence[float]],
    considered: Sequence[bool],
    *,
    ylabel: str,
    n: str,
    provenance: str = COMPUTED_NOW,
) -> None:
    """A measure of each layer, one line for each concept; its best layer is marked.

    considered: False for layers that are not to be chosen, drawn hollow.
    """
    fig, ax = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    layers = np.arange(len(considered))
    for (name, row), colour in zip(values.items(), SERIES, strict=False):
        heights = floats(row)
        ax.plot(layers, heights, color=colour, label=name)
        for layer, (height, fine) in enumerate(zip(heights, considered, strict=True)):
            ax.plot(layer, height, "o", color=colour, mfc=colour if fine else "white")
        best = int(np.nanargmax(np.where(considered, heights, -np.inf)))
        ax.plot(best, heights[best], "o", ms=13, mfc="none", mew=1.6, color=colour)
    ax.plot([], [], "o", ms=10, mfc="none", color=NEUTRAL, label="the concept's layer")
    if not all(considered):
        ax.plot([], [], "o", mfc="white", color=NEUTRAL, label="not considered")
    ax.set_xticks(layers)
    ax.set_xlabel("layer (input of)")
    ax.set_ylabel(ylabel)
    finish(fig, ax, n, provenance)
