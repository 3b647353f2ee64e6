"""The pictures of the course, one module for each assignment that brings some."""

from steerlab.plots.cav import accuracy_by_layer, cosine_maps, methods_by_dose, tcav_scores
from steerlab.plots.clamping import (
    clamp_sweep,
    control_rows,
    feature_quality,
    form_cost,
    steering_by_sparsity,
    switched_off,
)
from steerlab.plots.interference import effect_by_price, interference_overlay
from steerlab.plots.mean_diff import (
    bos_angle,
    both_ways,
    changed_tokens,
    control_histogram,
    dose_sweep,
)
from steerlab.plots.scaling import (
    dead_latents,
    found_feature,
    names_of_features,
    resumed_runs,
    scaling_law,
    sparsity_by_size,
)
from steerlab.plots.sparse import (
    alpha_sweep,
    bound_against_penalty,
    component_separations,
    feature_table,
    layers_by_concept,
    methods_ranked,
    pareto_front,
    warm_starts,
)
from steerlab.plots.toy_sae import (
    concept_scores,
    frontier,
    histograms,
    recovered_directions,
    training_curves,
)

__all__ = [
    "accuracy_by_layer",
    "alpha_sweep",
    "bos_angle",
    "both_ways",
    "bound_against_penalty",
    "changed_tokens",
    "clamp_sweep",
    "component_separations",
    "concept_scores",
    "control_histogram",
    "control_rows",
    "cosine_maps",
    "dead_latents",
    "dose_sweep",
    "effect_by_price",
    "feature_quality",
    "feature_table",
    "form_cost",
    "found_feature",
    "frontier",
    "histograms",
    "interference_overlay",
    "layers_by_concept",
    "methods_by_dose",
    "methods_ranked",
    "names_of_features",
    "pareto_front",
    "recovered_directions",
    "resumed_runs",
    "scaling_law",
    "sparsity_by_size",
    "steering_by_sparsity",
    "switched_off",
    "tcav_scores",
    "training_curves",
    "warm_starts",
]
