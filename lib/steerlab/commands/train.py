"""`steerlab train`: an autoencoder from shards, told by a YAML file, by flags, or by both."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from steerlab.commands import explained
from steerlab.pipeline.config import (
    NAMED,
    TrainConfig,
    option_kinds,
    read_yaml,
)

_HELP = {
    "data": "folder of shards",
    "out": "folder of the run, made if missing",
    "d_sae": "latents",
    "k": "non-zero latents of topk",
    "sparsity": "λ after its warm-up",
    "steps": "steps of Adam; without it --epochs counts",
    "epochs": "times through the data",
    "batch_size": "residuals a step, in each process",
    "accumulate": "parts that a batch is taken in, for less memory (2 in one process, else 1)",
    "warm_up": "share of the steps over which λ grows",
    "decay": "share of the steps over which the learning rate falls",
    "resample_every": "steps between resamplings of dead latents",
    "max_gradient_norm": "longer gradients are shortened to it; inf leaves them",
    "hook_name": "where shards of another maker were collected",
    "model_name": "what shards of another maker were collected from",
    "column": "column of the residuals in shards of another maker",
    "window": "residuals shuffled among each other",
    "checkpoint_every": "steps between checkpoints",
    "wandb_project": "log to Weights & Biases under this project",
}


def add_to(commands: argparse._SubParsersAction) -> None:
    """Declare the command: one flag for each key of a configuration."""
    parser = commands.add_parser(
        "train",
        help="train a sparse autoencoder on shards",
        description="Train a sparse autoencoder on parquet shards. For several processes: "
        "torchrun --nproc-per-node N -m steerlab.cli train ...",
    )
    parser.add_argument(
        "--config", help=f"a YAML file, or one of {', '.join(NAMED)}; flags go before it"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on from the last checkpoint in --out, if any"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    for name, (kind, choices, default) in option_kinds().items():
        described = _HELP.get(name, "")
        parser.add_argument(
            f"--{name.replace('_', '-')}",
            dest=name,
            type=kind,
            choices=choices,
            default=None,
            metavar=None if choices else kind.__name__.upper(),
            help=f"{described} ({default})".strip() if default not in (None, "") else described,
        )
    parser.set_defaults(run=explained("train", _train))


def configuration(arguments: argparse.Namespace) -> TrainConfig:
    """What a command line asks for: flags before the file before defaults.

    Raises PipelineError for an unknown key or a value that makes no sense.
    """
    flags: dict[str, Any] = {
        name: getattr(arguments, name)
        for name in option_kinds()
        if getattr(arguments, name) is not None
    }
    if arguments.config is not None:
        values, where = read_yaml(arguments.config), arguments.config
    elif arguments.resume and (Path(flags.get("out", "")) / "config.yaml").is_file():
        path = Path(flags["out"]) / "config.yaml"
        values, where = read_yaml(path), str(path)
    else:
        values, where = {}, "the command line"
    return TrainConfig.from_mapping(values | flags, str(where))


def _train(arguments: argparse.Namespace) -> int:
    config = configuration(arguments)
    from steerlab.pipeline.runs import train_shards

    run = train_shards(config, resume=arguments.resume, progress=not arguments.quiet)
    if run.history and os.environ.get("RANK", "0") == "0":
        last = run.history[-1]
        print(
            f"{run.folder}: {run.sae.extra_repr()}\n"
            f"at step {last.step + 1}: loss {last.loss:.4g}, FVU {last.fvu:.4f}, L0 {last.l0:.1f}, "
            f"{last.dead:.1%} dead (on training batches)"
        )
        print(f"Next: steerlab find {run.folder} --data {config.data}")
    return 0
