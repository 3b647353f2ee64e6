"""What tests of the explorer steer with, and how they read what it shows."""

from __future__ import annotations

from html import unescape
from typing import Any

import torch
from steerlab.cavs import CAVs
from steerlab.sae import SAE, FeatureLabel, FeatureLabels

HOOK = "blocks.1.hook_resid_pre"
N_FEATURES = 12
LABELS = FeatureLabels(
    [
        FeatureLabel(0, "topic: ocean", 0.97, (" wave", " sail"), 0.01, 4.0),
        FeatureLabel(1, "topic: ocean", 0.80, (" harbour",), 0.01, 2.0),
        FeatureLabel(2, "topic: music", 0.99, (" waver", " violin"), 0.02, 3.0),
        FeatureLabel(3, "sentiment: sad", 0.90, (" ocean",), 0.02, 3.0),
        FeatureLabel(4, None, None, (), 0.0, 0.0),
    ]
)


def a_vector(seed: int = 0) -> torch.Tensor:
    return torch.randn(32, generator=torch.Generator().manual_seed(seed))


def unit_rows(n: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.nn.functional.normalize(torch.randn(n, width, generator=generator), dim=1)


def an_sae(d_in: int = 32, hook_name: str | None = HOOK, b_enc: float = -1e6, **more: Any) -> SAE:
    """With this b_enc no feature is active by itself: a clamp's dose is proportional to α."""
    rows = unit_rows(N_FEATURES, d_in)
    return SAE(
        rows.T.contiguous(),
        torch.full((N_FEATURES,), b_enc),
        rows,
        torch.zeros(d_in),
        hook_name=hook_name,
        **more,
    )


def some_cavs(width: int = 32, hook_name: str | None = HOOK) -> CAVs:
    names = ("topic: ocean", "topic: music", "sentiment: sad")
    zeros = torch.zeros(3)
    return CAVs(
        unit_rows(3, width), names, torch.zeros(width), 1.0, zeros + 1, zeros, hook_name, "a test"
    )


def steered_text(explorer: Any) -> str:
    """The steered completion that the explorer shows."""
    return unescape(explorer.steered.value.split("</span>")[-1].removesuffix("</p>"))
