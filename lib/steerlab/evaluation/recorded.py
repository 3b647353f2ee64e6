"""Sweeps that ship with a model: whole grids, which take longer than a notebook may.

A record holds the aggregates of one `steerlab evaluate`, the command and the date; see
`steerlab.tiny.interference`, which makes the embedded model's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from steerlab.tiny import INTERFERENCE, read_record


@dataclass(frozen=True)
class RecordedSweep:
    """The aggregates of a sweep that was run before, as figures take them.

    name: of what was added. metrics: {metric: points}, each point with "alpha", "value",
    "value_interval", "change", "change_interval", "n_prompts" and "controls" (by family "n", "mean",
    "low", "high", "p"), as in the summary of a sweep over all prompts. n, made: for the caption.
    """

    name: str
    metrics: dict[str, list[dict[str, Any]]]
    n: str
    made: str


def load_recorded_sweep(name: str = "tiny") -> RecordedSweep | None:
    """The interference sweep that ships with a model; None for a model that ships none."""
    if name != "tiny":
        return None
    found, made = read_record(INTERFERENCE)
    return RecordedSweep(
        found["name"],
        found["metrics"],
        n=f"{found['n_prompts']} prompts",
        made=made,
    )
