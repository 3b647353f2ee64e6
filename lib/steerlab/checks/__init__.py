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
from steerlab.checks.diagnosis import CheckFailed
from steerlab.checks.mean_diff import (
    check_concept_score,
    check_generate_with_hooks,
    check_mean_difference,
    check_sentence_residuals,
    check_steering_hooks,
    check_steering_mask,
)

__all__ = [
    "CheckFailed",
    "check_cav_intervention",
    "check_concept_score",
    "check_fit_cavs",
    "check_generate_with_hooks",
    "check_masked_mean",
    "check_mean_difference",
    "check_prepare",
    "check_random_cavs",
    "check_sensitivities",
    "check_sentence_residuals",
    "check_steering_hooks",
    "check_steering_mask",
    "check_tcav_test",
]
