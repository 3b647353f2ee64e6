"""Sparse autoencoders: the model, its training and scores, files, features, and the clamp."""

from steerlab.sae.cards import context_card, context_cards
from steerlab.sae.clamp import ClampFeatures
from steerlab.sae.convert import convert_checkpoint
from steerlab.sae.features import (
    Context,
    FeatureContexts,
    FeatureMatch,
    auroc,
    baselines,
    contexts,
    document_scores,
    feature_activations,
    match_concepts,
)
from steerlab.sae.files import read_sae, save_sae
from steerlab.sae.labels import FeatureLabel, FeatureLabels, label_features
from steerlab.sae.model import SAE
from steerlab.sae.pretrained import (
    Frontier,
    Scaling,
    from_sae_lens,
    load_frontier,
    load_labels,
    load_sae,
    load_scaling,
)
from steerlab.sae.scores import (
    LossRecovered,
    Scores,
    check_reconstruction,
    evaluate_sae,
    loss_recovered,
    recovery,
    splicing_losses,
)
from steerlab.sae.training import Progress, Recipe, Trained, Trainer, train_sae

__all__ = [
    "SAE",
    "ClampFeatures",
    "Context",
    "FeatureContexts",
    "FeatureLabel",
    "FeatureLabels",
    "FeatureMatch",
    "Frontier",
    "LossRecovered",
    "Progress",
    "Recipe",
    "Scaling",
    "Scores",
    "Trained",
    "Trainer",
    "auroc",
    "baselines",
    "check_reconstruction",
    "context_card",
    "context_cards",
    "contexts",
    "convert_checkpoint",
    "document_scores",
    "evaluate_sae",
    "feature_activations",
    "from_sae_lens",
    "label_features",
    "load_frontier",
    "load_labels",
    "load_sae",
    "load_scaling",
    "loss_recovered",
    "match_concepts",
    "read_sae",
    "recovery",
    "save_sae",
    "splicing_losses",
    "train_sae",
]
