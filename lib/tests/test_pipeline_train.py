"""Training runs: told by YAML and flags, stopped and resumed to the bit, shared by processes."""

from __future__ import annotations

import ast
import json
import multiprocessing
import os
import pickle
import signal
import socket
import subprocess
import sys
import types
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import steerlab
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from steerlab.cli import main
from steerlab.pipeline import PipelineError, TrainConfig, train_shards
from steerlab.pipeline.config import NAMED, option_kinds, read_yaml
from steerlab.pipeline.shard_files import Origin, Rows, write_shard
from steerlab.pipeline.shards import Shards
from steerlab.sae import Recipe, load_sae
from steerlab.sae.dictionary import Dictionary
from steerlab.sae.training import Trainer

D = 12
LIBRARY = Path(steerlab.__file__).parent


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Three shards of 4,000 residuals: sparse sums of 40 directions, off centre."""
    folder = tmp_path_factory.mktemp("data")
    draws = torch.Generator().manual_seed(0)
    directions = torch.nn.functional.normalize(torch.randn(40, D, generator=draws), dim=1)
    origin = Origin("m", "blocks.1.hook_resid_pre", D, "made", 64, 4000)
    for part in range(3):
        active = torch.rand(4000, 40, generator=draws) < 0.06
        x = (active * torch.rand(4000, 40, generator=draws)) @ directions * 7 + 1
        beside = (torch.arange(4000), torch.arange(4000) // 50 + 80 * part, torch.arange(4000) % 50)
        documents = (80 * part, 80 * part + 80)
        write_shard(folder / f"shard-0000{part}.parquet", origin, Rows(x, *beside), documents)
    return folder


def config(data, out, **changes):
    values = {"d_sae": 64, "k": 4, "steps": 30, "batch_size": 128, "sparsity": 0.3,
              "learning_rate": 2e-3, "silent_steps": 3, "window": 1000, "checkpoint_every": 10,
              "measure_every": 1, "device": "cpu"}  # fmt: skip
    return TrainConfig(data=str(data), out=str(out), **values | changes)


def weights(folder):
    return load_file(folder / "sae_weights.safetensors")


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def losses(folder):
    return [json.loads(line)["loss"] for line in (folder / "history.jsonl").open()]


def imported_with(module):
    """The modules that importing one brings along, as far as the library's own files say."""
    seen, waiting = set(), [module]
    while waiting:
        name = waiting.pop()
        path = LIBRARY.joinpath(*name.split(".")[1:])
        path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if name in seen or (name.startswith("steerlab") and not path.exists()):
            continue  # known, or the name of a function
        seen.add(name)
        waiting += [name.rpartition(".")[0]] if "." in name else []
        for node in ast.parse(path.read_text()).body if name.startswith("steerlab") else ():
            if isinstance(node, ast.Import):
                waiting += [each.name for each in node.names]
            elif isinstance(node, ast.ImportFrom):
                waiting += [node.module, *(f"{node.module}.{each.name}" for each in node.names)]
    return seen


def test_a_process_that_trains_starts_without_a_language_model():
    """transformer_lens takes longer to import than all else together, in each process anew."""
    brought = imported_with("steerlab.pipeline.runs")
    assert {"torch", "steerlab.sae.training", "steerlab.activations"} <= brought
    assert not {"transformer_lens", "transformers"} & brought
    assert {"transformer_lens", "transformers"} <= imported_with("steerlab.models")


# ---------------------------------------------------------------- a run


def test_a_run_learns_and_leaves_an_autoencoder_that_says_where_it_is_from(data, tmp_path):
    run = train_shards(config(data, tmp_path / "out", activation="topk", steps=150))
    assert run.history[-1].fvu < 0.6 * run.history[0].fvu
    sae = load_sae(tmp_path / "out")
    assert (sae.hook_name, sae.model_name) == ("blocks.1.hook_resid_pre", "m")
    assert same(weights(run.folder), dict(run.sae.state_dict()))
    assert [line.step for line in run.history] == list(range(150))
    assert losses(run.folder) == [line.loss for line in run.history]
    kept = sorted(path.name for path in (run.folder / "checkpoints").iterdir())
    assert kept == ["step-000000130", "step-000000140"]


def test_steps_follow_from_epochs(data, tmp_path):
    run = train_shards(config(data, tmp_path / "out", steps=None, epochs=0.5))
    assert run.history[-1].step + 1 == 12_000 // 2 // 128


@pytest.mark.parametrize("activation", ["topk", "relu", "jumprelu"])
def test_a_run_that_was_stopped_ends_with_the_same_bits(data, tmp_path, activation):
    whole = config(data, tmp_path / "whole", activation=activation, resample_every=7)
    train_shards(whole)
    parted = whole.with_values(out=str(tmp_path / "parted"))

    def stop(line):
        if line.step == 23:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_shards(parted, report=stop)
    resumed = train_shards(parted, resume=True)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "parted"))
    assert losses(tmp_path / "whole") == losses(tmp_path / "parted")
    assert [line.step for line in resumed.history] == list(range(30))


