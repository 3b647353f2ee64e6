"""What all figures share.

Each function of this package draws one figure from numbers that the caller has measured, labels
every axis with its unit, and prints below the axes how many things were measured and when (`n`,
`provenance`). A figure that takes a `prediction` stays undrawn until that is filled, and then shows
prediction and measurement together. Missing values are `None` or NaN and leave a gap.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure

from steerlab.predict import Prediction

Numbers = Sequence[float | None]

# Colours that stay apart for colour-blind readers (Okabe and Ito 2008).
TOWARDS, AGAINST, NEUTRAL, GUESS = "#0072B2", "#D55E00", "#666666", "#CC79A7"
SERIES = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#000000")
COMPUTED_NOW = "computed now"


def waits(prediction: Prediction | None) -> bool:
    """Say what an undrawn figure waits for."""
    if prediction is None or prediction.filled:
        return False
    print(prediction.waiting())
    return True


def floats(values: Numbers) -> np.ndarray:
    """Missing values as NaN, which leaves a gap."""
    return np.array([np.nan if value is None else float(value) for value in values])


def finish(fig: Figure, ax: Axes, n: str, provenance: str) -> None:
    """Legend, open frame and caption of a figure with one axes."""
    ax.legend(frameon=False, fontsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    caption(fig, n, provenance)


def caption(fig: Figure, n: str, provenance: str) -> None:
    """n and when it was computed, below the axes."""
    fig.supxlabel(f"n = {n} · {provenance}", x=0.99, ha="right", fontsize=8, color=NEUTRAL)


def plain_numbers(axis: Axis) -> None:
    """0.05 in place of 5 × 10⁻², and between the powers of ten only 2 and 5."""
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
