"""At which layer a concept is easiest to reach: a sweep over the residual stream.

Two numbers for each layer. *Explained*: Σ s_j², how far apart the class means lie within the concept
subspace. It grows with the residual's norm, and the last layers, whose norm is the largest and which
can only act on the next token, would win for the wrong reason: they are left out by default.
*Alignment*: how well single features of the layer's autoencoder point along the concept's directions,
which is what a sparse answer is made of. The layer belongs to the concept: sweep for each one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from steerlab.activations import collect
from steerlab.sae.model import SAE
from steerlab.sparse.subspace import ConceptSubspace, Pooling, fit_subspace
from steerlab.tokens import Mode, check_texts

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


@dataclass(frozen=True)
class LayerConcept:
    """A concept at one layer.

    explained: Σ s_j², in squared units of the residual; share: of the residuals' variance, what the
    difference of the class means makes up within the subspace, 0 to 1 and free of scale;
    concentration: R²_k = Σ s_j² / ‖μ_target − μ_other‖². alignment: mean over directions, weighted by
    s_j², of the highest cosine of a decoder row with w_j; None without an autoencoder. considered:
    False for the last layers. subspace: the concept as fitted here.
    """

    layer: int
    hook_name: str
    explained: float
    share: float
    concentration: float
    alignment: float | None
    considered: bool
    subspace: ConceptSubspace


def sweep_layers(
    model: TransformerBridge,
    target: Sequence[str],
    other: Sequence[str],
    *,
    saes: Mapping[int, SAE] | None = None,
    n_components: int = 50,
    k: int = 5,
    pooling: Pooling = "mean",
    exclude_last: int | None = None,
    mode: Mode = "raw",
) -> list[LayerConcept]:
    """The concept that tells `target` from `other` texts, at the input of every layer.

    saes: autoencoders of blocks.{layer}.hook_resid_pre, for the alignment. exclude_last: how many of the
    last layers are not to be chosen; by default a sixth of them, at least one.

    Raises ValueError for an exclude_last that leaves no layer, an SAE of another hook point or width,
    and what `fit_subspace` and `collect` raise.
    """
    n_layers = int(model.cfg.n_layers)
    last = max(1, n_layers // 6) if exclude_last is None else exclude_last
    if not 0 <= last < n_layers:
        raise ValueError(f"exclude_last is {last}, but this model has {n_layers} layers")
    names = [f"blocks.{layer}.hook_resid_pre" for layer in range(n_layers)]
    for layer, sae in (saes or {}).items():
        if not 0 <= layer < n_layers:
            raise ValueError(f"saes has layer {layer}, but this model has 0 to {n_layers - 1}")
        if sae.hook_name is not None and sae.hook_name != names[layer]:
            raise ValueError(f"saes[{layer}] reads {sae.hook_name}, not {names[layer]}")
        if sae.d_in != int(model.cfg.d_model):
            raise ValueError(f"saes[{layer}] reads {sae.d_in} entries, not {model.cfg.d_model}")
    texts = [*check_texts(target, "target"), *check_texts(other, "other")]
    labels = [1] * len(target) + [0] * len(other)
    read = collect(model, texts, names, mode=mode)
    pooled = read.last_per_document if pooling == "last" else read.mean_per_document
    found = []
    for layer, name in enumerate(names):
        residuals = pooled(name)
        subspace = fit_subspace(
            residuals, labels, n_components=n_components, k=k, pooling=pooling, hook_name=name
        )
        variance = float((residuals - residuals.mean(0)).square().sum(1).mean())
        between = len(target) * len(other) / len(texts) ** 2 * subspace.explained
        here = (saes or {}).get(layer)
        found.append(
            LayerConcept(
                layer=layer,
                hook_name=name,
                explained=subspace.explained,
                share=between / variance,
                concentration=subspace.concentration,
                alignment=None if here is None else alignment(here.W_dec, subspace),
                considered=layer < n_layers - last,
                subspace=subspace,
            )
        )
    return found


@torch.no_grad()
def alignment(W_dec: Tensor, subspace: ConceptSubspace) -> float:
    """Mean over directions, weighted by s_j², of the highest cosine of a decoder row with w_j."""
    rows = W_dec.float().cpu()
    rows = rows / rows.norm(dim=1, keepdim=True).clamp(min=1e-12)
    best = (rows @ subspace.directions.T).max(dim=0).values
    weights = subspace.separations**2
    return float((weights * best).sum() / weights.sum())


def best_layer(
    sweep: Sequence[LayerConcept], by: Literal["explained", "share", "alignment"] = "explained"
) -> LayerConcept:
    """The layer with the highest value among those to be considered.

    Raises ValueError for an empty sweep, another criterion, or alignment where no layer has one.
    """
    if by not in ("explained", "share", "alignment"):
        raise ValueError(f'by is "explained", "share" or "alignment", not {by!r}')
    values = [
        (value, found)
        for found in sweep
        if found.considered and (value := getattr(found, by)) is not None
    ]
    if not values:
        what = "an autoencoder to align with" if by == "alignment" else "a place in the sweep"
        raise ValueError(f"no layer that may be chosen has {what}")
    return max(values, key=lambda pair: pair[0])[1]
