"""Text written with one feature turned up or down, beside the same text without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from steerlab.evaluation import Fluency, mean_fluency
from steerlab.generation import Completion, generate
from steerlab.pipeline.errors import PipelineError
from steerlab.positions import Positions
from steerlab.sae.clamp import ClampFeatures
from steerlab.sae.labels import FeatureLabel, FeatureLabels
from steerlab.sae.model import SAE
from steerlab.sae.scores import check_fits
from steerlab.settings import course_settings
from steerlab.steering import AddVector, Intervention, coefficient_at, dose_of, steer

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

How = Literal["clamp", "add"]


@dataclass(frozen=True)
class Steered:
    """Completions with and without one feature steered.

    coefficient: the activation that the feature was clamped to, or what its decoder row was
    multiplied by. dose: mean ‖Δ‖ over the residual's mean norm, measured on the prompts. reference:
    the 99.9th percentile of the feature's activations, None where no label says it.
    """

    feature: int
    concept: str | None
    how: How
    coefficient: float
    dose: float
    reference: float | None
    plain: tuple[Completion, ...]
    steered: tuple[Completion, ...]
    plain_fluency: Fluency
    steered_fluency: Fluency


def steer_feature(
    model: TransformerBridge,
    sae: SAE,
    feature: int | str,
    prompts: Sequence[str] | None = None,
    *,
    labels: FeatureLabels | None = None,
    how: How = "clamp",
    dose: float | None = None,
    value: float | None = None,
    positions: Positions = "all",
    max_new_tokens: int | None = None,
    temperature: float = 0.0,
    seed: int = 0,
    mode: Literal["raw", "chat"] | None = None,
) -> Steered:
    """Write with one feature steered, and without.

    feature: its number, or a concept to look up in `labels`. prompts: the course's for this model
    by default. how: clamp the feature's activation (Templeton et al., 2024), or add its decoder
    row. value: the coefficient itself; dose: what to choose it by. With neither, a clamp is set to
    the feature's reference if a label tells it, and else the course's dose for this model is used.

    Raises ValueError for a feature that is unknown or no label matches, an autoencoder that does
    not fit the model, or a dose that no coefficient has.
    """
    hook_name = check_fits(sae, model)
    settings = course_settings(model)
    texts = list(prompts or settings.prompts)
    mode = mode or settings.mode
    label = _label(sae, feature, labels)
    number = label.feature if label is not None else sae.check_features([int(feature)])[0]
    reference = label.p999 if label is not None and label.p999 > 0 else None
    if value is not None and dose is not None:
        raise PipelineError("give the coefficient itself or a dose, not both")

    def make(coefficient: float) -> Mapping[str, Intervention]:
        if how == "clamp":
            return {hook_name: ClampFeatures(sae, {number: coefficient})}
        return {hook_name: AddVector(sae.W_dec[number], coefficient)}

    # Prompts have no generated tokens, so all of theirs stand in.
    measured = "all" if positions in ("generated", "newest_only") else positions

    def dose_at(coefficient: float) -> float:
        return dose_of(model, make(coefficient), texts, positions=measured, mode=mode)

    if value is None:
        if dose is None and how == "clamp" and reference is not None:
            value = reference
        else:
            value = coefficient_at(
                dose_at, settings.dose if dose is None else dose, reference or 1.0
            )

    def write() -> list[Completion]:
        return generate(
            model,
            texts,
            max_new_tokens=max_new_tokens or settings.max_new_tokens,
            temperature=temperature,
            seed=seed,
            mode=mode or settings.mode,
        )

    plain = write()
    with steer(model, make(value), positions):
        written = write()
    return Steered(
        number, label.concept if label else None, how, value, dose_at(value), reference,
        tuple(plain), tuple(written), mean_fluency(model, plain), mean_fluency(model, written),
    )  # fmt: skip


def _label(sae: SAE, feature: int | str, labels: FeatureLabels | None) -> FeatureLabel | None:
    """The label of a number, or the best one for a concept."""
    if isinstance(feature, int) or feature.lstrip("#").isdecimal():
        [number] = sae.check_features([int(str(feature).lstrip("#"))])
        return labels[number] if labels is not None and number in labels else None
    if labels is None:
        raise PipelineError(
            f"{feature!r} is no number of a feature, and there are no labels to look it up in: "
            "run `steerlab find` first, or name labels.json with --labels"
        )
    return labels.search(feature, n=1)[0]
