"""A training of four tensors that can be stopped between any two steps: what notebook 07 interrupts.

Everything that the next steps depend on lies open in `TrainingRun`: the parameters, Adam, the
generator that draws the batches, the number of steps done, and how long each latent has been
silent. `Trainer` is the fast one, and keeps its state itself.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

NAMES = ("W_enc", "b_enc", "W_dec", "b_dec")
#: (parameters, batch, λ) -> (loss, code)
Objective = Callable[[dict[str, Tensor], Tensor, float], tuple[Tensor, Tensor]]


def relu_objective(
    sae: dict[str, Tensor], batch: Float[Tensor, "batch d_model"], sparsity: float
) -> tuple[Float[Tensor, ""], Float[Tensor, "batch d_sae"]]:
    """(loss, code): mean of ‖x − x̂‖² + λ Σ_i f_i ‖W_dec,i‖ over the batch, and the ReLU's code."""
    code = torch.relu((batch - sae["b_dec"]) @ sae["W_enc"] + sae["b_enc"])
    error = (batch - code @ sae["W_dec"] - sae["b_dec"]).square().sum(dim=1)
    return (error + sparsity * (code @ sae["W_dec"].norm(dim=1))).mean(), code


class TrainingRun:
    """A training of an autoencoder on x, step by step.

    sae: {"W_enc" [d_model, d_sae], "b_enc" [d_sae], "W_dec" [d_sae, d_model], "b_dec" [d_model]},
    of which the run trains copies. λ grows over the first fifth of the `n_steps`, the learning rate
    falls over the last. The attributes that change from step to step:

    - sae: the parameters, which `optimizer` (torch.optim.Adam) changes in place;
    - generator: draws the rows of the next batch;
    - steps_done: how many steps have been taken; it decides λ and the learning rate of the next;
    - silent [d_sae]: how many steps ago each latent last fired.
    """

    def __init__(
        self,
        sae: dict[str, Tensor],
        x: Float[Tensor, "token d_model"],
        *,
        n_steps: int,
        batch_size: int = 256,
        sparsity: float = 1.0,
        learning_rate: float = 2e-3,
        seed: int = 0,
        objective: Objective = relu_objective,
    ):
        self.x, self.objective = x, objective
        self.n_steps, self.batch_size = n_steps, batch_size
        self.sparsity, self.learning_rate = sparsity, learning_rate
        # Contiguous: a transpose stays one when it is cloned, and safetensors refuses those.
        copies = {
            name: sae[name].detach().clone(memory_format=torch.contiguous_format) for name in NAMES
        }
        self.sae = {name: tensor.requires_grad_() for name, tensor in copies.items()}
        self.optimizer = torch.optim.Adam(self.sae.values())
        self.generator = torch.Generator().manual_seed(seed)
        self.steps_done = 0
        self.silent: Int[Tensor, " d_sae"] = torch.zeros(len(sae["b_enc"]), dtype=torch.long)

    def advance(self, steps: int) -> list[float]:
        """Take so many steps, at most to the end. The loss of each."""
        return [self._step() for _ in range(min(steps, self.n_steps - self.steps_done))]

    def _step(self) -> float:
        fifth, number = self.n_steps / 5, self.steps_done
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * min(1.0, (self.n_steps - number) / fifth)
        rows = torch.randint(len(self.x), (self.batch_size,), generator=self.generator)
        batch = self.x[rows.to(self.x.device)]
        loss, code = self.objective(self.sae, batch, self.sparsity * min(1.0, number / fifth))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        fired = (code.detach() > 0).any(dim=0).cpu()
        self.silent = torch.where(fired, 0, self.silent + 1)
        self.steps_done += 1
        return float(loss.detach())
