"""A training run over shards: checkpoints, resuming to the bit, several processes, a curve.

A run is a folder: `config.yaml`, `history.jsonl` with what was measured, `checkpoints/`, and at the
end `cfg.json` and `sae_weights.safetensors`, which `load_sae` and SAELens read. Everything drawn
at a step follows from the seed and the step's number, and the data's order from the seed, so a
checkpoint holds weights, Adam's moments and one number, and the run goes on as if it had never
stopped. Under `torchrun` each process reads its part of every batch.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import save_file

from steerlab.pipeline.config import TrainConfig
from steerlab.pipeline.errors import PipelineError, disk_trouble
from steerlab.pipeline.shards import Shards
from steerlab.pipeline.stream import Stream
from steerlab.pipeline.tracking import Tracker
from steerlab.sae.files import read_tensors, save_sae
from steerlab.sae.model import SAE
from steerlab.sae.parallel import processes
from steerlab.sae.training import Progress, Recipe, Trainer

DEAD_AFTER = 100_000  # residuals without firing
# What may change between the parts of a run without changing where it ends, but for rounding.
_FREE = ("out", "data", "device", "accumulate", "checkpoint_every", "keep", "measure_every",
         "wandb_project", "wandb_name", "wandb_entity")  # fmt: skip
STATE, WEIGHTS = "state.json", "trainer.safetensors"


@dataclass(frozen=True)
class Measured:
    """One line of the curve. dead: share of latents silent on the last 100,000 residuals."""

    step: int
    residuals: int
    loss: float
    fvu: float
    l0: float
    dead: float
    sparsity: float
    learning_rate: float


@dataclass(frozen=True)
class Run:
    """A finished run: the autoencoder of unscaled residuals, the curve, and the folder."""

    sae: SAE
    history: list[Measured]
    folder: Path


def train_shards(
    config: TrainConfig,
    *,
    resume: bool = False,
    report: Callable[[Measured], Any] | None = None,
    progress: bool = False,
) -> Run:
    """Train an autoencoder on a folder of shards, as `steerlab train` does.

    resume: go on from the last checkpoint in `config.out` if there is one. report is called with
    every measurement, by the first process alone; progress shows a bar. Inside `torchrun` all
    processes call this, and a batch is that of `config` from each of them.

    Raises PipelineError for shards or settings that do not fit each other, a folder that holds a
    run already (without `resume`) or another run, and a disk that is full.
    """
    for name in ("data", "out"):
        if not getattr(config, name):
            raise PipelineError(f"{name} is not set: pass --{name} or write it into the config")
    with _group(config.device) as device:
        shards = Shards(config.data, column=config.column)
        run = _Run(config, shards, device)
        history = run.train(resume=resume, report=report, progress=progress)
        return Run(run.sae(), history, run.folder)


@contextmanager
def _group(device: str | None) -> Iterator[torch.device]:
    """Within this block the processes that `torchrun` started know each other; the device of this."""
    cuda = torch.cuda.is_available() if device is None else device.startswith("cuda")
    if cuda and not torch.cuda.is_available():
        raise PipelineError("device is cuda, but torch sees no GPU here; leave it out")
    number = int(os.environ.get("WORLD_SIZE", "1"))
    if number == 1 or dist.is_initialized():
        yield torch.device(device or ("cuda" if cuda else "cpu"))
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if cuda:
        torch.cuda.set_device(local)
    dist.init_process_group("nccl" if cuda else "gloo")
    try:
        yield torch.device("cuda", local) if cuda else torch.device("cpu")
    finally:
        dist.destroy_process_group()


class _Run:
    """Trainer, stream and folder of one run."""

    def __init__(self, config: TrainConfig, shards: Shards, device: torch.device):
        self.config, self.shards = config, shards
        self.process, self.processes = processes()
        self.folder = Path(config.out)
        whole = config.batch_size * self.processes
        steps = config.steps or math.floor(config.epochs * shards.rows / whole)
        if steps < 1:
            raise PipelineError(
                f"{shards.rows:,} residuals are less than one batch of {whole:,}: set a smaller "
                "batch_size, or steps"
            )
        names = {each.name for each in fields(Recipe)} - {"steps"}
        try:
            recipe = Recipe(steps=steps, **{n: getattr(config, n) for n in sorted(names)})
        except ValueError as error:
            raise PipelineError(str(error)) from None
        scale = shards.norm_factor
        parts = config.parts(self.processes)
        self.trainer = Trainer(recipe, shards.d_model, scale, shards.mean * scale, device, parts)
        self.stream = Stream(
            shards, config.batch_size, config.seed, config.window, self.process, self.processes
        )
        self.device = device

    @property
    def first(self) -> bool:
        return self.process == 0

    def sae(self) -> SAE:
        """The autoencoder as it is now, with where its residuals come from."""
        origin = self.shards.origin
        return self.trainer.finish().like(
            hook_name=self.config.hook_name or (origin.hook_name if origin else None),
            model_name=self.config.model_name or (origin.model_name if origin else None),
            prepend_bos=origin.prepend_bos if origin else None,
        )

    # ------------------------------------------------------------ the loop

    def train(
        self, *, resume: bool, report: Callable[[Measured], Any] | None, progress: bool
    ) -> list[Measured]:
        from tqdm.auto import tqdm

        history = self._begin(resume)
        config, trainer = self.config, self.trainer
        steps = trainer.recipe.steps
        tracker = Tracker(config, self.folder, history) if self.first else None
        batches = self.stream.batches(trainer.steps_done)
        bar = tqdm(
            total=steps,
            initial=trainer.steps_done,
            disable=not (progress and self.first),
            unit="step",
        )
        with bar:
            while trainer.steps_done < steps:
                number = trainer.steps_done
                measure = number % config.measure_every == 0 or number == steps - 1
                x = next(batches).to(self.device) * trainer.scale
                found = trainer.step(x, measure=measure)
                bar.update()
                if found is not None and self.first:
                    history.append(self._measured(found))
                    self._note(history[-1], bar, tracker, report)
                if trainer.steps_done % config.checkpoint_every == 0 and trainer.steps_done < steps:
                    self._checkpoint(history)
        batches.close()
        self._finish(history)
        if tracker is not None:
            tracker.finish()
        return history

    def _measured(self, found: Progress) -> Measured:
        recipe = self.trainer.recipe
        if not math.isfinite(found.loss):
            raise PipelineError(
                f"the loss is {found.loss} at step {found.step}: set a smaller learning_rate and "
                f"resume from the last checkpoint in {self.folder}"
            )
        whole = self.config.batch_size * self.processes
        dead = (self.trainer.silent * whole >= DEAD_AFTER).float().mean()
        return Measured(
            found.step, (found.step + 1) * whole, found.loss, found.fvu, found.l0, float(dead),
            recipe.sparsity_at(found.step), recipe.learning_rate_at(found.step),
        )  # fmt: skip

    def _note(self, line: Measured, bar: Any, tracker: Tracker | None, report: Any) -> None:
        with self._writing(self.folder / "history.jsonl") as path, open(path, "a") as file:
            file.write(json.dumps(asdict(line)) + "\n")
        bar.set_postfix(loss=f"{line.loss:.4g}", fvu=f"{line.fvu:.3f}", l0=f"{line.l0:.1f}")
        if tracker is not None:
            tracker.log(asdict(line))
        if report is not None:
            report(line)

    # ------------------------------------------------------------ folder and checkpoints

    def _begin(self, resume: bool) -> list[Measured]:
        """Make the folder, or restore what is in it. The history so far."""
        found = self._checkpoints()
        finished = (self.folder / "sae_weights.safetensors").exists()
        if (found or finished) and not resume:
            raise PipelineError(
                f"{self.folder} holds a run already: add --resume to go on with it, or choose "
                "another out"
            )
        history: list[Measured] = []
        if found:
            history = self._restore(found[-1])
        if self.first:
            with self._writing(self.folder / "config.yaml") as path:
                self.folder.mkdir(parents=True, exist_ok=True)
                self.config.write(path)
                lines = "".join(json.dumps(asdict(line)) + "\n" for line in history)
                (self.folder / "history.jsonl").write_text(lines)
        self._together()
        return history

    def _checkpoints(self) -> list[Path]:
        return sorted((self.folder / "checkpoints").glob("step-[0-9]*[0-9]"))

    def _restore(self, place: Path) -> list[Measured]:
        try:
            state = json.loads((place / STATE).read_text(encoding="utf-8"))
            tensors = read_tensors(place / WEIGHTS)
            history = [Measured(**line) for line in state["history"]]
            said, fingerprint, whole = state["config"], state["shards"], state["whole_batch"]
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise PipelineError(
                f"the checkpoint {place} cannot be read ({error}): delete its folder to resume from "
                "the one before it"
            ) from None
        mine = asdict(self.config) | {"batch_size": self.config.batch_size * self.processes}
        theirs = said | {"batch_size": whole}
        differ = [n for n in mine if n not in _FREE and mine[n] != theirs.get(n)]
        if differ:
            changes = ", ".join(f"{n} ({theirs.get(n)} -> {mine[n]})" for n in differ)
            raise PipelineError(
                f"{place} belongs to another run; different are {changes}. To resume, leave them as "
                "they were; for a new run, choose another out"
            )
        if fingerprint != self.shards.fingerprint:
            raise PipelineError(
                f"the shards at {self.shards.place} are not those that {place} was trained on: "
                "their names or sizes changed; put them back, or start a new run"
            )
        try:
            self.trainer.restore(tensors)
        except ValueError as error:
            raise PipelineError(f"{place}: {error}") from None
        return history

    def _checkpoint(self, history: list[Measured]) -> None:
        """Write a checkpoint beside its place, move it there, and drop old ones."""
        if self.first:
            place = self.folder / "checkpoints" / f"step-{self.trainer.steps_done:09}"
            part = place.with_name(place.name + ".part")
            shutil.rmtree(part, ignore_errors=True)
            with self._writing(place):
                part.mkdir(parents=True)
                state = {
                    "config": asdict(self.config),
                    "shards": self.shards.fingerprint,
                    "whole_batch": self.config.batch_size * self.processes,
                    "history": [asdict(line) for line in history],
                }
                (part / STATE).write_text(json.dumps(state), encoding="utf-8")
                tensors = self.trainer.state()
                save_file({n: t.contiguous().cpu() for n, t in tensors.items()}, part / WEIGHTS)
                os.replace(part, place)
            for old in self._checkpoints()[: -self.config.keep]:
                shutil.rmtree(old)
        self._together()

    def _finish(self, history: list[Measured]) -> None:
        """Write the autoencoder. The last checkpoints stay."""
        if self.first:
            with self._writing(self.folder / "sae_weights.safetensors"):
                save_sae(self.sae(), self.folder)
        self._together()

    def _together(self) -> None:
        if self.processes > 1:
            dist.barrier()

    @contextmanager
    def _writing(self, path: Path) -> Iterator[Path]:
        """Say in one sentence where a file cannot be written; nothing half-written stays."""
        try:
            yield path
        except Exception as error:
            # safetensors has an exception of its own for input and output errors.
            shutil.rmtree(path.with_name(path.name + ".part"), ignore_errors=True)
            trouble = error if isinstance(error, OSError) else OSError(None, str(error))
            if not isinstance(error, OSError) and "os error" not in str(error).lower():
                raise
            raise PipelineError(disk_trouble(trouble, path)) from error
