"""Convex sparse steering: the fewest features of an autoencoder that move a residual to a concept.

`concept_subspace` says what is missing, `SparseSolver` finds the features, over the whole dictionary
and with a certificate; `sweep_layers` chooses the layer, `steering_methods` and `compare_methods` set
the answer beside eight simpler ones.
"""

from steerlab.sparse.answers import Infeasible, SparseAnswer
from steerlab.sparse.compare import (
    Comparison,
    Judge,
    MethodRow,
    compare_methods,
    judge_for,
    kl_to_unsteered,
    linear_probe,
    text_judge,
    word_judge,
)
from steerlab.sparse.layers import LayerConcept, alignment, best_layer, sweep_layers
from steerlab.sparse.methods import (
    METHODS,
    Methods,
    SteeringMethod,
    SteeringVector,
    feature_correlations,
    steering_methods,
)
from steerlab.sparse.reference import cvxpy_problem, solve_reference
from steerlab.sparse.solver import SparseSolver
from steerlab.sparse.subspace import ConceptSubspace, concept_subspace, fit_subspace, read_texts

__all__ = [
    "METHODS",
    "Comparison",
    "ConceptSubspace",
    "Infeasible",
    "Judge",
    "LayerConcept",
    "MethodRow",
    "Methods",
    "SparseAnswer",
    "SparseSolver",
    "SteeringMethod",
    "SteeringVector",
    "alignment",
    "best_layer",
    "compare_methods",
    "concept_subspace",
    "cvxpy_problem",
    "feature_correlations",
    "fit_subspace",
    "judge_for",
    "kl_to_unsteered",
    "linear_probe",
    "read_texts",
    "solve_reference",
    "steering_methods",
    "sweep_layers",
    "text_judge",
    "word_judge",
]
