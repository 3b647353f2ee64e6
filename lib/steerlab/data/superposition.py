"""A made-up residual stream whose features are known, because we put them there.

On a real model nobody can say which features an autoencoder ought to find. Here `n_features` random
directions are planted in fewer dimensions, and every vector is a sum of a few of them: superposition
(Elhage et al., 2022). What an autoencoder finds can then be laid beside what there is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Planted:
    """Vectors, the directions in them, and how strongly each is active.

    x = activations @ directions, with E‖x‖ = √d_model; directions have norm 1.
    """

    x: Float[Tensor, "token d_model"]
    directions: Float[Tensor, "feature d_model"]
    activations: Float[Tensor, "token feature"]


def planted_features(
    n: int,
    *,
    d_model: int = 24,
    n_features: int = 48,
    rate: float = 0.05,
    seed: int = 0,
    draw: int = 0,
) -> Planted:
    """Draw n vectors in which each of n_features directions is active with probability `rate`.

    Strengths of active features are uniform, the largest three times the smallest. The directions
    depend on the seed alone; another `draw` gives other vectors made of the same ones.
    Raises ValueError for counts below 1 or a rate outside (0, 1].
    """
    for name, value in (("n", n), ("d_model", d_model), ("n_features", n_features)):
        if value < 1:
            raise ValueError(f"{name} is {value}; expected at least 1")
    if not 0 < rate <= 1:
        raise ValueError(f"rate is {rate}; a probability above 0 is expected")
    generator = torch.Generator().manual_seed(seed)
    directions = torch.nn.functional.normalize(
        torch.randn(n_features, d_model, generator=generator), dim=1
    )
    generator.manual_seed(1_000_003 * (draw + 1) + seed)
    active = torch.rand(n, n_features, generator=generator) < rate
    activations = active * (0.5 + torch.rand(n, n_features, generator=generator))
    size = float((activations @ directions).norm(dim=1).mean())
    activations = activations * (math.sqrt(d_model) / size if size else 1.0)
    return Planted(activations @ directions, directions, activations)
