"""The pictures of the course, one module for each assignment that brings some."""

from steerlab.plots.cav import accuracy_by_layer, cosine_maps, methods_by_dose, tcav_scores
from steerlab.plots.mean_diff import (
    bos_angle,
    both_ways,
    changed_tokens,
    control_histogram,
    dose_sweep,
)

__all__ = [
    "accuracy_by_layer",
    "bos_angle",
    "both_ways",
    "changed_tokens",
    "control_histogram",
    "cosine_maps",
    "dose_sweep",
    "methods_by_dose",
    "tcav_scores",
]
