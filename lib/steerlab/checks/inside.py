"""What shows only where a function runs: gradients, and memory that two tensors share.

The visible checks look at these, and so do graders, which see of a function no more than its result.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations
from typing import Any

import torch
from torch import Tensor


def gradients(function: Callable[..., Any], *args: Any) -> tuple[Tensor, ...]:
    """Gradients of what `function(*args)` gives, one for each float tensor among args.

    Tensors may stand in args by themselves or as values of a dict. Of a result with several tensors
    it is the gradient of the sum of all entries. Zeros where the result does not depend on a
    tensor, or lets no gradient through to it.
    """
    leaves: list[Tensor] = []

    def as_leaf(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: as_leaf(part) for name, part in value.items()}
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        leaves.append(value.detach().clone().requires_grad_())
        return leaves[-1]

    result = function(*map(as_leaf, args))
    parts = result if isinstance(result, tuple | list) else [result]
    felt = [part.sum() for part in parts if isinstance(part, Tensor) and part.requires_grad]
    if not felt:
        return tuple(map(torch.zeros_like, leaves))
    found = torch.autograd.grad(torch.stack(felt).sum(), leaves, allow_unused=True)
    return tuple(
        torch.zeros_like(leaf) if gradient is None else gradient
        for leaf, gradient in zip(leaves, found, strict=True)
    )


def shared_memory(function: Callable[..., Mapping[str, Tensor]], *args: Any) -> list[list[str]]:
    """Pairs of names under which `function(*args)` returns tensors on one and the same memory."""
    result = function(*args)
    storages = {name: tensor.untyped_storage().data_ptr() for name, tensor in result.items()}
    return [[a, b] for a, b in combinations(storages, 2) if storages[a] == storages[b]]


def still_attached(function: Callable[..., Mapping[str, Tensor]], *args: Any) -> list[str]:
    """Names under which `function(*args)` returns tensors that still require gradients."""
    return [name for name, tensor in function(*args).items() if tensor.requires_grad]


def practice_objective(
    sae: Mapping[str, Tensor], batch: Tensor, sparsity: float | Tensor
) -> Tensor:
    """Something to minimise that is no autoencoder's loss: for trying out a training loop.

    It pulls the entries of all four tensors towards numbers that depend on the batch, and
    `sparsity` shifts those.
    """
    aim = batch.mean() - sparsity
    return sum(
        (factor * (sae[name] - factor * aim).square().sum()
         for factor, name in enumerate(("W_enc", "b_enc", "W_dec", "b_dec"), start=1)),
        start=torch.zeros((), dtype=batch.dtype),
    )  # fmt: skip
