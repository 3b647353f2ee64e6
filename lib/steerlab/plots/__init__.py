"""The pictures of the course, one module for each assignment that brings some."""

from steerlab.plots.mean_diff import (
    bos_angle,
    both_ways,
    changed_tokens,
    control_histogram,
    dose_sweep,
)
from steerlab.plots.toy_sae import (
    concept_scores,
    frontier,
    histograms,
    recovered_directions,
    training_curves,
)

__all__ = [
    "bos_angle",
    "both_ways",
    "changed_tokens",
    "concept_scores",
    "control_histogram",
    "dose_sweep",
    "frontier",
    "histograms",
    "recovered_directions",
    "training_curves",
]
