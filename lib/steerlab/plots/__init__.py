"""The pictures of the course, one module for each assignment that brings some."""

from steerlab.plots.clamping import (
    clamp_sweep,
    control_rows,
    feature_quality,
    form_cost,
    steering_by_sparsity,
    switched_off,
)
from steerlab.plots.cav import accuracy_by_layer, cosine_maps, methods_by_dose, tcav_scores
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
    "clamp_sweep",
    "control_histogram",
    "control_rows",
    "dose_sweep",
    "feature_quality",
    "form_cost",
    "steering_by_sparsity",
    "switched_off",
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
