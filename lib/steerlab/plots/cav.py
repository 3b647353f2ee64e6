"""The figures of assignment 04_cav."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.lines import Line2D
from torch import Tensor

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


def cosine_maps(
    maps: Mapping[str, Tensor],
    labels: Sequence[str],
    *,
    n: str,
    reach: float = 1.0,
    provenance: str = COMPUTED_NOW,
) -> None:
    """Cosines of some vectors with each other, one square map for each way to make them.

    maps: by title, [vector, vector], all for the vectors that `labels` name. reach: the cosine at
    which the colours end; the diagonal, which is 1 by itself, is left blank.
    """
    side = 1.2 + 0.24 * len(labels)
    fig, axes = plt.subplots(
        1, len(maps), figsize=(side * len(maps) + 1.2, side + 0.9), layout="constrained"
    )
    for column, (ax, (title, cosines)) in enumerate(
        zip(np.atleast_1d(axes), maps.items(), strict=True)
    ):
        values = cosines.detach().cpu().numpy().astype(float).copy()
        np.fill_diagonal(values, np.nan)
        image = ax.imshow(values, vmin=-reach, vmax=reach, cmap="RdBu_r")
        ax.set_title(title, fontsize=10)
        ax.set_xticks(range(len(labels)), labels, rotation=90, fontsize=8)
        ax.set_yticks(range(len(labels)), labels if column == 0 else [""] * len(labels), fontsize=8)
    fig.colorbar(image, ax=np.atleast_1d(axes).tolist(), label="cosine", shrink=0.75)
    caption(fig, n, provenance)


def accuracy_by_layer(
    accuracy: Mapping[str, Numbers],
    prediction: Prediction | None = None,
    *,
    places: Sequence[str],
    chance: float,
    n: str,
    provenance: str = COMPUTED_NOW,
) -> None:
    """Held-out accuracy at each place of the model, for several kinds of input or labels.

    accuracy: for each series one share for each of `places`. A prediction is a number, the
    accuracy at the first place.
    """
    if waits(prediction):
        return
    fig, ax = plt.subplots(figsize=(6.4, 3.6), layout="constrained")
    for (name, values), colour in zip(accuracy.items(), SERIES, strict=False):
        ax.plot(range(len(values)), floats(values), "o-", color=colour, label=name)
    if prediction is not None and isinstance(prediction.answer, float):
        ax.plot(
            [0], [prediction.answer], "D", color=GUESS, ms=9, mfc="none", label="your prediction"
        )
    ax.axhline(chance, color=NEUTRAL, ls=":", lw=1, label="guessing")
    ax.set_xticks(range(len(places)), places)
    ax.set_ylim(-0.03, 1.03)
    ax.set_xlabel("residual stream before block")
    ax.set_ylabel("held-out accuracy")
    finish(fig, ax, n, provenance)
    ax.legend(frameon=False, fontsize=8, loc="center right")


def methods_by_dose(
    doses: Sequence[float],
    rates: Mapping[str, Numbers],
    nll_rise: Mapping[str, Numbers],
    prediction: Prediction | None = None,
    *,
    n: str,
    unsteered: float | None = None,
    controls: Sequence[str] = (),
    usable: float = 1.0,
    rate_label: str = "share of texts on topic",
    provenance: str = COMPUTED_NOW,
) -> None:
    """What several directions buy at equal dose (left), and at equal price (right).

    rates: for each way one share for each dose; nll_rise: likewise, nats per token above the
    unsteered texts. controls: which of the names are controls, drawn dotted. A prediction is the
    name of the way that is expected to win at equal dose.
    """
    if waits(prediction):
        return
    fig, (left, right) = plt.subplots(1, 2, figsize=(8.4, 4.0), sharey=True, layout="constrained")
    guess = prediction.answer if prediction is not None else None
    for (name, values), colour in zip(rates.items(), SERIES, strict=False):
        style = "s:" if name in controls else "o-"
        said = f"{name} (your prediction)" if name == guess else name
        width = 3.0 if name == guess else 1.5
        left.plot(doses, floats(values), style, color=colour, label=said, lw=width, ms=5)
        right.plot(floats(nll_rise[name]), floats(values), style, color=colour, lw=width, ms=5)
    right.axvline(usable, color=NEUTRAL, ls=":", lw=1)
    right.text(usable, 0.02, " not usable →", color=NEUTRAL, fontsize=8)
    for ax in (left, right):
        if unsteered is not None:
            key = "unsteered" if ax is left else None
            ax.axhline(unsteered, color=NEUTRAL, ls="--", lw=1, label=key)
        ax.set_ylim(-0.03, 1.03)
        ax.spines[["top", "right"]].set_visible(False)
    left.set_xticks(doses, [f"{dose:g}" for dose in doses])
    left.set_ylabel(rate_label)
    left.set_xlabel("dose (length added /\nlength of the residual stream)")
    right.set_xlabel("price: NLL rise\n(nats per token)")
    fig.legend(loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    caption(fig, n, provenance)


def tcav_scores(
    scores: Mapping[str, float],
    p: Mapping[str, float],
    chance: Sequence[float],
    *,
    n: str,
    target: str,
    level: float = 0.05,
    provenance: str = COMPUTED_NOW,
) -> None:
    """TCAV scores of some concepts, beside the scores of random CAVs as a histogram.

    scores, p: by concept, p corrected. chance: scores of random CAVs. Concepts whose p is at most
    `level` are filled.
    """
    names = sorted(scores, key=lambda name: -scores[name])
    fig, (top, bottom) = plt.subplots(
        2,
        1,
        figsize=(6.8, 2.6 + 0.24 * len(names)),
        sharex=True,
        height_ratios=[1.6, 0.24 * len(names)],
        layout="constrained",
    )
    top.hist(list(chance), bins=np.linspace(0, 1, 33).tolist(), color=SERIES[4])
    top.set_ylabel("random CAVs")
    top.set_title(f"Target: {target}", fontsize=10)
    for y, name in enumerate(names):
        found = p[name] <= level
        colour = TOWARDS if scores[name] >= 0.5 else AGAINST
        bottom.plot([0.5, scores[name]], [y, y], color=NEUTRAL, lw=1, zorder=1)
        bottom.scatter(
            [scores[name]],
            [y],
            s=45,
            zorder=2,
            color=colour,
            facecolor=colour if found else "white",
        )
        bottom.text(1.04, y, f"p = {p[name]:.2g}", va="center", fontsize=8, color=NEUTRAL)
    bottom.set_yticks(range(len(names)), names, fontsize=8)
    bottom.set_ylim(len(names) - 0.5, -0.5)
    bottom.set_xlim(-0.03, 1.03)
    bottom.set_xlabel("TCAV score (share of texts with a positive derivative)")
    keys = [
        Line2D([], [], marker="o", ls="", color=NEUTRAL, label=f"corrected p ≤ {level:g}"),
        Line2D([], [], marker="o", ls="", color=NEUTRAL, mfc="white", label="not significant"),
    ]
    fig.legend(handles=keys, loc="outside upper right", ncols=2, frameon=False, fontsize=8)
    for ax in (top, bottom):
        ax.axvline(0.5, color=NEUTRAL, lw=0.5)
        ax.spines[["top", "right"]].set_visible(False)
    caption(fig, n, provenance)