def test_a_worker_killed_in_mid_run_ends_at_the_same_place(data, tmp_path):
    whole = config(data, tmp_path / "whole", activation="topk")
    train_shards(whole)
    parted = whole.with_values(out=str(tmp_path / "parted"))

    def die(line):
        if line.step == 17:
            os.kill(os.getpid(), signal.SIGKILL)

    worker = multiprocessing.get_context("fork").Process(
        target=train_shards, args=(parted,), kwargs={"report": die}
    )
    worker.start()
    worker.join(60)
    assert worker.exitcode == -signal.SIGKILL
    assert len(losses(tmp_path / "parted")) == 18
    train_shards(parted, resume=True)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "parted"))


def process(number, ports, options):
    os.environ |= {"RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": "2",
                   "MASTER_ADDR": "127.0.0.1"}  # fmt: skip
    torch.set_num_threads(1)
    for port, each in zip(ports, options, strict=True):
        os.environ["MASTER_PORT"] = str(port)
        train_shards(each)


def two_processes():
    ports, options = pickle.load(sys.stdin.buffer)
    fork = multiprocessing.get_context("fork")
    workers = [fork.Process(target=process, args=(i, ports, options)) for i in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    sys.exit(any(worker.exitcode for worker in workers))


def free_ports(n):
    held = [socket.socket() for _ in range(n)]
    for each in held:
        each.bind(("127.0.0.1", 0))
    found = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return found


def test_two_processes_give_the_curve_of_one_with_the_doubled_batch(data, tmp_path):
    kinds = ("topk", "relu", "jumprelu")
    pairs = [config(data, tmp_path / f"two-{a}", activation=a, resample_every=7) for a in kinds]
    # Forked from a process of their own: this one may have threads, which a fork leaves behind.
    code = "import test_pipeline_train as t; t.two_processes()"
    said = pickle.dumps((free_ports(len(pairs)), pairs))
    folder = os.path.dirname(__file__)
    subprocess.run([sys.executable, "-c", code], cwd=folder, input=said, check=True, timeout=300)
    for pair in pairs:
        both, out = tmp_path / f"two-{pair.activation}", tmp_path / f"one-{pair.activation}"
        # One process takes its batch in two parts: the same to the last bit, whatever that decides.
        train_shards(pair.with_values(out=str(out), batch_size=256))
        assert same(weights(both), weights(out))
        assert losses(both) == pytest.approx(losses(out), rel=1e-12)
    whole = pairs[1].with_values(out=str(tmp_path / "whole"), batch_size=256, accumulate=1)
    train_shards(whole)
    assert len(losses(tmp_path / "whole")) == 30
    assert losses(tmp_path / "whole") == pytest.approx(losses(tmp_path / "two-relu"), rel=1e-4)


def test_a_batch_is_taken_in_two_parts_by_one_process_and_whole_by_each_of_several():
    even = TrainConfig(data="d", out="o", batch_size=256)
    assert [even.parts(processes) for processes in (1, 2, 4)] == [2, 1, 1]
    assert even.with_values(batch_size=255).parts(1) == 1
    assert even.with_values(accumulate=4).parts(2) == 4


@pytest.mark.parametrize("activation", ["topk", "relu", "jumprelu"])
def test_a_batch_taken_in_parts_is_the_same_step(activation):
    x = torch.randn(64, D, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    recipe = Recipe(activation, 32, 10, k=3, silent_steps=1, resample_every=2)
    curves = []
    for parts in (1, 4):
        trainer = Trainer(recipe, D, 1.0, accumulate=parts)
        trainer.dictionary.double()
        curves.append([trainer.step(x, measure=True) for _ in range(8)])
    for one, other in zip(*curves, strict=True):
        assert one.loss == pytest.approx(other.loss, rel=1e-9)
        assert (one.fvu, one.l0) == pytest.approx((other.fvu, other.l0), rel=1e-9)
    with pytest.raises(ValueError, match="64 residuals do not fall into 5 equal parts"):
        Trainer(recipe, D, 1.0, accumulate=5).step(x.float())


# ---------------------------------------------------------------- what stands in the way


def test_a_folder_with_a_run_is_not_written_over_unasked(data, tmp_path):
    train_shards(config(data, tmp_path))
    with pytest.raises(PipelineError, match="holds a run already: add --resume"):
        train_shards(config(data, tmp_path))


def test_resuming_another_run_names_what_differs(data, tmp_path):
    train_shards(config(data, tmp_path))
    with pytest.raises(PipelineError, match=r"another run; different are sparsity \(0.3 -> 0.5\)"):
        train_shards(config(data, tmp_path, sparsity=0.5), resume=True)


def test_resuming_on_other_shards_is_refused(data, tmp_path):
    train_shards(config(data, tmp_path / "out"))
    other = tmp_path / "data"
    other.mkdir()
    for path in sorted(data.iterdir())[:2]:
        (other / path.name).write_bytes(path.read_bytes())
    with pytest.raises(PipelineError, match="are not those that"):
        train_shards(config(other, tmp_path / "out"), resume=True)


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_still_serves(data, tmp_path):
    train_shards(config(data, tmp_path / "whole", steps=35))
    train_shards(config(data, tmp_path / "out", steps=35))
    newest = sorted((tmp_path / "out" / "checkpoints").iterdir())[-1]
    path = newest / "trainer.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(PipelineError, match=r"step-000000030 cannot be read.*the one before it"):
        train_shards(config(data, tmp_path / "out", steps=35), resume=True)
    path.unlink()
    (newest / "state.json").unlink()
    newest.rmdir()
    train_shards(config(data, tmp_path / "out", steps=35), resume=True)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "out"))


