"""The checks of assignment 07_scaling_saes."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from steerlab.checks.diagnosis import CheckFailed, check_of, expect, expect_tensor, same
from steerlab.checks.inside import shard_written, shards_read, state_loaded, state_saved

NAMES = ("W_enc", "b_enc", "W_dec", "b_dec")
MOMENTS = ("step", "exp_avg", "exp_avg_sq")

# What bfloat16 can hold exactly: 1 is 0x3F80, 2 is 0x4000, −3 is 0xC040, 0.5 is 0x3F00.
ROWS = torch.tensor([[1.0, 2.0, 2.0], [-3.0, 0.0, 4.0], [0.0, 0.5, 0.0]])
BITS = torch.tensor([[16256, 16384, 16384], [49216, 0, 16512], [0, 16128, 0]])
NORMS = (3.0, 5.0, 0.5)
TOKENS = torch.tensor([11, 7, 500])


# ------------------------------------------------------------------------------------- shards


@check_of("write_shard")
def check_write_shard(function: Callable[..., Any]) -> str:
    """Diagnose `write_shard(file, x, token)` on three tokens of width 3."""
    try:
        found = shard_written(function, ROWS, TOKENS)
    except ValueError as error:
        if str(error) != "no parquet file":
            raise
        raise CheckFailed(
            "what it leaves in `file` is no parquet file: does it call pq.write_table(table, file)?"
        ) from None
    expect(
        set(found["columns"]) == {"residual", "token"},
        f"the table has the columns {sorted(found['columns'])}; expected residual and token.",
    )
    expect(found["rows"] == 3, f"3 residuals make 3 rows; the table has {found['rows']}.")
    kind = found["columns"]["residual"]
    expect(
        found["lengths"].get("residual") == [3],
        f"a row of `residual` is a list of d_model numbers; yours is of the type {kind}.",
    )
    expect(
        "uint16" in kind,
        f"the numbers of `residual` are stored as uint16; yours are of the type {kind}.",
    )
    bits = torch.from_numpy(found["numbers"]["residual"].astype(np.int64)).reshape(3, 3)
    _expect_bits(bits)
    expect(
        found["numbers"]["token"].tolist() == TOKENS.tolist(),
        f"`token` holds {found['numbers']['token'].tolist()}; given were {TOKENS.tolist()}.",
    )
    said = found["said"].get("norm_sum")
    expect(said is not None, "the file's metadata has no `norm_sum`.")
    _expect_norm_sum(float(said or "nan"))
    return "the bits of bfloat16 as uint16, the tokens, and the sum of the norms beside them."


def _expect_bits(bits: Tensor) -> None:
    expect(
        not torch.equal(bits, ROWS.to(torch.uint8).long()) and int(bits[0, 0]) != 1,
        "1.0 is stored as the number 1. Its *bits* are wanted: reinterpret them with .view(…), do "
        "not convert the value.",
    )
    expect(
        int(bits[0, 0]) != 15360,
        "1.0 is stored as 15360: those are the bits of float16. Go by way of torch.bfloat16.",
    )
    expect(
        torch.equal(bits, BITS),
        f"the numbers of the first row are {bits[0].tolist()}; the bits of 1, 2, 2 in bfloat16 are "
        f"{BITS[0].tolist()}.",
    )


def _expect_norm_sum(value: float) -> None:
    diagnoses = {
        sum(
            n * n for n in NORMS
        ): "it adds up squared norms. E‖x‖ is the mean norm, and its square "
        "is not the mean of the squares.",
        sum(NORMS)
        / 3: "it is the mean norm of this shard. Store the sum: shards can have different "
        "numbers of rows, and sums can be added.",
        math.sqrt(
            sum(n * n for n in NORMS)
        ): "it is one norm, of all numbers together. Take the norm of each row.",
    }
    for wrong, diagnosis in diagnoses.items():
        expect(not math.isclose(value, wrong, rel_tol=1e-4), f"norm_sum is wrong: {diagnosis}")
    expect(
        math.isclose(value, sum(NORMS), rel_tol=1e-5),
        f"norm_sum is {value:.4g}; the norms of the three rows are 3, 5 and 0.5.",
    )


@check_of("read_shards")
def check_read_shards(function: Callable[..., Any]) -> str:
    """Diagnose `read_shards(files)` on a shard of two rows and one of one."""
    shards = [(BITS[:2], TOKENS[:2], 8.0), (BITS[2:], TOKENS[2:], 0.5)]
    found = shards_read(function, shards)
    expect(found is not None, "it returns None. Is the `return` missing?")
    expect(
        isinstance(found, tuple | list) and len(found) == 3,
        "return three things: the rows, the tokens and the factor.",
    )
    rows = expect_tensor(found[0], (3, 3), "token, d_model")
    expect(
        rows.dtype == torch.bfloat16,
        f"the rows are {rows.dtype}; what was stored are the bits of torch.bfloat16.",
    )
    expect(
        not any(same(rows, BITS - wrapped) for wrapped in (0, 65_536 * (BITS > 32_767))),
        "the bits came back as numbers: 1.0 reads as 16256. Reinterpret them (.view), do not convert.",
    )
    expect(
        torch.equal(rows.float(), ROWS), "the rows that come back are not those that were stored."
    )
    token = expect_tensor(found[1], (3,), "token")
    expect(token.tolist() == TOKENS.tolist(), f"the tokens are {token.tolist()}, not 11, 7, 500.")
    factor = float(found[2])
    root, mean = math.sqrt(3), sum(NORMS) / 3
    diagnoses = {
        root * (2 / 8.0 + 1 / 0.5) / 2: "you average the factors of the shards. The shards have 2 rows "
        "and 1: add up sums and rows, and divide once.",
        root / ((4.0 + 0.5) / 2): "you average the mean norms of the shards. The shards have 2 rows and "
        "1: add up sums and rows, and divide once.",
        root / 8.5: "the sum of the norms is not divided by the number of rows.",
        1 / mean: "it makes the mean norm 1. Ours is √d_model.",
        3 / mean: "it makes the mean norm d_model. Ours is √d_model.",
        mean / root: "it is upside down: rows times factor shall have the mean norm √d_model.",
        root / math.sqrt(sum(n * n for n in NORMS) / 3): "it is made from E‖x‖²: a mean of squares. "
        "The mean norm is asked for.",
    }  # fmt: skip
    for wrong, diagnosis in diagnoses.items():
        expect(not math.isclose(factor, wrong, rel_tol=1e-4), f"the factor is wrong: {diagnosis}")
    expect(
        math.isclose(factor, root / mean, rel_tol=1e-4),
        f"the factor is {factor:.4g}; rows times factor then have a mean norm of "
        f"{factor * mean:.4g}, and √d_model is {root:.4g}.",
    )
    return "the very bits that were stored, and one factor for all shards."


# ------------------------------------------------------------------------------------- states


def _small_run() -> tuple[dict[str, Tensor], Tensor]:
    draws = torch.Generator().manual_seed(5)
    rows = torch.randn(6, 3, generator=draws)
    sae = {
        "W_enc": rows.T.clone(),
        "b_enc": torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0, -50.0]),  # the last one is dead
        "W_dec": rows,
        "b_dec": torch.zeros(3),
    }
    return sae, torch.randn(40, 3, generator=draws)


def _expect_state(value: object) -> dict[str, Tensor]:
    expect(value is not None, "it returns None. Is the `return` missing?")
    wanted = [*NAMES, *(f"{m}.{n}" for n in NAMES for m in MOMENTS)]
    wanted += ["generator", "steps_done", "silent"]
    if not isinstance(value, Mapping):
        raise CheckFailed(f"return a dict of tensors; got a {type(value).__name__}.")
    missing = [name for name in wanted if name not in value]
    hints = {
        "exp_avg": "what Adam remembers of each parameter stands in run.optimizer.state[parameter].",
        r"step\.": "Adam also counts its steps: run.optimizer.state[parameter]['step'].",
        "generator": "the generator goes on from where it is: run.generator.get_state().",
        "steps_done": "λ and the learning rate depend on it.",
        "silent": "which latents are due for resampling depends on it.",
    }
    if missing:
        hint = next((hints[word] for word in hints if re.match(word, missing[0])), "")
        raise CheckFailed(f"the state lacks {', '.join(missing)}. {hint}".rstrip())
    odd = [name for name in wanted if not isinstance(value[name], Tensor)]
    expect(not odd, f"not tensors are {', '.join(odd)}; safetensors stores nothing else.")
    extra = sorted(set(value) - set(wanted))
    expect(not extra, f"the state has names that the table has not: {', '.join(extra)}.")
    return dict(value)


@check_of("save_state")
def check_save_state(function: Callable[..., Any]) -> str:
    """Diagnose `save_state(run)` after four steps of a small training."""
    sae, x = _small_run()
    run = (sae, x, 3, 20, {"batch_size": 4})

    def checked(training: Any) -> dict[str, Tensor]:
        return _expect_state(function(training))

    state, later = state_saved(checked, run, 4, 3)
    shapes = {name: tuple(tensor.shape) for name, tensor in sae.items()}
    for name in NAMES:
        for each in (name, f"exp_avg.{name}", f"exp_avg_sq.{name}"):
            expect(
                tuple(state[each].shape) == shapes[name],
                f"{each} has the shape {list(state[each].shape)}; {name} has {list(shapes[name])}.",
            )
    expect(
        int(state["steps_done"]) == 4,
        f"after 4 steps steps_done is {state['steps_done'].tolist()}.",
    )
    expect(
        not same(state["W_dec"], sae["W_dec"], 1e-6),
        "W_dec is what the training started from, not what it has become.",
    )
    expect(
        int(state["silent"][5]) == 4,
        "a latent that has never fired is silent for 4 steps; yours says "
        f"{state['silent'].tolist()[5]}.",
    )
    changed = [name for name in state if not torch.equal(state[name], later[name])]
    expect(
        not changed,
        f"three steps later the saved state has changed ({', '.join(changed)}): the optimizer writes "
        "into the tensors that it holds. Save copies (`.clone()`).",
    )
    attached = [name for name in later if later[name].requires_grad]
    expect(not attached, f"{', '.join(attached)} still carry gradients: `.detach()` them.")
    return "parameters, Adam's memory, the generator, the step and the silent latents, as copies."


@check_of("load_state")
def check_load_state(function: Callable[..., Any]) -> str:
    """Diagnose `load_state(run, state)` on a run that had gone elsewhere, and where it ends."""
    sae, x = _small_run()
    settings = {"batch_size": 4, "learning_rate": 0.05}
    state = _hand_made_state(sae)
    given = {name: tensor.clone() for name, tensor in state.items()}
    run = (sae, x, 3, 20, settings)
    try:
        found = state_loaded(function, run, state, 6, 4)
    except RuntimeError as error:
        if "does not require grad" not in str(error):
            raise
        raise CheckFailed(_NOT_TRAINED) from None
    for name in NAMES:
        expect(
            same(found["sae"][name], state[name], 1e-6),
            f"after loading, run.sae[{name!r}] is not what the state says.",
        )
    expect(
        found["steps_done"] == 9,
        f"the state says 9 steps done, the run says {found['steps_done']}: λ and the learning rate "
        "would start over.",
    )
    draws = torch.Generator()
    draws.set_state(given["generator"])
    expect(
        torch.equal(found["next"], torch.randint(1000, (8,), generator=draws)),
        "the run does not draw what the generator of the state would have drawn: "
        "run.generator.set_state(…).",
    )
    expect(
        found["silent"].tolist() == given["silent"].tolist(),
        f"silent is {found['silent'].tolist()}; the state says {given['silent'].tolist()}.",
    )
    changed = [name for name in given if not torch.equal(found["state"][name], given[name])]
    expect(
        not changed,
        f"the run, going on, has changed the state it was loaded from ({', '.join(changed)}): from "
        "the same checkpoint one may want to start again. Give the run copies.",
    )
    moved = [(found["later"][name] - found["sae"][name]).norm() for name in NAMES]
    expect(max(moved) > 0, _NOT_TRAINED)
    # Adam's memory of these parameters is of a slope a thousand times as steep as any here: with
    # it the steps are tiny, without it as long as the learning rate.
    expect(
        max(moved) < 0.05,
        "the next steps are as long as the first ones of a fresh Adam: it has not got back what it "
        "remembers (exp_avg, exp_avg_sq and step, for each parameter).",
    )
    return "the run goes on where the state was taken, and leaves the state as it was."


_NOT_TRAINED = (
    "after loading, the run trains nothing: run.sae holds other tensors than run.optimizer. Copy the "
    "numbers *into* the parameters (`parameter.copy_(…)` under torch.no_grad())."
)


def _hand_made_state(sae: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state that no short training would reach."""
    state = {name: 0.5 * tensor + 0.1 for name, tensor in sae.items()}
    for name in NAMES:
        state[f"step.{name}"] = torch.tensor(9.0)
        state[f"exp_avg.{name}"] = torch.full_like(sae[name], 0.001)
        state[f"exp_avg_sq.{name}"] = torch.full_like(sae[name], 1e6)
    state["generator"] = torch.Generator().manual_seed(77).get_state()
    state["steps_done"] = torch.tensor(9)
    state["silent"] = torch.tensor([0, 3, 0, 1, 0, 9])
    return state


