"""From texts to a steered model: collect residuals, train an autoencoder, find its features, steer.

Each step is one command of `steerlab` and one function here, with files in between that any of
them can be begun from. `import steerlab.pipeline` is light: torch is imported with the first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from steerlab.pipeline.config import TrainConfig
from steerlab.pipeline.errors import PipelineError
from steerlab.pipeline.sources import Text, TextSource, text_source

if TYPE_CHECKING:
    from steerlab.pipeline.collecting import collect_shards
    from steerlab.pipeline.endpoint import Endpoint
    from steerlab.pipeline.finding import Found, find_features
    from steerlab.pipeline.runs import Run, train_shards
    from steerlab.pipeline.shards import Shards
    from steerlab.pipeline.steered import Steered, steer_feature

__all__ = [
    "Endpoint",
    "Found",
    "PipelineError",
    "Run",
    "Shards",
    "Steered",
    "Text",
    "TextSource",
    "TrainConfig",
    "collect_shards",
    "find_features",
    "steer_feature",
    "text_source",
    "train_shards",
]

_HOMES = {
    "Endpoint": "endpoint",
    "Found": "finding",
    "Run": "runs",
    "Shards": "shards",
    "Steered": "steered",
    "collect_shards": "collecting",
    "find_features": "finding",
    "steer_feature": "steered",
    "train_shards": "runs",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'steerlab.pipeline' has no attribute '{name}'")
    return getattr(import_module(f"steerlab.pipeline.{_HOMES[name]}"), name)