def test_a_full_disk_at_a_checkpoint_keeps_the_one_before(data, tmp_path, monkeypatch):
    from steerlab.pipeline import runs

    written = []

    def save(tensors, path):
        written.append(path)
        if len(written) == 2:
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device")
        save_file(tensors, path)

    monkeypatch.setattr(runs, "save_file", save)
    with pytest.raises(PipelineError, match=r"the disk is full.*--resume"):
        train_shards(config(data, tmp_path))
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-000000010"]


def test_shards_with_fewer_rows_than_a_batch_are_said_so(data, tmp_path):
    with pytest.raises(PipelineError, match="12,000 residuals are less than one batch of 20,000"):
        train_shards(config(data, tmp_path, steps=None, batch_size=20_000))


def test_a_loss_that_is_no_number_stops_the_run(data, tmp_path):
    with pytest.raises(PipelineError, match="set a smaller learning_rate"):
        train_shards(config(data, tmp_path, learning_rate=1e30))


# ---------------------------------------------------------------- state and prefixes


@given(name=st.sampled_from(["topk", "relu", "jumprelu"]), steps=st.integers(0, 4))
@settings(max_examples=8, deadline=None)
def test_a_restored_trainer_takes_the_same_steps(name, steps):
    x = torch.randn(64, D, generator=torch.Generator().manual_seed(1))
    recipe = Recipe(name, 32, 10, k=3, silent_steps=1, resample_every=2)
    one, other = (Trainer(recipe, D, 1.0) for _ in range(2))
    for _ in range(steps):
        one.step(x)
    state = {
        f"_orig_mod.{n}" if i % 2 else n: t.clone() for i, (n, t) in enumerate(one.state().items())
    }
    other.restore(state)
    for _ in range(3):
        one.step(x)
        other.step(x)
    assert same(one.state(), other.state())


def test_a_state_of_another_size_is_refused():
    one, other = (Trainer(Recipe("relu", size, 10), D, 1.0) for size in (32, 48))
    with pytest.raises(ValueError, match="not of such a training: parameter"):
        other.restore(one.state())


def test_weights_of_a_compiled_module_load(data, tmp_path):
    run = train_shards(config(data, tmp_path))
    compiled = torch.compile(run.sae)
    assert all(name.startswith("_orig_mod.") for name in compiled.state_dict())
    save_file(compiled.state_dict(), tmp_path / "sae_weights.safetensors")
    assert same(load_sae(tmp_path).state_dict(), run.sae.state_dict())


