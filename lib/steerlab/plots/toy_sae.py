"""The figures of assignment 02_toy_sae."""

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
    Numbers,
    caption,
    finish,
    floats,
    plain_numbers,
    waits,
)
from steerlab.predict import Prediction


def histograms(
    groups: Mapping[str, Any],
    *,
    xlabel: str,
    title: str,
    n: str,
    provenance: str = COMPUTED_NOW,
) -> None:
    """How a number is distributed in several groups, each group's histogram with the area 1."""
    fig, ax = plt.subplots(figsize=(6.4, 3.0), layout="constrained")
    arrays = {name: np.asarray(values, float) for name, values in groups.items()}
    everything = np.concatenate(list(arrays.values()))
    bins = np.linspace(everything.min(), everything.max(), 61).tolist()
    for (name, values), colour in zip(arrays.items(), SERIES, strict=False):
        ax.hist(values, bins=bins, density=True, histtype="step", lw=1.8, color=colour, label=name)
    ax.set_xlabel(xlabel)
    ax.set_ylabel("density")
    ax.set_title(title)
    finish(fig, ax, n, provenance)


def training_curves(
    curves: Mapping[str, Sequence[Mapping[str, float]]],
    *,
    n: str,
    provenance: str = COMPUTED_NOW,
) -> None:
    """Loss, L0 and FVU over the steps of one or several trainings.

    curves: for each training a list of {"step", "loss", "l0", "fvu"}.
    """
    fig, panels = plt.subplots(1, 3, figsize=(9.6, 3.2), layout="constrained")
    names = {"loss": "loss", "l0": "L0 (latents a token)", "fvu": "FVU"}
    for ax, (key, label) in zip(panels, names.items(), strict=True):
        for (name, rows), colour in zip(curves.items(), SERIES, strict=False):
            values = floats([row[key] for row in rows])
            ax.plot([row["step"] for row in rows], values, color=colour, lw=1.5, label=name)
        ax.set_yscale("log")
        plain_numbers(ax.yaxis)
        ax.set_xlabel("step")
        ax.set_ylabel(label)
        ax.spines[["top", "right"]].set_visible(False)
    if len(curves) > 1:
        handles, labels = panels[0].get_legend_handles_labels()
        fig.legend(handles, labels, loc="outside upper center", ncols=3, frameon=False, fontsize=8)
    caption(fig, n, provenance)


def frontier(
    families: Mapping[str, Sequence[Mapping[str, float]]],
    live: Mapping[str, Mapping[str, float | None]] | None = None,
    *,
    n: str,
    provenance: str,
) -> None:
    """What a code of a certain sparsity costs: FVU and lost loss against L0.

    families: for each kind of autoencoder its points {"l0", "fvu", "loss_recovered"}, along one
    line. live: single points of the notebook's own, with the same keys.
    """
    fig, (left, right) = plt.subplots(1, 2, figsize=(9.2, 3.7), sharex=True, layout="constrained")
    for (name, points), colour in zip(families.items(), SERIES, strict=False):
        ordered = sorted(points, key=lambda point: point["l0"])
        l0 = [point["l0"] for point in ordered]
        left.plot(l0, [point["fvu"] for point in ordered], "o-", ms=4, color=colour, label=name)
        # Where the reconstruction happens to do better than the residual, the logarithm has no place.
        lost = [_positive(100 * (1 - point["loss_recovered"])) for point in ordered]
        right.plot(l0, lost, "o-", ms=4, color=colour, label=name)
    for (name, own), marker in zip((live or {}).items(), "*XDP", strict=False):
        style = {"ls": "", "marker": marker, "ms": 13, "color": GUESS, "mec": "black"}
        left.plot([own["l0"]], floats([own["fvu"]]), label=name, **style)
        if own.get("loss_recovered") is not None:
            right.plot([own["l0"]], [100 * (1 - float(own["loss_recovered"] or 0))], **style)
    left.set_ylabel("FVU: share of variance lost")
    right.set_ylabel("loss not recovered (%)")
    for ax in (left, right):
        ax.set_xscale("log")
        ax.set_yscale("log")
        for axis in (ax.xaxis, ax.yaxis):
            plain_numbers(axis)
        ax.set_xlabel("L0 (latents active on a token)")
        ax.spines[["top", "right"]].set_visible(False)
    handles, labels = left.get_legend_handles_labels()
    fig.legend(handles, labels, loc="outside upper center", ncols=4, frameon=False, fontsize=8)
    caption(fig, n, provenance)


