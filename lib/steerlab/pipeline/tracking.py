"""The curve of a run, on Weights & Biases where somebody asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steerlab.pipeline.config import TrainConfig
from steerlab.pipeline.errors import PipelineError

if TYPE_CHECKING:
    from steerlab.pipeline.runs import Measured

ID = "wandb_id.txt"  # beside the run's checkpoints, so that a resumed run goes on with its curve


class Tracker:
    """Sends every measurement to Weights & Biases; does nothing without `wandb_project`.

    Raises PipelineError where wandb is not installed, or does not begin (no login, no network).
    """

    def __init__(self, config: TrainConfig, folder: Path, history: list[Measured]):
        self.run: Any = None
        if config.wandb_project is None:
            return
        try:
            import wandb
        except ImportError:
            raise PipelineError(
                "wandb_project is set, but wandb is not installed: pip install wandb, or leave it out"
            ) from None
        path = folder / ID
        try:
            self.run = wandb.init(
                project=config.wandb_project,
                name=config.wandb_name or folder.name,
                entity=config.wandb_entity,
                config=asdict(config),
                dir=str(folder),
                id=path.read_text().strip() if history and path.exists() else None,
                resume="allow",
            )
        except Exception as error:
            raise PipelineError(
                f"Weights & Biases does not begin ({error}): run `wandb login`, set "
                "WANDB_MODE=offline, or leave wandb_project out"
            ) from error
        path.write_text(str(self.run.id))

    def log(self, line: Mapping[str, Any]) -> None:
        """One measurement, at its step."""
        if self.run is not None:
            self.run.log(dict(line), step=line["step"])

    def finish(self) -> None:
        """Wait until everything is sent."""
        if self.run is not None:
            self.run.finish()
