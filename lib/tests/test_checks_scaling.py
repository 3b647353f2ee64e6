"""The checks of assignment 07 pass a right function and tell each misconception by its own words."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from steerlab import checks
from steerlab.checks.inside import shard_written, shards_read
from steerlab.sae import auroc
from steerlab.sae.loop import TrainingRun

NAMES = ("W_enc", "b_enc", "W_dec", "b_dec")
MOMENTS = ("step", "exp_avg", "exp_avg_sq")

# Right functions, written as a student might; keyword arguments make them wrong in one way.


def bfloat_bits(x):
    return x.to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)


def right_write(file, x, token, *, bits=bfloat_bits, norm=None, kind=None, said=True, save=True):
    numbers = bits(x)
    norm_sum = norm(x) if norm else x.bfloat16().double().norm(dim=1).sum().item()
    flat = pa.array(numbers.reshape(-1), kind)
    columns = {"residual": pa.FixedSizeListArray.from_arrays(flat, x.shape[1])}
    table = pa.table(columns | {"token": token.numpy()})
    if said:
        table = table.replace_schema_metadata({"norm_sum": str(norm_sum)})
    if save:
        pq.write_table(table, file)


def right_read(files, *, back=None, factor=None):
    tables = [pq.read_table(file) for file in files]
    rows, tokens, sums = [], [], []
    for table in tables:
        bits = table["residual"].combine_chunks().flatten().to_numpy().reshape(len(table), -1)
        bits = torch.from_numpy(bits.astype(np.int32).astype(np.int16))
        rows.append(bits.view(torch.bfloat16) if back is None else back(bits))
        tokens.append(torch.from_numpy(table["token"].to_numpy().copy()))
        sums.append((float(table.schema.metadata[b"norm_sum"]), len(table)))
    root = math.sqrt(rows[0].shape[1])
    if factor is None:
        value = root * sum(n for _, n in sums) / sum(s for s, _ in sums)
    else:
        value = factor(root, sums, torch.cat(rows).float())
    return torch.cat(rows), torch.cat(tokens), value


def right_save(run, *, drop=(), copy=True):
    def kept(tensor):
        return tensor.detach().clone() if copy else tensor.detach()

    state = {"generator": run.generator.get_state(), "steps_done": torch.tensor(run.steps_done)}
    state["silent"] = kept(run.silent)
    for name in NAMES:
        state[name] = kept(run.sae[name])
        memory = run.optimizer.state[run.sae[name]]
        state |= {f"{moment}.{name}": kept(memory[moment]) for moment in MOMENTS}
    return {name: value for name, value in state.items() if not name.startswith(tuple(drop))}


def right_load(run, state, *, adam=True, draws=True, step=True, silent=True, replace="", copy=True):
    for name in NAMES:
        memory = {
            m: state[f"{m}.{name}"].clone() if copy else state[f"{m}.{name}"] for m in MOMENTS
        }
        if replace:
            run.sae[name] = state[name].clone().requires_grad_(replace == "trainable")
        else:
            run.sae[name].data.copy_(state[name])
        if adam and not replace:
            run.optimizer.state[run.sae[name]] = memory
    if not adam:
        run.optimizer = torch.optim.Adam(run.sae.values())
    if draws:
        run.generator.set_state(state["generator"])
    if step:
        run.steps_done = int(state["steps_done"])
    if silent:
        run.silent = state["silent"].clone()


def right_resample(
    state, dead, x, error, *, centre=True, norm=None, share=0.2, forget=True, bias=0.0, silent=0,
    copy=True, inverse=False, everything=False,
):  # fmt: skip
    state = {k: v.clone() for k, v in state.items()} if copy else state
    weight = error.norm(dim=1) ** 4
    weight = (weight == 0).float() if inverse else weight
    drawn = x[torch.multinomial(weight, int(dead.sum()), replacement=True)]
    unit = torch.nn.functional.normalize(drawn - state["b_dec"] * centre, dim=1)
    price = state["W_dec"][~dead].norm(dim=1).mean() if norm is None else norm
    state["W_enc"].T[dead] = share * state["W_enc"][:, ~dead].norm(dim=0).mean() * unit
    state["W_dec"][dead] = price * unit
    state["b_enc"][dead] = bias
    state["silent"][dead] = silent
    if forget:
        where = slice(None) if everything else dead
        for moment in ("exp_avg", "exp_avg_sq"):
            state[f"{moment}.W_enc"].T[where] = 0
            state[f"{moment}.W_dec"][where] = 0
            state[f"{moment}.b_enc"][where] = 0
    return state


def right_fit(points, l0, offsets, *, within=0.05, sign=-1, log_a=False, plain=False):
    kept = [p for p in points if abs(p["l0"] / l0 - 1) <= within]
    n, y = (np.array([p[key] for p in kept]) for key in ("d_sae", "fvu"))

    def fit(c):
        slope, start = np.polyfit(np.log(n), np.log(y - c), 1)
        miss = ((np.log(y) - np.log(c + np.exp(start) * n**slope)) ** 2).sum()
        return miss, start if log_a else math.exp(start), sign * slope, c

    return min(map(fit, [0.0] if plain else [c for c in offsets if c < y.min()]))[1:]


def right_names(choose, choose_labels, judge, judge_labels, *, dead=True, own=False, rest=False):
    names = sorted({label for label in choose_labels if label})

    def table(scores, labels):
        kept = [i for i, label in enumerate(labels) if label or rest]
        return torch.stack(
            [auroc(scores[kept], torch.tensor([labels[i] == name for i in kept])) for name in names]
        )

    chosen, judged = table(choose, choose_labels), table(judge, judge_labels)
    judged = chosen if own else judged
    return [
        None if dead and not choose[:, i].any() else (names[best], float(judged[best, i]))
        for i, best in enumerate(chosen.argmax(0).tolist())
    ]


RIGHT = {
    "write_shard": right_write,
    "read_shards": right_read,
    "save_state": right_save,
    "load_state": right_load,
    "resample": right_resample,
    "fit_law": right_fit,
    "name_features": right_names,
}


def wrong_in(name, **changes):
    return lambda *args: RIGHT[name](*args, **changes)


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_function_passes(name, capsys):
    getattr(checks, f"check_{name}")(RIGHT[name])
    assert capsys.readouterr().out.startswith(f"✓ {name}")


@pytest.mark.parametrize("name", RIGHT)
def test_an_unwritten_function_is_told_kindly(name, capsys):
    def unwritten(*args):
        raise NotImplementedError

    getattr(checks, f"check_{name}")(unwritten)
    assert "is not written yet" in capsys.readouterr().out


@pytest.mark.parametrize("name", RIGHT)
def test_a_function_that_returns_nothing_is_diagnosed(name):
    with pytest.raises(checks.CheckFailed):
        getattr(checks, f"check_{name}")(lambda *args: None)


def squares(x):
    return float(x.square().sum())


def factor_of(rule):
    return {"factor": rule}


WRONG = [
    ("write_shard", {"bits": lambda x: x.numpy().astype(np.uint16)}, "reinterpret"),
    ("write_shard", {"bits": lambda x: x.half().view(torch.int16).numpy().view(np.uint16)}, "float16"),
    ("write_shard", {"bits": lambda x: x.numpy(), "kind": pa.float32()}, "as uint16"),
    ("write_shard", {"norm": squares}, "squared norms"),
    ("write_shard", {"norm": lambda x: float(x.norm(dim=1).mean())}, "Store the sum"),
    ("write_shard", {"norm": lambda x: float(x.norm())}, "the norm of each row"),
    ("write_shard", {"said": False}, "no `norm_sum`"),
    ("write_shard", {"save": False}, "no parquet file"),
    ("read_shards", {"back": lambda bits: bits.float()}, "bits of torch.bfloat16"),
    ("read_shards", {"back": lambda bits: bits.bfloat16()}, "came back as numbers"),
    ("read_shards", factor_of(lambda r, s, x: r * sum(n / t for t, n in s) / 2), "average the factors"),
    ("read_shards", factor_of(lambda r, s, x: r / (sum(t / n for t, n in s) / 2)), "average the mean"),
    ("read_shards", factor_of(lambda r, s, x: r / x.square().sum(1).mean().sqrt()), "mean of squares"),
    ("read_shards", factor_of(lambda r, s, x: x.norm(dim=1).mean() / r), "upside down"),
    ("read_shards", factor_of(lambda r, s, x: 1 / x.norm(dim=1).mean()), "mean norm 1"),
    ("save_state", {"drop": ["exp_avg."]}, "Adam remembers"),
    ("save_state", {"drop": ["step."]}, "counts its steps"),
    ("save_state", {"drop": ["generator"]}, "generator goes on"),
    ("save_state", {"drop": ["steps_done"]}, "depend on it"),
    ("save_state", {"drop": ["silent"]}, "due for resampling"),
    ("save_state", {"copy": False}, "Save copies"),
    ("load_state", {"adam": False}, "fresh Adam"),
    ("load_state", {"draws": False}, "does not draw"),
    ("load_state", {"step": False}, "start over"),
    ("load_state", {"silent": False}, "silent is"),
    ("load_state", {"replace": "fixed"}, "trains nothing"),
    ("load_state", {"replace": "trainable"}, "trains nothing"),
    ("load_state", {"copy": False}, "Give the run copies"),
    ("resample", {"centre": False}, "x − b_dec"),
    ("resample", {"norm": 1.0}, "norm 1"),
    ("resample", {"norm": 0.3}, "living ones have"),
    ("resample", {"share": 1.0}, "a fifth"),
    ("resample", {"forget": False}, "Adam still remembers"),
    ("resample", {"everything": True}, "only dead latents"),
    ("resample", {"bias": -1.0}, "b_enc of the new"),
    ("resample", {"silent": 7}, "silent is 0"),
    ("resample", {"copy": False}, "Work on copies"),
    ("resample", {"inverse": True}, "the only input with an error"),
    ("fit_law", {"sign": 1}, "minus\\* the slope"),
    ("fit_law", {"log_a": True}, "intercept is log a"),
    ("fit_law", {"within": 100.0}, "another L0"),
    ("fit_law", {"plain": True}, "each of `offsets`"),
    ("name_features", {"dead": False}, "not a guess"),
    ("name_features", {"own": True}, "chose its name"),
    ("name_features", {"rest": True}, "carry a label|take no part"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "changes", "diagnosis"), WRONG)
def test_each_misconception_has_its_own_diagnosis(name, changes, diagnosis):
    with pytest.raises(checks.CheckFailed, match=diagnosis):
        getattr(checks, f"check_{name}")(wrong_in(name, **changes))


def test_what_a_shard_holds_is_told_as_it_stands_in_the_file():
    x = torch.tensor([[1.0, -2.0]])
    found = shard_written(right_write, x, torch.tensor([4]))
    assert found["numbers"]["residual"].tolist() == [0x3F80, 0xC000]
    assert found["numbers"]["token"].tolist() == [4]
    assert float(found["said"]["norm_sum"]) == pytest.approx(math.sqrt(5))


def test_shards_are_handed_over_as_files_that_pyarrow_reads():
    bits = torch.tensor([[0x3F80, 0xC000]])
    rows, token, factor = shards_read(right_read, [(bits, torch.tensor([4]), 2.0)] * 2)
    assert rows.tolist() == [[1.0, -2.0]] * 2
    assert token.tolist() == [4, 4]
    assert factor == pytest.approx(math.sqrt(2) / 2)


def some_run(**settings):
    draws = torch.Generator().manual_seed(1)
    rows = torch.randn(6, 4, generator=draws)
    sae = {"W_enc": rows.T.clone(), "b_enc": torch.zeros(6), "W_dec": rows, "b_dec": torch.zeros(4)}
    return TrainingRun(
        sae, torch.randn(50, 4, generator=draws), n_steps=20, batch_size=8, **settings
    )


def test_a_run_stopped_and_loaded_ends_where_an_undisturbed_one_does():
    undisturbed, stopped, other = some_run(), some_run(), some_run(seed=9)
    losses = undisturbed.advance(20)
    stopped.advance(7)
    other.advance(3)
    right_load(other, right_save(stopped))
    assert other.advance(100) == losses[7:]
    assert all(torch.equal(other.sae[name], undisturbed.sae[name]) for name in NAMES)


def test_a_run_warms_up_cools_down_and_stops():
    seen = []

    def objective(sae, batch, sparsity):
        seen.append(sparsity)
        total = sum(sae[name].sum() for name in NAMES)
        return total, (batch @ sae["W_enc"])

    run = some_run(sparsity=2.0, learning_rate=0.1, objective=objective)
    places = []
    for _ in range(25):
        places.append(run.sae["b_dec"].detach().clone())
        run.advance(1)
    assert run.steps_done == len(seen) == 20
    assert seen[:6] == pytest.approx([0.0, 0.5, 1.0, 1.5, 2.0, 2.0])
    moves = [float((b - a).abs().mean()) for a, b in pairwise(places[15:])]
    assert moves[:5] == pytest.approx([0.1, 0.1, 0.075, 0.05, 0.025], rel=1e-3)