@given(seed=st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_the_relu_steps_gradients_are_those_of_autograd(seed):
    draws = torch.Generator().manual_seed(seed)
    dictionary = Dictionary(Recipe("relu", 24), 8, draws, torch.randn(8, generator=draws)).double()
    with torch.no_grad():
        dictionary.b_enc.copy_(torch.randn(24, generator=draws))
        dictionary.decoder.mul_(torch.rand(24, 1, generator=draws) * 3)
    x = torch.randn(10, 8, generator=draws, dtype=torch.float64)
    names, parameters = zip(*dictionary.named_parameters(), strict=True)
    loss, *_ = dictionary(x, 0.7, None)
    fast = torch.autograd.grad(3 * loss, parameters)
    p = dict(zip(names, parameters, strict=True))
    code = ((x - p["b_dec"]) @ p["encoder"].T + p["b_enc"]).relu()
    error = x - code @ p["decoder"] - p["b_dec"]
    slow_loss = (error.square().sum(1) + 0.7 * code @ p["decoder"].norm(dim=1)).mean()
    slow = torch.autograd.grad(3 * slow_loss, parameters)
    torch.testing.assert_close(loss, slow_loss)
    for one, other in zip(fast, slow, strict=True):
        torch.testing.assert_close(one, other, atol=1e-10, rtol=1e-8)


# ---------------------------------------------------------------- configuration


def test_every_size_from_8k_to_1m_is_shipped():
    sizes = [TrainConfig.named(name).d_sae for name in NAMED]
    assert sizes == [2**n for n in range(13, 21)]
    assert TrainConfig.named("65k", sparsity=20).sparsity == 20.0


def test_every_value_of_a_recipe_can_be_configured_with_the_same_meaning():
    recipe = Recipe()
    for name in Recipe.__dataclass_fields__:
        assert name in option_kinds()
        kind = type(getattr(recipe, name))
        assert kind in (option_kinds()[name][0], type(None))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sparsty: 3", "unknown key 'sparsty': did you mean 'sparsity'?"),
        ("hidden_size: 64", "unknown key 'hidden_size': it is called 'd_sae' here"),
        ("input_size: 64", "unknown key 'input_size': leave it out"),
        ("zzz: 1", "unknown key 'zzz'; known: data, out"),
        ("d_sae: many", "d_sae is 'many'; expected a whole number"),
        ("d_sae: 1.5", "d_sae is 1.5; expected a whole number"),
        ("steps: 0", "steps is 0; expected at least 1"),
        ("activation: gelu", "activation is 'gelu'; expected relu or topk or jumprelu"),
        ("- 1", "holds a list; expected `key: value` lines"),
        ("a: [", "is not YAML"),
    ],
)
def test_a_configuration_that_is_wrong_is_one_clear_sentence(tmp_path, text, words, capsys):
    path = tmp_path / "run.yaml"
    path.write_text(text)
    assert main(["train", "--config", str(path), "--data", "d", "--out", "o"]) == 2
    [line] = capsys.readouterr().err.strip().splitlines()
    assert words in line
    assert "run.yaml" in line or "steps" in line


def test_yaml_reads_numbers_as_people_write_them(tmp_path):
    (tmp_path / "run.yaml").write_text("learning_rate: 5e-5\nsparsity: 20\nsteps:\n")
    found = TrainConfig.from_mapping(read_yaml(tmp_path / "run.yaml"))
    assert (found.learning_rate, found.sparsity, found.steps) == (5e-5, 20.0, None)


def test_train_by_flags_and_yaml_and_resume_by_the_folder_alone(data, tmp_path, capsys):
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({"d_sae": 32, "steps": 12, "batch_size": 64, "device": "cpu"}))
    out = str(tmp_path / "out")
    command = ["train", "--config", str(path), "--data", str(data), "--out", out, "--quiet"]
    assert main([*command, "--activation", "topk", "--k", "3", "--checkpoint-every", "5"]) == 0
    printed = capsys.readouterr().out
    assert "12 -> 32, topk k=3" in printed
    assert "steerlab find" in printed
    before = weights(tmp_path / "out")
    (tmp_path / "out" / "sae_weights.safetensors").unlink()
    assert main(["train", "--out", out, "--resume", "--quiet"]) == 0
    assert same(weights(tmp_path / "out"), before)
    assert main(["train", "--out", out, "--quiet"]) == 2
    assert "data is not set" in capsys.readouterr().err


def test_shards_of_others_train_too_and_the_config_says_what_they_are(tmp_path):
    x = torch.randn(2000, D, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    column = pa.array(x.view(torch.int16).numpy().view("uint16").reshape(-1))
    table = pa.table({"act": pa.FixedSizeListArray.from_arrays(column, D)})
    pq.write_table(table, tmp_path / "rank0_chunk0.parquet")
    shards = Shards(tmp_path)
    run = train_shards(
        config(tmp_path, tmp_path / "out", steps=12, hook_name="blocks.15.hook_resid_post",
               model_name="allenai/OLMo-2-1124-7B-Instruct")
    )  # fmt: skip
    assert run.sae.hook_name == "blocks.15.hook_resid_post"
    assert shards.norm_factor == pytest.approx(1.0, rel=0.1)


def test_the_curve_goes_to_weights_and_biases_when_asked(data, tmp_path, monkeypatch):
    begun, lines = [], []

    class Fake:
        id = "abc"

        def log(self, line, step):
            lines.append((step, line["loss"]))

        def finish(self):
            lines.append("finished")

    def init(**options):
        begun.append(options)
        return Fake()

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    asked = config(data, tmp_path / "out", steps=12, wandb_project="course")
    run = train_shards(asked)
    assert lines == [*((line.step, line.loss) for line in run.history), "finished"]
    assert (begun[0]["project"], begun[0]["id"]) == ("course", None)
    train_shards(asked, resume=True)
    assert begun[1]["id"] == "abc"
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(PipelineError, match="wandb is not installed"):
        train_shards(asked.with_values(out=str(tmp_path / "other")))
