"""What a training run is told, as YAML or flags, and the named sizes of dictionary.

This module imports no torch, so that `steerlab train --help` and a misspelt key cost no time.
"""

from __future__ import annotations

import contextlib
import os
import types
import typing
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self

from steerlab.pipeline.errors import PipelineError, one_line

NAMED = ("8k", "16k", "32k", "65k", "131k", "262k", "524k", "1m")

# What other training scripts call these things; a hint where somebody brings their own file.
_CALLED_ELSEWHERE = {
    "hidden_size": "d_sae", "dict_size": "d_sae", "n_features": "d_sae", "data_dir": "data",
    "out_dir": "out", "output_path": "out", "lambda": "sparsity", "lambda_final": "sparsity",
    "l1_coefficient": "sparsity", "lambda_warmup_pct": "warm_up", "num_epochs": "epochs",
    "lr": "learning_rate", "resample_steps": "resample_every", "n_steps": "steps",
    "train_batch_size": "batch_size", "architecture": "activation",
}  # fmt: skip
_NOT_NEEDED = {"input_size": "the shards say how wide their residuals are",
               "d_in": "the shards say how wide their residuals are"}  # fmt: skip


@dataclass(frozen=True)
class TrainConfig:
    """One training run: where the shards are, where the autoencoder goes, and everything between.

    data: folder of shards; column: their column, where that is not clear. out: folder of the run.
    steps: of Adam, or None for `epochs` times through the data. batch_size: residuals a step in
    each process, taken in `accumulate` equal parts; None is two parts where one process runs and the
    size is even, else one, so that two processes do what one does. What follows is as in
    `steerlab.sae.Recipe`: activation ("relu", "topk", "jumprelu"), d_sae, k, sparsity (λ, growing
    over the share `warm_up` of all steps), learning_rate (falling to 0 over the last share `decay`),
    resample_every (steps between resamplings of dead latents, whose moments Adam forgets),
    max_gradient_norm (longer gradients are shortened to it). window: residuals shuffled among each
    other; None is 128 MB of them. hook_name, model_name: where shards of another maker come from.
    checkpoint_every: steps; `keep` of the checkpoints stay. wandb_project: log to Weights & Biases.

    Raises PipelineError for a value that makes no sense.
    """

    data: str = ""
    out: str = ""
    activation: Literal["relu", "topk", "jumprelu"] = "relu"
    d_sae: int = 8192
    k: int = 32
    sparsity: float = 5.0
    steps: int | None = None
    epochs: float = 1.0
    batch_size: int = 4096
    accumulate: int | None = None
    learning_rate: float = 2e-4
    warm_up: float = 0.2
    decay: float = 0.2
    bandwidth: float = 0.1
    threshold: float = 0.3
    start_norm: float = 1.0
    silent_steps: int = 200
    revival: float = 1 / 32
    resample_every: int | None = None
    max_gradient_norm: float | None = 1.0
    seed: int = 0
    column: str | None = None
    window: int | None = None
    hook_name: str | None = None
    model_name: str | None = None
    device: str | None = None
    checkpoint_every: int = 1000
    keep: int = 2
    measure_every: int = 25
    wandb_project: str | None = None
    wandb_name: str | None = None
    wandb_entity: str | None = None

    def __post_init__(self) -> None:
        for name in ("d_sae", "batch_size", "k", "checkpoint_every", "keep", "measure_every"):
            if getattr(self, name) < 1:
                raise PipelineError(f"{name} is {getattr(self, name)}; expected at least 1")
        for name in ("steps", "window", "resample_every", "accumulate"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise PipelineError(f"{name} is {value}; expected at least 1, or nothing")
        if self.accumulate and self.batch_size % self.accumulate:
            raise PipelineError(
                f"batch_size {self.batch_size} does not fall into {self.accumulate} equal parts "
                "(accumulate)"
            )
        if not self.epochs > 0:
            raise PipelineError(f"epochs is {self.epochs}; expected more than 0")

    def parts(self, processes: int) -> int:
        """In how many equal parts each of so many processes takes its batch."""
        if self.accumulate is not None:
            return self.accumulate
        return 2 if processes == 1 and self.batch_size % 2 == 0 else 1

    @classmethod
    def named(cls, name: str, **changes: Any) -> Self:
        """One of the shipped configurations, "8k" to "1m", with some values changed."""
        return cls.from_mapping(read_yaml(name) | changes, f"the configuration {name!r}")

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], where: str = "the configuration") -> Self:
        """Checked values. Raises PipelineError for an unknown key or a value of the wrong kind."""
        kinds = typing.get_type_hints(cls)
        return cls(**{key: _checked(key, value, kinds, where) for key, value in values.items()})

    def with_values(self, **changes: Any) -> TrainConfig:
        """A copy with some values replaced."""
        return replace(self, **changes)

    def write(self, path: Path) -> None:
        """Write everything, defaults included, as YAML."""
        import yaml

        path.write_text(yaml.safe_dump(asdict(self), sort_keys=False), encoding="utf-8")


