"""What steering does to text, and to everything else the model was good at.

`text` scores completions: how much of a concept they bring, how fluent they are. The rest measures
interference: a direction meant for one thing (code) is added at many strengths, and another thing
(mathematics) is watched, beside controls of the same length. `plan_sweep` and `run_sweep` do it all.
"""

from steerlab.evaluation.candidates import (
    Candidate,
    Candidates,
    decoder_rows_like,
    feature_candidates,
)
from steerlab.evaluation.margins import MathTokens, kl_divergence, math_margin, math_tokens
from steerlab.evaluation.recorded import RecordedSweep, load_recorded_sweep
from steerlab.evaluation.results import SweepResult, load_sweep
from steerlab.evaluation.statistics import Interval, bootstrap_over_prompts, rank_p
from steerlab.evaluation.sweep import run_sweep
from steerlab.evaluation.sweep_plan import MatchedStep, SweepPlan, plan_sweep
from steerlab.evaluation.text import (
    Fluency,
    concept_score,
    distinct_2,
    fluency,
    mean_fluency,
    on_topic,
    repeated_share,
    usable,
)
from steerlab.evaluation.validity import (
    Validity,
    code_validity,
    is_valid_code,
    is_valid_latex,
    latex_first,
    latex_validity,
    validity_shares,
)

__all__ = [
    "Candidate",
    "Candidates",
    "Fluency",
    "Interval",
    "MatchedStep",
    "MathTokens",
    "RecordedSweep",
    "SweepPlan",
    "SweepResult",
    "Validity",
    "bootstrap_over_prompts",
    "code_validity",
    "concept_score",
    "decoder_rows_like",
    "distinct_2",
    "feature_candidates",
    "fluency",
    "is_valid_code",
    "is_valid_latex",
    "kl_divergence",
    "latex_first",
    "latex_validity",
    "load_recorded_sweep",
    "load_sweep",
    "math_margin",
    "math_tokens",
    "mean_fluency",
    "on_topic",
    "plan_sweep",
    "rank_p",
    "repeated_share",
    "run_sweep",
    "usable",
    "validity_shares",
]