# --------------------------------------------------------------------------------- resampling


@check_of("resample")
def check_resample(function: Callable[..., Any]) -> str:
    """Diagnose `resample(state, dead, x, error)` on two dead latents of six."""
    sae, _ = _small_run()
    state = _hand_made_state(sae)
    state["b_dec"] = torch.tensor([1.0, 0.0, 0.0])
    given = {name: tensor.clone() for name, tensor in state.items()}
    dead = torch.tensor([False, True, False, False, False, True])
    x = torch.tensor([[9.0, 9.0, 9.0], [1.0, 3.0, 4.0], [7.0, 7.0, 0.0]])
    error = torch.tensor([[0.0, 0.0, 0.0], [2.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    after = function(state, dead, x, error)
    expect(after is not None, "it returns None. Is the `return` missing?")
    if not isinstance(after, Mapping) or set(after) != set(given):
        raise CheckFailed("return a state with the same names as the one that was given.")
    expect(
        all(torch.equal(state[name], given[name]) for name in given),
        "the state that was given has changed. Work on copies: it may be the last good checkpoint.",
    )
    for name in given:
        expect_tensor(after[name], given[name].shape, name)
    _expect_the_living_stay(after, given, dead)
    rows, columns = after["W_dec"][dead], after["W_enc"][:, dead].T
    raw, centred = torch.tensor([1.0, 3.0, 4.0]), torch.tensor([0.0, 3.0, 4.0]) / 5
    unit = rows / rows.norm(dim=1, keepdim=True)
    expect(
        not same(unit, (raw / raw.norm()).expand(2, 3)),
        "the new rows point along x. Around b_dec the directions fan out: they point along x − b_dec.",
    )
    expect(
        same(unit, centred.expand(2, 3)),
        "the only input with an error is x[1], so it is the one to draw; the new rows do not point "
        "along x[1] − b_dec.",
    )
    living = given["W_dec"][~dead].norm(dim=1).mean()
    norm = float(rows.norm(dim=1).mean())
    expect(
        not math.isclose(norm, 1.0, rel_tol=1e-4),
        "the new rows have norm 1. The loss charges activation times norm, and with a norm that is not "
        "the others' a latent enters at another price: take the mean norm of the living rows.",
    )
    expect(
        math.isclose(norm, float(living), rel_tol=1e-4),
        f"the new rows have norm {norm:.3g}; the living ones have {living:.3g} on average.",
    )
    of_encoder = given["W_enc"][:, ~dead].norm(dim=0).mean()
    expect(
        same(columns, 0.2 * of_encoder * centred.expand(2, 3)),
        "the new columns of W_enc should point the same way, with a fifth of the mean norm of the living "
        f"columns, {0.2 * of_encoder:.3g}; theirs is {columns.norm(dim=1).mean():.3g}.",
    )
    expect(not after["b_enc"][dead].any(), "b_enc of the new latents should be 0.")
    expect(
        not after["silent"][dead].any(), "the new latents have not been silent yet: silent is 0."
    )
    for moment in ("exp_avg", "exp_avg_sq"):
        places = {
            f"{moment}.W_dec": after[f"{moment}.W_dec"][dead],
            f"{moment}.W_enc": after[f"{moment}.W_enc"][:, dead],
            f"{moment}.b_enc": after[f"{moment}.b_enc"][dead],
        }
        for name, values in places.items():
            expect(
                not values.any(),
                f"Adam still remembers the dead latents ({name}): it would push the new ones where the "
                "old ones were going. Set it to 0 there.",
            )
    return "dead latents point at what is badly rebuilt, at the others' price, and Adam has forgotten them."


def _expect_the_living_stay(
    after: Mapping[str, Tensor], given: Mapping[str, Tensor], dead: Tensor
) -> None:
    for name, tensor in given.items():
        if name.endswith("W_enc") and tensor.ndim == 2:
            same_there = torch.equal(after[name][:, ~dead], tensor[:, ~dead])
        elif tensor.ndim and len(tensor) == len(dead):
            same_there = torch.equal(after[name][~dead], tensor[~dead])
        else:
            same_there = torch.equal(after[name], tensor)
        expect(same_there, f"{name} changes where it should stay: only dead latents are touched.")


# ---------------------------------------------------------------------------------------- law


@check_of("fit_law")
def check_fit_law(function: Callable[..., Any]) -> str:
    """Diagnose `fit_law(points, l0, offsets)` on points of a law that is known."""
    sizes = [100, 200, 400, 800]
    plain = [{"d_sae": n, "l0": 8.0, "fvu": 3.0 * n**-0.5} for n in sizes]
    a, alpha, c = _expect_law(function(plain, 8.0, [0.0]))
    expect(
        not math.isclose(alpha, -0.5, rel_tol=1e-3),
        "alpha is −0.5: the law is a·n^(−alpha), so that alpha is *minus* the slope.",
    )
    expect(
        not math.isclose(a, math.log(3.0), rel_tol=1e-3),
        "a comes out as its logarithm: the line's intercept is log a.",
    )
    expect(
        math.isclose(alpha, 0.5, rel_tol=1e-3) and math.isclose(a, 3.0, rel_tol=1e-3) and c == 0,
        f"points on 3·n^(−0.5) give a = {a:.3g}, alpha = {alpha:.3g}, c = {c:.3g}.",
    )
    others = [{"d_sae": n, "l0": 30.0, "fvu": 0.001} for n in (150, 300)]
    mixed = _expect_law(function([*plain, *others], 8.0, [0.0]))
    expect(
        math.isclose(mixed[1], 0.5, rel_tol=1e-3),
        "points with another L0 take part. More active latents explain more whatever the size of the "
        "dictionary: leave out points more than 5% away from l0.",
    )
    raised = [{"d_sae": n, "l0": 8.2, "fvu": 0.02 + 3.0 * n**-0.8} for n in sizes]
    a, alpha, c = _expect_law(function(raised, 8.0, [0.0, 0.01, 0.02, 0.03, 0.9]))
    expect(
        c != 0,
        "points on 0.02 + 3·n^(−0.8) give c = 0: try each of `offsets`, and keep the one that misses "
        "the points least.",
    )
    expect(
        math.isclose(c, 0.02) and math.isclose(alpha, 0.8, rel_tol=1e-3),
        f"points on 0.02 + 3·n^(−0.8) give a = {a:.3g}, alpha = {alpha:.3g}, c = {c:.3g}. (An offset "
        "above the smallest FVU cannot be: log of a negative number.)",
    )
    return "points of one L0, a line in log–log, and the offset that misses least."


def _expect_law(value: object) -> tuple[float, float, float]:
    expect(value is not None, "it returns None. Is the `return` missing?")
    if not isinstance(value, tuple | list) or len(value) != 3:
        raise CheckFailed("return three numbers: a, alpha, c.")
    a, alpha, c = (float(each) for each in value)
    expect(
        all(map(math.isfinite, (a, alpha, c))),
        f"it returns ({a:.3g}, {alpha:.3g}, {c:.3g}), not all of them numbers. Do you take the log of "
        "a number that is not positive?",
    )
    return a, alpha, c


# -------------------------------------------------------------------------------------- names


@check_of("name_features")
def check_name_features(function: Callable[..., Any]) -> str:
    """Diagnose `name_features` on four features, one of them dead, and two concepts and a half."""
    choose_labels = ["ocean", "ocean", "kitchen", "kitchen", None, "space"]
    choose = torch.tensor(
        [
            [4.0, 0.0, 0.0, 0.0],
            [3.0, 0.0, 1.0, 0.0],
            [0.0, 2.0, 0.0, 0.0],
            [0.0, 3.0, 5.0, 0.0],
            [9.0, 9.0, 9.0, 0.0],
            [0.0, 0.0, 6.0, 0.0],
        ]
    )
    judge_labels = ["ocean", "kitchen", "space", "kitchen", None]
    judge = torch.tensor(
        [
            [2.0, 0.0, 0.0, 1.0],
            [3.0, 4.0, 0.0, 0.0],
            [0.0, 0.0, 5.0, 0.0],
            [0.0, 6.0, 0.0, 0.0],
            [0.0, 9.0, 9.0, 0.0],
        ]
    )
    found = function(choose, choose_labels, judge, judge_labels)
    expect(found is not None, "it returns None. Is the `return` missing?")
    if not isinstance(found, Sequence) or len(found) != 4:
        raise CheckFailed("return a list with one entry for each of the four features.")
    expect(
        found[3] is None,
        "feature 3 is 0 on every document that could have named it: its entry is None, not a guess.",
    )
    for i in range(3):
        expect(
            isinstance(found[i], tuple | list) and len(found[i]) == 2,
            f"the entry of feature {i} is {found[i]!r}; expected (concept, score).",
        )
    names, scores = [found[i][0] for i in range(3)], [float(found[i][1]) for i in range(3)]
    expect(
        names == ["ocean", "kitchen", "space"],
        f"the features are named {names}; on the choosing documents they tell ocean, kitchen and space "
        "best. (Documents whose label is None take no part.)",
    )
    expect(
        not math.isclose(scores[0], 1.0, abs_tol=1e-4),
        "the score of feature 0 is 1: that is its AUROC on the documents that chose its name. Take it "
        "on the judging ones.",
    )
    expected = [2 / 3, 1.0, 1.0]
    expect(
        all(math.isclose(a, b, abs_tol=1e-4) for a, b in zip(scores, expected, strict=True)),
        f"the scores are {[round(s, 3) for s in scores]}; on the judging documents that carry a label "
        "they are 0.667, 1 and 1.",
    )
    return "named by one half, judged by the other; the dead one has no name."