def option_kinds() -> dict[str, tuple[Any, tuple[str, ...] | None, Any]]:
    """{key: (its type, its choices or None, its default)}: what the command line offers."""
    kinds = typing.get_type_hints(TrainConfig)
    found = {}
    for each in fields(TrainConfig):
        kind, _ = _plain(kinds[each.name])
        choices = typing.get_args(kind) if typing.get_origin(kind) is Literal else None
        found[each.name] = (str if choices else kind, choices, each.default)
    return found


def read_yaml(name: str | os.PathLike[str]) -> dict[str, Any]:
    """The keys and values of a YAML file or of a shipped configuration.

    Raises PipelineError for a file that is missing, no YAML, or no list of keys and values.
    """
    import yaml

    text = os.fspath(name)
    if text in NAMED:
        path: Any = resources.files("steerlab.pipeline") / "configs" / f"{text}.yaml"
    else:
        path = Path(text)
        if not path.is_file():
            raise PipelineError(
                f"there is no configuration {text}; shipped ones are {', '.join(NAMED)}"
            )
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise PipelineError(f"{text} is not YAML: {one_line(error)}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise PipelineError(f"{text} holds a {type(values).__name__}; expected `key: value` lines")
    return {str(key): value for key, value in values.items()}


def _plain(kind: Any) -> tuple[Any, bool]:
    """(a type without None, whether None was allowed)."""
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        [inner] = [each for each in typing.get_args(kind) if each is not types.NoneType]
        return inner, True
    return kind, False


def _checked(key: str, value: Any, kinds: Mapping[str, Any], where: str) -> Any:
    if key not in kinds:
        raise PipelineError(_unknown(key, kinds, where))
    kind, optional = _plain(kinds[key])
    if value is None and optional:
        return None
    if typing.get_origin(kind) is Literal:
        choices = typing.get_args(kind)
        if value not in choices:
            raise PipelineError(f"{where}: {key} is {value!r}; expected {' or '.join(choices)}")
        return value
    if kind is float and isinstance(value, str):  # YAML 1.1 reads 5e-5 as text
        with contextlib.suppress(ValueError):
            value = float(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or isinstance(value, bool):
        wanted = {int: "a whole number", float: "a number", str: "a word"}[kind]
        raise PipelineError(f"{where}: {key} is {value!r}; expected {wanted}")
    return value


def _unknown(key: str, kinds: Mapping[str, Any], where: str) -> str:
    if key in _NOT_NEEDED:
        return f"{where}: unknown key {key!r}: leave it out, {_NOT_NEEDED[key]}"
    if key in _CALLED_ELSEWHERE:
        return f"{where}: unknown key {key!r}: it is called {_CALLED_ELSEWHERE[key]!r} here"
    close = get_close_matches(key, kinds, n=1)
    hint = f": did you mean {close[0]!r}?" if close else f"; known: {', '.join(kinds)}"
    return f"{where}: unknown key {key!r}{hint}"
