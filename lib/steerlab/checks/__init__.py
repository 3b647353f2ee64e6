"""The checks that stand under each exercise, one module for each assignment.

Notebooks call them as `checks.check_<function>(function, …)`; `diagnosis` says how they speak.
"""

from steerlab.checks.cav import (
    check_cav_intervention,
    check_fit_cavs,
    check_masked_mean,
    check_prepare,
    check_random_cavs,
    check_sensitivities,
    check_tcav_test,
)
from steerlab.checks.clamping import (
    check_clamp_and_decode,
    check_clamp_reference,
    check_clamp_step,
    check_error_term,
    check_find_feature,
    check_jumprelu_encode,
    check_make_intervention,
)
from steerlab.checks.diagnosis import CheckFailed
from steerlab.checks.mean_diff import (
    check_concept_score,
    check_generate_with_hooks,
    check_mean_difference,
    check_sentence_residuals,
    check_steering_hooks,
    check_steering_mask,
)
from steerlab.checks.scaling import (
    check_fit_law,
    check_load_state,
    check_name_features,
    check_read_shards,
    check_resample,
    check_save_state,
    check_write_shard,
)
from steerlab.checks.toy_sae import (
    check_forward,
    check_init_sae,
    check_sae_loss,
    check_sae_scores,
    check_schedule,
    check_top_contexts,
    check_train_sae,
)

__all__ = [
    "CheckFailed",
    "check_cav_intervention",
    "check_clamp_and_decode",
    "check_clamp_reference",
    "check_clamp_step",
    "check_concept_score",
    "check_error_term",
    "check_find_feature",
    "check_fit_cavs",
    "check_fit_law",
    "check_forward",
    "check_generate_with_hooks",
    "check_init_sae",
    "check_jumprelu_encode",
    "check_load_state",
    "check_make_intervention",
    "check_masked_mean",
    "check_mean_difference",
    "check_name_features",
    "check_prepare",
    "check_random_cavs",
    "check_read_shards",
    "check_resample",
    "check_sae_loss",
    "check_sae_scores",
    "check_save_state",
    "check_schedule",
    "check_sensitivities",
    "check_sentence_residuals",
    "check_steering_hooks",
    "check_steering_mask",
    "check_tcav_test",
    "check_top_contexts",
    "check_train_sae",
    "check_write_shard",
]