def _positive(value: float) -> float:
    """The value, or NaN where it is not above zero."""
    return value if value > 0 else float("nan")


def recovered_directions(
    cosines: Mapping[str, Numbers],
    prediction: Prediction | None = None,
    *,
    n: str,
    title: str,
    ylabel: str,
    threshold: float = 0.9,
    provenance: str = COMPUTED_NOW,
) -> None:
    """How well directions are found again, best first, for several dictionaries.

    cosines: for each dictionary one cosine for each direction that was to be found. A prediction is
    the number of directions above `threshold` in the first of them.
    """
    if waits(prediction):
        return
    fig, ax = plt.subplots(figsize=(6.8, 3.6), layout="constrained")
    for (name, values), colour in zip(cosines.items(), SERIES, strict=False):
        ordered = np.sort(floats(values))[::-1]
        count = int((ordered > threshold).sum())
        label = f"{name}: {count} of {len(ordered)}"
        ax.plot(100 * (np.arange(len(ordered)) + 0.5) / len(ordered), ordered, color=colour, lw=2,
                label=label)  # fmt: skip
    ax.axhline(threshold, color=NEUTRAL, ls=":", lw=1)
    if prediction is not None and isinstance(prediction.answer, float):
        ax.axvline(prediction.answer, color=GUESS, ls="--", label="your prediction")
    ax.set_ylim(-0.05, 1.03)
    ax.set_xlabel("directions, best first (%)")
    ax.set_ylabel(ylabel)
    ax.set_title(title)
    ax.spines[["top", "right"]].set_visible(False)
    # Above the axes: the curves go from one corner to the other, in either direction.
    fig.legend(loc="outside upper center", ncols=2, frameon=False, fontsize=8)
    caption(fig, n, provenance)


def concept_scores(
    scores: Mapping[str, Mapping[str, float]],
    prediction: Prediction | None = None,
    *,
    n: str,
    threshold: float = 0.9,
    provenance: str = COMPUTED_NOW,
) -> None:
    """How well the best score of each kind tells each concept's documents from the rest.

    scores: for each kind (features, coordinates, …) one held-out AUROC for each concept. A prediction is
    the number of concepts above `threshold` for the kind that it names in `unit`.
    """
    if waits(prediction):
        return
    kinds, concepts = list(scores), list(next(iter(scores.values())))
    fig, ax = plt.subplots(figsize=(8.4, 1.4 + 0.28 * len(concepts)), layout="constrained")
    for (kind, values), colour, marker in zip(scores.items(), SERIES, "osD^v<", strict=False):
        found = sum(values[concept] > threshold for concept in concepts)
        ax.plot(
            [values[concept] for concept in concepts],
            range(len(concepts)),
            ls="",
            marker=marker,
            color=colour,
            ms=9 if kind == kinds[0] else 6,
            label=f"{kind}: {found} of {len(concepts)}",
        )
    ax.axvline(threshold, color=NEUTRAL, ls=":", lw=1)
    ax.axvline(0.5, color=NEUTRAL, lw=0.5)
    ax.set_yticks(range(len(concepts)), concepts)
    ax.set_ylim(len(concepts) - 0.5, -0.5)
    ax.set_xlabel(f"AUROC on held-out documents (0.5 is chance; dotted: {threshold:g})")
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(axis="y", color="#dddddd", lw=0.5)
    title = f"How many of {len(concepts)} concepts exceed {threshold:g}?"
    if prediction is not None and isinstance(prediction.answer, float):
        title += f" You said {prediction.answer:g}."
    ax.set_title(title)
    fig.legend(loc="outside right upper", frameon=False, fontsize=8)
    caption(fig, n, provenance)
