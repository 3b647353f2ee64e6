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
from steerlab.checks.interference import (
    check_bootstrap_interval,
    check_candidate_features,
    check_math_margin,
    check_rank_p,
    check_sweep,
    check_valid_code,
    check_validity_shares,
)
from steerlab.checks.mean_diff import (
    check_concept_score,
    check_generate_with_hooks,
    check_mean_difference,
    check_sentence_residuals,
    check_steering_hooks,
    check_steering_mask,
)
from steerlab.checks.sparse import (
    check_at_dose,
    check_concept_directions,
    check_missing,
    check_smallest_epsilon,
    check_solve_qp,
    check_solve_socp,
    check_steering_vector,
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
    "check_at_dose",
    "check_bootstrap_interval",
    "check_candidate_features",
    "check_cav_intervention",
    "check_clamp_and_decode",
    "check_clamp_reference",
    "check_clamp_step",
    "check_concept_directions",
    "check_concept_score",
    "check_error_term",
    "check_find_feature",
    "check_fit_cavs",
    "check_forward",
    "check_generate_with_hooks",
    "check_init_sae",
    "check_jumprelu_encode",
    "check_make_intervention",
    "check_masked_mean",
    "check_math_margin",
    "check_mean_difference",
    "check_missing",
    "check_prepare",
    "check_random_cavs",
    "check_rank_p",
    "check_sae_loss",
    "check_sae_scores",
    "check_schedule",
    "check_sensitivities",
    "check_sentence_residuals",
    "check_smallest_epsilon",
    "check_solve_qp",
    "check_solve_socp",
    "check_steering_hooks",
    "check_steering_mask",
    "check_steering_vector",
    "check_sweep",
    "check_tcav_test",
    "check_top_contexts",
    "check_train_sae",
    "check_valid_code",
    "check_validity_shares",
]
