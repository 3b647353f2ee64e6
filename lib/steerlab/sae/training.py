"""Training sparse autoencoders on residuals: ReLU with an L1 penalty, TopK, JumpReLU.

Conventions: inputs are scaled so that E‖x‖ = √d; the loss is the batch mean of ‖x − x̂‖² summed
over d_model, plus what keeps the code sparse:

- "relu":     λ Σ_i f_i ‖W_dec,i‖ (Conerly et al., 2024): the decoder's norms are free, and paid for;
- "jumprelu": λ ‖f‖₀, through a straight-through threshold (Rajamanoharan et al., 2024);
- "topk":     nothing: the k largest pre-activations survive (Gao et al., 2024). Latents that have
              long been silent are fitted to the error.

λ warms up and the learning rate decays, both linearly. The trained autoencoder reads unscaled
residuals: the scale is folded into its weights.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from steerlab.sae.dictionary import Dictionary
from steerlab.sae.files import plain_name
from steerlab.sae.model import SAE, Activation, check_residuals
from steerlab.sae.parallel import averaging, gathered, gradients_stay_here, summed


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights, apart from the data.

    sparsity: λ, without meaning for "topk". k: non-zero latents of "topk". warm_up and decay:
    shares of all steps. bandwidth: of JumpReLU's pseudo-derivatives, in scaled units; threshold:
    where they start. silent_steps: after which a TopK latent is revived by `revival` times the
    loss of fitting the error. resample_every: steps between resamplings of latents that have not
    fired since the last (Bricken et al., 2023); None is never. max_gradient_norm: a longer gradient
    of all parameters together is shortened to it, so that Adam's second moments do not remember how
    large the first losses were; None leaves gradients as they are.
    """

    activation: Activation = "relu"
    d_sae: int = 1024
    steps: int = 1100
    sparsity: float = 1.5
    k: int = 16
    batch_size: int = 512
    learning_rate: float = 2e-3
    warm_up: float = 0.2
    decay: float = 0.2
    bandwidth: float = 0.1
    threshold: float = 0.3
    start_norm: float = 1.0
    silent_steps: int = 50
    revival: float = 1 / 32
    resample_every: int | None = None
    max_gradient_norm: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.activation not in ("relu", "topk", "jumprelu"):
            raise ValueError(f"activation is relu, topk or jumprelu, not {self.activation!r}")
        for name in ("d_sae", "steps", "batch_size", "k"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 1")
        if self.activation == "topk" and self.k > self.d_sae:
            raise ValueError(f"k is {self.k}; expected at most d_sae = {self.d_sae}")
        for name in ("learning_rate", "bandwidth", "threshold", "start_norm"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected more than 0")
        for name in ("warm_up", "decay"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it is a share of all steps")
        if not self.sparsity >= 0:
            raise ValueError(f"sparsity is {self.sparsity}; expected 0 or more")
        if self.resample_every is not None and self.resample_every < 1:
            raise ValueError(
                f"resample_every is {self.resample_every}; expected None or steps >= 1"
            )
        if self.max_gradient_norm is not None and not self.max_gradient_norm > 0:
            raise ValueError(
                f"max_gradient_norm is {self.max_gradient_norm}; expected None or more than 0"
            )

    def sparsity_at(self, step: int) -> float:
        """λ at a step, counted from 0: it grows from 0 to its value over the warm-up."""
        warm_up = self.warm_up * self.steps
        return self.sparsity * (min(1.0, step / warm_up) if warm_up else 1.0)

    def learning_rate_at(self, step: int) -> float:
        """Learning rate at a step, counted from 0: constant, then down to almost 0 at the last."""
        decay = self.decay * self.steps
        return self.learning_rate * (min(1.0, (self.steps - step) / decay) if decay else 1.0)


@dataclass(frozen=True)
class Progress:
    """What was measured on one training batch: loss and FVU of scaled inputs, mean L0."""

    step: int
    loss: float
    fvu: float
    l0: float


@dataclass(frozen=True)
class Trained:
    """A trained autoencoder of unscaled residuals, the curve of its training, and its duration."""

    sae: SAE
    history: list[Progress]
    seconds: float


@dataclass
class Trainer:
    """Training step by step, for data that do not fit into memory; `train_sae` for those that do.

    scale: brings residuals to E‖x‖ = √d. `step` takes scaled residuals. Where torch.distributed
    runs, each process calls `step` with its part of the batch, equally many rows each, and all end
    with the weights that one process gets from the whole batch. accumulate: equal parts that a
    batch is taken in, one after the other, for less memory. Two processes do to the last bit what
    one does in two parts; with other numbers of either, sums are rounded otherwise, and a TopK that
    hangs on the last bit may be decided otherwise.
    """

    recipe: Recipe
    d_in: int
    scale: float
    centre: Float[Tensor, " d_in"] | None = None
    device: str | torch.device = "cpu"
    accumulate: int = 1
    steps_done: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        generator = torch.Generator().manual_seed(self.recipe.seed)
        self.dictionary = Dictionary(self.recipe, self.d_in, generator, self.centre)
        self.dictionary.to(self.device)
        self.optimizer = torch.optim.Adam(
            self.dictionary.parameters(), lr=self.recipe.learning_rate, fused=True
        )
        self.loss = averaging(self.dictionary)
        self.silent = torch.zeros(self.recipe.d_sae, dtype=torch.long, device=self.device)

    def step(self, x: Float[Tensor, "token d_in"], *, measure: bool = False) -> Progress | None:
        """One step of Adam on a batch of scaled residuals. With `measure`, what it was like."""
        recipe, number = self.recipe, self.steps_done
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.learning_rate_at(number)
        dead = self.silent > recipe.silent_steps if recipe.activation == "topk" else None
        self.optimizer.zero_grad()
        loss, error, fired, count = self._gradients(x, dead)
        if recipe.max_gradient_norm is not None:
            parameters = self.dictionary.parameters()
            torch.nn.utils.clip_grad_norm_(parameters, recipe.max_gradient_norm)
        self.optimizer.step()
        self.silent = torch.where(summed(fired) > 0, 0, self.silent + 1)
        self.steps_done += 1
        every = recipe.resample_every
        if every and self.steps_done % every == 0 and self.steps_done < recipe.steps:
            self._resample(gathered(x), self.silent >= every)
        if not measure:
            return None
        return _progress(number, x, loss, error, count)

    def _gradients(self, x: Tensor, dead: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Set the gradients of a batch: (loss, error, how often each latent fired in parts, firings)."""
        parts = self.accumulate
        if len(x) % parts:
            raise ValueError(f"{len(x)} residuals do not fall into {parts} equal parts")
        sparsity = self.recipe.sparsity_at(self.steps_done)
        losses, errors, fired, counts = [], [], torch.zeros_like(self.silent), []
        for number, rows in enumerate(x.tensor_split(parts), start=1):
            with gradients_stay_here(self.loss, until_last=number < parts):
                loss, error, here, count = self.loss(rows, sparsity, dead)
                (loss / parts).backward()
            losses.append(loss.detach())
            errors.append(error.detach())
            counts.append(count)
            fired = fired + here
        return (
            torch.stack(losses).double().mean(),
            torch.cat(errors),
            fired,
            torch.stack(counts).sum(),
        )

    def finish(self) -> SAE:
        """The autoencoder as it is now, for unscaled residuals."""
        return self.dictionary.frozen().scaled(self.scale)

    def state(self) -> dict[str, Tensor]:
        """Everything that the next steps depend on, apart from recipe, scale and data, as tensors.

        What is drawn at a step follows from the recipe's seed and the step's number, so that there
        is no state of a random number generator to keep.
        """
        tensors = {"silent": self.silent, "steps_done": torch.tensor(self.steps_done)}
        for name, parameter in self.dictionary.named_parameters():
            tensors[f"parameter.{name}"] = parameter.detach()
            for moment, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"adam.{moment}.{name}"] = value
        return tensors

    @torch.no_grad()
    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on where `state` was taken: the next step is the same to the last bit.

        Prefixes that `torch.compile` and DDP leave in names are taken off. Raises ValueError for
        tensors that are missing, too many or of other shapes.
        """
        clean = {plain_name(name): tensor for name, tensor in tensors.items()}
        parameters = dict(self.dictionary.named_parameters())
        moments = ("step", "exp_avg", "exp_avg_sq")
        shapes = {f"parameter.{name}": list(p.shape) for name, p in parameters.items()}
        shapes |= {"silent": [self.recipe.d_sae], "steps_done": []}
        if clean.get("steps_done", torch.tensor(0)) > 0:
            for name, p in parameters.items():
                shapes |= {
                    f"adam.{m}.{name}": [] if m == "step" else list(p.shape) for m in moments
                }
        found = {name: list(tensor.shape) for name, tensor in clean.items()}
        if found != shapes:
            names = found.keys() | shapes.keys()
            differ = sorted(name for name in names if found.get(name) != shapes.get(name))
            raise ValueError(
                f"this state is not of such a training: {', '.join(differ[:5])} differ"
            )
        for name, parameter in parameters.items():
            parameter.copy_(clean[f"parameter.{name}"])
        self.steps_done = int(clean["steps_done"])
        self.silent = clean["silent"].to(self.device, copy=True)
        state = {
            index: {moment: clean[f"adam.{moment}.{name}"].clone() for moment in moments}
            for index, name in enumerate(parameters)
            if self.steps_done
        }
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": state, "param_groups": groups})

    @torch.no_grad()
    def _resample(self, x: Float[Tensor, "token d_in"], dead: Tensor) -> None:
        """Point dead latents at badly reconstructed inputs, and let Adam forget them.

        Inputs are drawn with probability ∝ ‖error‖⁴; new encoder rows have a fifth of the mean
        norm of living ones, so that they do not upset the rest (Bricken et al., 2023).
        """
        number = int(dead.sum())
        if number == 0 or bool(dead.all()):
            return
        inputs, error = self.dictionary.centred_inputs_and_error(x)
        weight = error.square().sum(1).square().cpu()
        generator = torch.Generator().manual_seed(self.recipe.seed * 1_000_003 + self.steps_done)
        chosen = torch.multinomial(weight, number, replacement=True, generator=generator)
        directions = torch.nn.functional.normalize(inputs[chosen.to(inputs.device)], dim=1)
        self.dictionary.replace(dead, directions)
        for parameter in self.dictionary.parameters():
            if parameter.shape[0] == len(dead):
                for moment in ("exp_avg", "exp_avg_sq"):
                    self.optimizer.state[parameter][moment][dead] = 0
        self.silent[dead] = 0


def _progress(number: int, x: Tensor, loss: Tensor, error: Tensor, count: Tensor) -> Progress:
    """What a step was like, over the batches of all processes: loss, FVU and mean L0."""
    # In double, so that Σ‖x − x̄‖² can be had from sums: processes know only their own rows.
    exact = x.double()
    sums = [loss.double(), error.double().square().sum(), count.double(), exact.square().sum()]
    alone = torch.stack([*sums, torch.ones_like(sums[0]), torch.full_like(sums[0], len(x))])
    total_loss, lost, fired, squares, n_processes, n = summed(alone).tolist()
    spread = squares - float(summed(exact.sum(0)).square().sum()) / n
    return Progress(number, total_loss / n_processes, lost / spread, fired / n)


def train_sae(
    x: Float[Tensor, "token d_model"],
    recipe: Recipe | None = None,
    *,
    hook_name: str | None = None,
    model_name: str | None = None,
    measure_every: int = 25,
    report: Callable[[Progress], Any] | None = None,
) -> Trained:
    """Train an autoencoder on residuals that fit into memory.

    x: e.g. `collect(model, texts, hook_name).values[hook_name]`, unscaled, without position 0.
    hook_name, model_name: where x comes from; they stay with the autoencoder. `report` is called
    with every measurement. Equal arguments give equal weights on the same machine.

    Raises TypeError and ValueError for residuals that `check_residuals` refuses, and for zero ones.
    """
    recipe = recipe or Recipe()
    x = check_residuals(x).float()
    norm = float(x.norm(dim=1).mean())
    if norm == 0:
        raise ValueError("x is zero everywhere; expected residuals of a model")
    scale = math.sqrt(x.shape[1]) / norm
    trainer = Trainer(recipe, x.shape[1], scale, x.mean(0) * scale, x.device)
    draws = torch.Generator().manual_seed(recipe.seed)
    history: list[Progress] = []
    started = time.perf_counter()
    for step in range(recipe.steps):
        rows = torch.randint(len(x), (recipe.batch_size,), generator=draws)
        measure = step % measure_every == 0 or step == recipe.steps - 1
        progress = trainer.step(x[rows.to(x.device)] * scale, measure=measure)
        if progress is not None:
            history.append(progress)
            if report is not None:
                report(progress)
    seconds = time.perf_counter() - started
    sae = trainer.finish().like(hook_name=hook_name, model_name=model_name)
    return Trained(sae, history, seconds)
