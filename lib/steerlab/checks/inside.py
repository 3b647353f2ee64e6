"""What shows only where a function runs: gradients, shared memory, files, a training that goes on.

The visible checks look at these, and so do graders, which see of a function no more than its result.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
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


def shard_written(write: Callable[..., Any], x: Tensor, token: Tensor) -> dict[str, Any]:
    """What `write(file, x, token)` leaves in a file: {"rows", "columns", "numbers", "lengths", "said"}.

    columns: the type of each; numbers: all numbers of each, one row after the other; lengths: how
    many numbers a row of each has; said: the file's metadata as text. Raises ValueError where the
    file is no parquet file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = io.BytesIO()
    write(file, x, token)
    try:
        table = pq.read_table(io.BytesIO(file.getvalue()), use_threads=False)
    except (pa.ArrowException, OSError):
        raise ValueError("no parquet file") from None
    numbers, lengths = {}, {}
    for name in table.column_names:
        found = table.column(name).combine_chunks()
        nested = pa.types.is_list(found.type) or pa.types.is_large_list(found.type)
        if nested or pa.types.is_fixed_size_list(found.type):
            lengths[name] = sorted({len(row) for row in found.to_pylist()})
            found = found.flatten()
        # As text where arrow has something else than numbers.
        plain = pa.types.is_integer(found.type) or pa.types.is_floating(found.type)
        numbers[name] = found.to_numpy(zero_copy_only=False) if plain else str(found.type)
    said = {
        bytes(key).decode(errors="replace"): bytes(value).decode(errors="replace")
        for key, value in (table.schema.metadata or {}).items()
    }
    columns = {field.name: str(field.type) for field in table.schema}
    rows = table.num_rows
    return {"rows": rows, "columns": columns, "numbers": numbers, "lengths": lengths, "said": said}


def shards_read(read: Callable[..., Any], shards: Sequence[tuple[Tensor, Tensor, float]]) -> Any:
    """What `read(files)` gives of shards of these (bits, tokens, norm sum), bits [n, d_model] as int64."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = []
    for bits, token, norm_sum in shards:
        flat = pa.array(bits.reshape(-1).tolist(), pa.uint16())
        columns = {
            "residual": pa.FixedSizeListArray.from_arrays(flat, bits.shape[1]),
            "token": pa.array(token.tolist(), pa.int32()),
        }
        table = pa.table(columns).replace_schema_metadata({"norm_sum": repr(norm_sum)})
        files.append(io.BytesIO())
        pq.write_table(table, files[-1])
        files[-1].seek(0)
    return read(files)


def run_of(sae: Mapping[str, Tensor], x: Tensor, seed: int, n_steps: int, **settings: Any) -> Any:
    """A `TrainingRun` of the course's loop."""
    from steerlab.sae.loop import TrainingRun

    return TrainingRun(dict(sae), x, n_steps=n_steps, seed=seed, **settings)


def state_saved(
    save: Callable[[Any], Mapping[str, Tensor]], run: Sequence[Any], steps: int, further: int
) -> list[dict[str, Tensor]]:
    """`save(run)` after some steps, and the very same dict after `further` ones.

    run: (parameters, x, seed, steps of the whole training, settings).
    """
    *given, settings = run
    training = run_of(*given, **settings)
    training.advance(steps)
    state = save(training)
    at_once = {name: tensor.detach().clone() for name, tensor in state.items()}
    training.advance(further)
    return [at_once, dict(state)]


def state_loaded(
    load: Callable[..., Any],
    run: Sequence[Any],
    state: Mapping[str, Tensor],
    before: int,
    further: int,
) -> dict[str, Any]:
    """What a run is like after `load(run, state)`, and after further steps.

    Before it, the run has taken `before` steps of its own. Returned are the parameters at once, and
    "later"; the numbers that its generator draws "next"; its steps done and silent latents; and the
    "state" as the further steps have left it.
    """
    *given, settings = run
    training = run_of(*given, **settings)
    training.advance(before)
    load(training, state)
    found: dict[str, Any] = {
        "sae": {name: tensor.detach().clone() for name, tensor in training.sae.items()},
        "steps_done": training.steps_done,
        "silent": torch.as_tensor(training.silent).clone(),
    }
    place = training.generator.get_state()
    found["next"] = torch.randint(1000, (8,), generator=training.generator)
    training.generator.set_state(place)
    training.advance(further)
    found["later"] = {name: tensor.detach().clone() for name, tensor in training.sae.items()}
    found["state"] = dict(state)
    return found


def state_attached(
    save: Callable[[Any], Mapping[str, Tensor]], run: Sequence[Any], steps: int
) -> list[str]:
    """Names under which `save(run)` gives tensors that still require gradients; run as above."""
    *given, settings = run
    training = run_of(*given, **settings)
    training.advance(steps)
    return still_attached(save, training)
