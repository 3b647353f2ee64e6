"""The figures of assignment 01_mean_diff."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

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


def bos_angle(
    angles: Mapping[str, Numbers],
    prediction: Prediction | None = None,
    *,
    n: str,
    provenance: str = COMPUTED_NOW,
) -> None:
    """How far a vector turns when BOS stays in the means, by layer and for several data sets.

    angles: for each data set one angle in degrees for each layer.
    """
    if waits(prediction):
        return
    fig, ax = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    for (name, values), colour in zip(angles.items(), SERIES, strict=False):
        ax.plot(range(len(values)), floats(values), "o-", color=colour, label=name)
    if prediction is not None and isinstance(prediction.answer, float):
        ax.axhline(prediction.answer, color=GUESS, ls="--", label="your prediction")
    ax.set_xticks(range(max(len(values) for values in angles.values())))
    ax.set_ylim(-3, 93)
    ax.set_yticks(range(0, 91, 15))
    ax.set_xlabel("layer (residual stream before block)")
    ax.set_ylabel("angle between the vectors\nwith and without BOS (degrees)")
    ax.set_title("Does BOS cancel in a mean difference?")
    finish(fig, ax, n, provenance)


def changed_tokens(
    shares: Mapping[str, Numbers],
    prediction: Prediction | None = None,
    *,
    n: str,
    provenance: str = COMPUTED_NOW,
) -> None:
    """Which generated tokens differ from the unsteered ones, for several steered position sets.

    shares: for each position set, the share of prompts whose k-th new token differs, k = 1, 2, ….
    A prediction is a choice among "1", "2", …: the first token that positions="generated" changes.
    """
    if waits(prediction):
        return
    modes = list(shares)
    values = 100 * np.array([floats(shares[mode]) for mode in modes])
    fig, ax = plt.subplots(figsize=(6.8, 1.6 + 0.5 * len(modes)), layout="constrained")
    image = ax.imshow(values, vmin=0, vmax=100, cmap="cividis", aspect="auto")
    for row, column in np.ndindex(*values.shape):
        shade = "black" if values[row, column] > 50 else "white"
        ax.text(
            column,
            row,
            f"{values[row, column]:.0f}",
            ha="center",
            va="center",
            color=shade,
            fontsize=8,
        )
    ax.set_yticks(range(len(modes)), modes)
    ax.set_xticks(range(values.shape[1]), [str(k + 1) for k in range(values.shape[1])])
    ax.set_xlabel("new token")
    ax.set_ylabel("positions steered")
    ax.set_title("Prompts whose new token is no longer the unsteered one (%)")
    if prediction is not None and isinstance(prediction.answer, str) and "generated" in modes:
        column = int(prediction.answer) - 1
        ax.add_patch(
            plt.Rectangle(
                (column - 0.47, modes.index("generated") - 0.44),
                0.94,
                0.88,
                fill=False,
                edgecolor=GUESS,
                lw=2.5,
                ls="--",
            )
        )
        # A line stands for the rectangle: at the size of a legend its dashes would run together.
        key = Line2D([], [], color=GUESS, lw=2.5, ls="--", label="your prediction")
        fig.legend(handles=[key], loc="outside lower left", frameon=False, fontsize=8)
    fig.colorbar(image, ax=ax, label="prompts (%)")
    caption(fig, n, provenance)


def dose_sweep(
    doses: Sequence[float],
    scores: Numbers,
    nll_rise: Numbers,
    prediction: Prediction | None = None,
    *,
    n: str,
    controls: Mapping[str, Numbers] | None = None,
    usable: float = 1.0,
    score_label: str = "share of positive words\namong sentiment words",
    provenance: str = COMPUTED_NOW,
) -> None:
    """What a dose buys and what it costs: concept score above, fluency below.

    doses: signed, in units of the residual norm. scores: one concept score for each dose.
    nll_rise: nats per token above the unsteered completions. controls: scores of other directions
    at the same doses, None where not measured. usable: the rise up to which a dose is usable.
    """
    if waits(prediction):
        return
    fig, (top, bottom) = plt.subplots(
        2, 1, figsize=(6.4, 5.2), sharex=True, height_ratios=[3, 2], layout="constrained"
    )
    top.plot(doses, floats(scores), "o-", color=TOWARDS, label="mean difference")
    for (name, values), colour in zip((controls or {}).items(), SERIES[1:], strict=False):
        shown = floats(values)
        there = ~np.isnan(shown)
        top.plot(np.asarray(doses)[there], shown[there], "s:", ms=4, color=colour, label=name)
    if prediction is not None and isinstance(prediction.answer, tuple):
        top.plot(prediction.at, prediction.answer, "--", color=GUESS, label="your prediction")
    top.set_ylim(-0.03, 1.03)
    top.set_ylabel(score_label)
    top.legend(frameon=False, fontsize=8)
    bottom.plot(doses, floats(nll_rise), "o-", color=AGAINST)
    bottom.axhline(usable, color=NEUTRAL, ls=":", lw=1)
    bottom.text(
        max(doses), usable, "usable below", color=NEUTRAL, fontsize=8, ha="right", va="bottom"
    )
    bottom.set_ylabel("price: NLL rise\n(nats per token)")
    bottom.set_xlabel("dose (length added / length of the residual stream)")
    for ax in (top, bottom):
        ax.axvline(0, color=NEUTRAL, lw=0.5)
        ax.spines[["top", "right"]].set_visible(False)
    caption(fig, n, provenance)


def control_histogram(
    families: Mapping[str, Sequence[float]],
    observed: float,
    *,
    xlabel: str,
    n: str,
    provenance: str = COMPUTED_NOW,
) -> None:
    """The effect of control directions as histograms, the effect of the real one as a line.

    A thin dashed line at −observed marks where an effect the other way is as strong.
    """
    fig, ax = plt.subplots(figsize=(6.4, 3.2), layout="constrained")
    everything = np.concatenate([np.asarray(list(v), float) for v in families.values()])
    reach = 1.1 * max(abs(observed), np.abs(everything).max(initial=0.0), 1e-6)
    bins = np.linspace(-reach, reach, 41).tolist()
    for (name, values), colour in zip(families.items(), SERIES[1:], strict=False):
        # Outlines: filled bars would show a third colour where the families overlap.
        ax.hist(list(values), bins=bins, color=colour, histtype="step", lw=1.8, label=name)
    ax.axvline(observed, color=TOWARDS, lw=2.5, label="mean difference")
    ax.axvline(-observed, color=TOWARDS, lw=1, ls="--", label="as strong, the other way")
    ax.set_xlabel(xlabel)
    ax.set_ylabel("directions")
    ax.yaxis.set_major_locator(MaxNLocator(integer=True))
    ax.spines[["top", "right"]].set_visible(False)
    # Above the axes: inside, it would lie on one of the two lines.
    fig.legend(loc="outside upper center", ncols=4, frameon=False, fontsize=8)
    caption(fig, n, provenance)


def both_ways(
    rows: Mapping[str, tuple[float | None, float | None]],
    unsteered: float | None,
    *,
    dose: float,
    n: str,
    title: str = "",
    notes: Mapping[str, str] | None = None,
    xlabel: str = "share of positive words among sentiment words",
    provenance: str = COMPUTED_NOW,
) -> None:
    """Several ways to steer, each at −dose and at +dose: the further apart, the stronger.

    rows: for each way (score at −dose, score at +dose). notes: a short text at the end of a row.
    """
    fig, ax = plt.subplots(figsize=(7.2, 1.5 + 0.45 * len(rows)), layout="constrained")
    for y, (name, ends) in enumerate(rows.items()):
        low, high = floats(ends)
        ax.plot([low, high], [y, y], color=NEUTRAL, lw=1, zorder=1)
        ax.scatter([low], [y], color=AGAINST, s=55, zorder=2, label=f"dose −{dose:g}")
        ax.scatter([high], [y], color=TOWARDS, s=55, zorder=2, label=f"dose +{dose:g}")
        if notes and name in notes:
            ax.text(1.04, y, notes[name], va="center", fontsize=8, color=NEUTRAL)
    if unsteered is not None:
        ax.axvline(unsteered, color=NEUTRAL, ls="--", lw=1, label="unsteered")
    ax.set_yticks(range(len(rows)), list(rows))
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlim(-0.03, 1.03)
    ax.set_xlabel(xlabel)
    ax.set_title(title)
    handles, labels = ax.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    fig.legend(once.values(), once.keys(), loc="outside upper right", ncols=3, frameon=False)
    ax.spines[["top", "right"]].set_visible(False)
    caption(fig, n, provenance)
