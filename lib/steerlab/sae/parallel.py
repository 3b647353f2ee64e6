"""Training in several processes at once: what they tell each other beyond their gradients.

Gradients are averaged by torch's DistributedDataParallel. What else depends on the whole batch
(which latents fired, what is measured, which inputs latents are resampled from) is brought
together here, so that n processes do what one does with n times the batch. With one process
everything is the identity.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
import torch.distributed as dist
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel


def processes() -> tuple[int, int]:
    """(number of this process, how many there are): (0, 1) where no group was started."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def averaging(module: nn.Module) -> nn.Module:
    """The module with gradients averaged over all processes."""
    return module if processes()[1] == 1 else DistributedDataParallel(module)


def gradients_stay_here(module: nn.Module, *, until_last: bool) -> AbstractContextManager[None]:
    """A block whose gradients are added up in this process and averaged in a later one."""
    if until_last and isinstance(module, DistributedDataParallel):
        return module.no_sync()
    return nullcontext()


def summed(value: Tensor) -> Tensor:
    """Σ over processes."""
    if processes()[1] > 1:
        value = value.clone()
        dist.all_reduce(value)
    return value


def gathered(x: Float[Tensor, "token d"]) -> Float[Tensor, "all_tokens d"]:
    """The rows of all processes, in their order. All have equally many."""
    number = processes()[1]
    if number == 1:
        return x
    parts = [torch.empty_like(x) for _ in range(number)]
    dist.all_gather(parts, x.contiguous())
    return torch.cat(parts)
