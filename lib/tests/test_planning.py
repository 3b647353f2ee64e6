"""What fits is said before it is loaded, and `load_model` does what was said."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from steerlab import doctor, hub, machine, models
from steerlab.cli import main
from steerlab.doctor import diagnose
from steerlab.hub import KNOWN, ModelUnavailable, Shape
from steerlab.machine import Facts, Package, installed, ram_gib
from steerlab.models import load_model, plan_load, shape_of
from steerlab.planning import (
    BYTES,
    COURSE_BATCH,
    COURSE_TOKENS,
    VERDICTS,
    Machine,
    choice_for,
    choose,
    need,
    refusal,
)
from steerlab.settings import course_settings
from steerlab.tiny import CHECKPOINT

GUIDE = Path(__file__).parents[2] / "docs" / "student-guide.md"

T4 = Machine(11.5, "Tesla T4", 14.6, native_bfloat16=False, bitsandbytes=True)
L4 = Machine(48.0, "NVIDIA L4", 22.0, native_bfloat16=True, bitsandbytes=True)
A100 = Machine(80.0, "NVIDIA A100-SXM4-40GB", 39.0, native_bfloat16=True)
LAPTOP_8 = Machine(5.0)  # of 8 GB, with a browser and a system running
LAPTOP_16 = Machine(12.0)


def facts(here=T4, **changes):
    told = Facts(
        machine=here,
        gpu_total=here.gpu_free,
        ram_total=here.ram_free,
        disk_free=100.0,
        cache="cache/hub",
        cached=frozenset(),
        hub=True,
        token=True,
        packages=(Package("torch", "2.13.0+cpu", ">=2.4"),),
    )
    return replace(told, **changes)


def choices(here):
    return {name: choice_for(source, here) for name, source in KNOWN.items()}


@pytest.mark.parametrize(
    ("here", "loaded_as"),
    [
        (T4, ["float32", "float32", "float16", "float16", "float16", "4 bits (float16)"]),
        (L4, ["float32", "float32", "bfloat16", "bfloat16", "bfloat16", "bfloat16"]),
        (A100, ["float32", "float32", "bfloat16", "bfloat16", "bfloat16", "bfloat16"]),
        (LAPTOP_16, ["float32", "float32", "bfloat16", "bfloat16", "bfloat16", None]),
        (LAPTOP_8, ["float32", "float32", None, None, None, None]),
        (Machine(60.0), ["float32"] * 6),
    ],
    ids=["T4", "L4", "A100", "laptop of 16 GB", "laptop of 8 GB", "workstation"],
)
def test_what_fits_on_the_machines_that_students_have(here, loaded_as):
    found = [c.loaded_as if c.loads else None for c in choices(here).values()]
    assert found == loaded_as


def test_a_t4_without_bitsandbytes_is_told_to_install_it():
    found = choices(replace(T4, bitsandbytes=False))["olmo-2-7b"]
    assert found.verdict == "fits in 4 bits with bitsandbytes"
    assert not found.loads
    row = diagnose(facts(replace(T4, bitsandbytes=False)), "olmo-2-7b").rows[0]
    assert row.instead == ("pip install bitsandbytes", "qwen3-4b")


def test_weights_pass_through_ram_on_their_way_to_a_gpu():
    little = replace(A100, ram_free=5.0)
    assert choices(little)["gemma-2-2b"].verdict == "fits"
    qwen = choices(little)["qwen3-4b"]
    assert (qwen.verdict, qwen.four_bit) == ("fits in 4 bits with bitsandbytes", True)
    forced = choose(KNOWN["qwen3-4b"].shape, little, dtype="float16")
    assert (forced.verdict, forced.short) == ("does not fit", "RAM")
    said = refusal("qwen3-4b", KNOWN["qwen3-4b"].shape, little, forced)
    assert "RAM has 5.0 GiB free to read it into" in said


def test_a_larger_machine_of_another_kind_is_offered_before_a_smaller_model():
    row = diagnose(facts(Machine(26.0, "GeForce GTX 1050", 3.9)), "gemma-2-2b-it").rows[0]
    assert row.instead == ('device="cpu"', "gpt2")


shapes = st.builds(
    Shape,
    parameters=st.integers(1, 10**11),
    n_layers=st.integers(1, 120),
    d_model=st.integers(1, 16_384),
    n_heads=st.integers(1, 128),
    n_kv_heads=st.integers(1, 128),
    d_head=st.integers(1, 256),
    d_mlp=st.integers(1, 65_536),
    d_vocab=st.integers(1, 300_000),
    tied=st.booleans(),
)
gib = st.floats(0, 200)
machines = st.builds(
    Machine,
    ram_free=gib,
    gpu=st.sampled_from([None, "a GPU"]),
    gpu_free=gib,
    native_bfloat16=st.booleans(),
    bitsandbytes=st.booleans(),
)


@given(shapes, machines, gib, gib, st.integers(0, 70_000))
def test_more_memory_never_fits_less(shape, here, ram, gpu, latents):
    larger = replace(here, ram_free=here.ram_free + ram, gpu_free=here.gpu_free + gpu)
    before, after = (choose(shape, m, latents=latents) for m in (here, larger))
    assert VERDICTS.index(after.verdict) <= VERDICTS.index(before.verdict)
    if before.loads:
        assert BYTES[after.dtype] >= BYTES[before.dtype]


@given(
    shapes,
    st.sampled_from([*BYTES]),
    st.booleans(),
    st.sampled_from(["parameters", "n_layers", "d_mlp", "n_kv_heads", "d_vocab", "d_model"]),
    st.integers(1, 10**6),
)
def test_the_estimate_grows_with_every_size(shape, dtype, four_bit, name, more):
    larger = replace(shape, **{name: getattr(shape, name) + more})
    parts = need(shape, dtype, four_bit=four_bit)
    assert need(larger, dtype, four_bit=four_bit).total >= parts.total
    if name == "parameters":
        assert need(larger, dtype, four_bit=four_bit).weights > parts.weights
    assert need(shape, dtype, latents=more).total > need(shape, dtype).total


@given(shapes, machines)
def test_what_is_chosen_needs_no_more_than_is_free(shape, here):
    found = choose(shape, here)
    if found.verdict != "does not fit" and shape.parameters > 10**8:
        assert found.need.total <= found.free
    assert (found.verdict == "does not fit") == (found.short is not None)
    assert not found.four_bit or found.device == "cuda"


def as_torch(here, monkeypatch):
    """Let torch, and the reader of RAM, report that machine."""
    monkeypatch.setattr(machine, "ram_gib", lambda: (here.ram_free, here.ram_free))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: here.gpu is not None)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: here.gpu)
    monkeypatch.setattr(
        torch.cuda,
        "is_bf16_supported",
        lambda including_emulation=True: including_emulation or here.native_bfloat16,
    )
    monkeypatch.setattr(
        torch.cuda, "mem_get_info", lambda device=None: (int(here.gpu_free * 2**30), 2**36)
    )
    find = lambda name: object() if here.bitsandbytes else None  # noqa: E731
    monkeypatch.setattr(machine, "importlib", SimpleNamespace(util=SimpleNamespace(find_spec=find)))


def test_the_facts_are_what_torch_says(monkeypatch):
    for here in (T4, LAPTOP_8):
        as_torch(here, monkeypatch)
        seen = machine.this_machine()
        assert seen.gpu_free == pytest.approx(here.gpu_free, abs=1e-6)
        assert replace(seen, gpu_free=here.gpu_free) == here
    as_torch(T4, monkeypatch)
    assert machine.this_machine(torch.device("cpu")) == Machine(T4.ram_free)


# Room that a file system or a GPU reports is a float of bytes: keep off the very edge.
@pytest.mark.parametrize("gpu", [None, 2.0, 7.5, 10.0, 13.0, 16.0, 24.0, 80.0])
@pytest.mark.parametrize("ram", [1.0, 6.0, 12.0, 14.0, 30.0])
@pytest.mark.parametrize("native", [True, False])
def test_what_the_doctor_says_is_what_load_model_does(monkeypatch, gpu, ram, native):
    here = Machine(ram, None if gpu is None else "a GPU", gpu or 0.0, native, native)
    as_torch(here, monkeypatch)
    for row in diagnose(facts(here)).rows:
        source = KNOWN[row.name]
        ask = partial(plan_load, source.shape, name=row.name, latents=source.latents)
        if row.choice.loads:
            plan = ask()
            assert str(plan.dtype) == f"torch.{row.choice.dtype}"
            assert (plan.device.type, plan.four_bit) == (row.choice.device, row.choice.four_bit)
        else:
            said = refusal(row.name, source.shape, here, row.choice, source.latents)
            with pytest.raises(ModelUnavailable, match=f"^{re.escape(said)}$"):
                ask()


def test_load_model_refuses_before_it_asks_the_hub(monkeypatch):
    def asked(*args):
        raise AssertionError("the hub was asked")

    monkeypatch.setattr(models, "fetchable", asked)
    as_torch(LAPTOP_8, monkeypatch)
    with pytest.raises(
        ModelUnavailable,
        match=r"olmo-2-7b needs 20\.7 GiB in bfloat16, 13\.6 of weights and .* and RAM has 5\.0 GiB "
        r'free: use load_model\("gpt2"\)$',
    ):
        load_model("olmo-2-7b")
    as_torch(replace(T4, bitsandbytes=False), monkeypatch)
    with pytest.raises(ModelUnavailable, match="run `pip install bitsandbytes` and load it again"):
        load_model("olmo-2-7b")


def test_a_dtype_that_is_named_is_taken_whether_or_not_it_fits(monkeypatch):
    as_torch(LAPTOP_8, monkeypatch)
    plan = plan_load(KNOWN["olmo-2-7b"].shape, dtype=torch.float16)
    assert (plan.dtype, plan.four_bit, plan.chosen) == (torch.float16, False, False)


def test_the_embedded_model_loads_where_nothing_else_does(monkeypatch):
    nothing = Machine(0.01)
    as_torch(nothing, monkeypatch)
    assert choices(nothing)["tiny"].verdict == "fits"
    assert plan_load(KNOWN["tiny"].shape).dtype == torch.float32
    assert {c.loads for name, c in choices(nothing).items() if name != "tiny"} == {False}


def test_the_embedded_model_s_sizes_are_those_of_its_files():
    assert shape_of(CHECKPOINT) == KNOWN["tiny"].shape


def test_the_course_s_batch_is_one_that_the_planner_counts():
    for name in KNOWN:
        settings = course_settings(name)
        assert settings.batch_size <= COURSE_BATCH
        assert settings.max_text_tokens <= COURSE_TOKENS


# ---------------------------------------------------------------- the doctor


def test_the_doctor_recommends_the_largest_model_that_loads():
    assert 'Take MODEL = "olmo-2-7b": it loads in 4 bits' in diagnose(facts(T4)).recommendation
    no_bits = diagnose(facts(replace(T4, bitsandbytes=False)))
    assert no_bits.recommendation.startswith('Take MODEL = "qwen3-4b": it loads in float16, after')
    assert "After `pip install bitsandbytes` olmo-2-7b loads in 4 bits." in no_bits.recommendation
    assert 'MODEL = "gpt2"' in diagnose(facts(LAPTOP_8)).recommendation


@pytest.mark.parametrize(
    ("changes", "name", "words"),
    [
        ({"hub": False}, "gpt2", "the hub is out of reach"),
        ({"disk_free": 0.2}, "gpt2", "the disk has room for 0.2 GiB"),
        ({"token": False}, "gemma-2-2b-it", "gated: accept its licence, set HF_TOKEN"),
    ],
)
def test_what_keeps_a_model_from_being_fetched_is_said(changes, name, words):
    told = diagnose(facts(**changes), name)
    assert words in told.rows[0].obstacle
    assert words in told.recommendation
    assert not told.ok
    assert diagnose(facts(**changes, cached=frozenset({name})), name).ok


def test_a_package_out_of_range_is_the_first_thing_to_mend():
    torn = facts(packages=(Package("torch", "2.1", ">=2.4"), Package("ipywidgets", None, ">=7,<9")))
    told = diagnose(torn)
    assert not told.ok
    assert told.recommendation.endswith('pip install "torch>=2.4" "ipywidgets>=7,<9"')
    assert "torch 2.1 (!>=2.4), ipywidgets missing (!>=7,<9)" in str(told)


def test_versions_are_held_against_steerlab_s_own_requirements(monkeypatch):
    found = {package.name: package for package in installed(machine.PACKAGES)}
    assert all(package.good for package in found.values())
    [missing] = installed(["no-such-package"])
    assert not missing.good


@pytest.fixture
def on(monkeypatch):
    """on(facts): let the command find that machine."""

    def put(told):
        monkeypatch.setattr(doctor, "examine", lambda: told)

    return put


def test_the_command_prints_a_row_for_every_model_and_ends_with_one_line(on, capsys):
    on(facts(replace(T4, bitsandbytes=False)))
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    for name in KNOWN:
        assert sum(line.split()[:1] == [name] for line in lines) == 1
    [row] = [line for line in lines if line.startswith("olmo-2-7b")]
    assert row.split()[1] == "7.299"
    assert row.endswith("fits in 4 bits  after pip install bitsandbytes; or qwen3-4b")
    assert lines[-2] == ""
    assert lines[-1].startswith("Take MODEL = ")


def test_the_student_guide_shows_what_the_command_prints_on_a_free_colab_gpu():
    packages = (
        Package("torch", "2.11.0+cu128", ">=2.4"),
        Package("transformers", "5.15.0", ">=4.57"),
        Package("transformer-lens", "3.9.0", ">=3,<4"),
        Package("ipywidgets", "7.7.1", ">=7.7.1,<9"),
    )
    colab = Facts(
        machine=Machine(11.3, "Tesla T4", 14.5, native_bfloat16=False, bitsandbytes=False),
        gpu_total=14.6,
        ram_total=12.7,
        disk_free=71.2,
        cache="~/.cache/huggingface/hub",
        cached=frozenset(),
        hub=True,
        token=False,
        packages=packages,
    )
    assert f"```\n{diagnose(colab)}\n```" in GUIDE.read_text("utf-8")


def test_every_figure_of_the_guide_s_table_of_models_is_the_planner_s():
    rows = re.findall(r"^\| `\"([\w.-]+)\"` \| (.*) \|$", GUIDE.read_text("utf-8"), re.M)
    assert [name for name, _ in rows] == list(KNOWN)
    for name, cells in rows:
        billions, download, *machines = [cell.strip() for cell in cells.split("|")]
        source = KNOWN[name]
        assert float(billions) == pytest.approx(source.billions, abs=0.0051)
        assert download == (f"{source.download_gib:.1f} GiB" if source.hub_id else "none")
        for said, here in zip(machines, (LAPTOP_8, LAPTOP_16, T4, L4), strict=True):
            choice = choice_for(source, here)
            assert said == (choice.loaded_as.split(" (")[0] if choice.loads else "no"), (name, here)
        on_l4, on_a100 = choice_for(source, L4), choice_for(source, A100)
        assert (on_a100.dtype, on_a100.four_bit) == (on_l4.dtype, on_l4.four_bit)


def test_one_model_is_an_exit_code(on, capsys):
    on(facts(LAPTOP_8))
    assert main(["doctor", "--model", "gpt2"]) == 0
    assert main(["doctor", "--model", "allenai/OLMo-2-1124-7B-Instruct"]) == 1
    assert 'use load_model("gpt2").' in capsys.readouterr().out
    assert main(["doctor", "--model", "gpt5"]) == 2
    assert "unknown model 'gpt5'; known models: 'tiny'" in capsys.readouterr().err


def test_json_holds_the_same(on, capsys):
    on(facts(T4))
    assert main(["doctor", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ok"] is True
    assert told["facts"]["machine"]["gpu"] == "Tesla T4"
    assert [row["name"] for row in told["models"]] == list(KNOWN)
    assert [row["verdict"] for row in told["models"]] == [c.verdict for c in choices(T4).values()]


def test_this_machine_is_examined_without_a_word_of_the_token(monkeypatch, capsys):
    monkeypatch.setenv("HF_TOKEN", "hf_thisisasecret")
    monkeypatch.setattr(machine, "hub_in_reach", lambda: True)
    code = main(["doctor", "--json"])
    out = capsys.readouterr().out
    assert "secret" not in out
    told = json.loads(out)
    assert told["facts"]["token"] is True
    assert code == (0 if told["ok"] else 1)
    assert 0 < told["facts"]["machine"]["ram_free"] <= told["facts"]["ram_total"]
    assert told["facts"]["disk_free"] > 0


def test_a_container_s_limit_counts(tmp_path):
    free, total = ram_gib(tmp_path)  # no limit
    (tmp_path / "memory.max").write_text(str(2**29))
    (tmp_path / "memory.current").write_text(str(2**28))
    (tmp_path / "memory.stat").write_text(f"anon 5\ninactive_file {2**27}\n")
    assert ram_gib(tmp_path) == (0.375, 0.5)
    (tmp_path / "memory.max").write_text("max\n")
    assert ram_gib(tmp_path)[1] == total
    assert free > 0


def test_without_torch_the_doctor_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(machine, "hub_in_reach", lambda: False)
    monkeypatch.setattr(machine, "PACKAGES", ("torch", "no-such-package"))
    assert main(["doctor"]) == 1
    assert 'pip install "no-such-package' in capsys.readouterr().out.splitlines()[-1]


def test_the_disk_is_measured_where_the_cache_will_be(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "not" / "yet"))
    assert hub.disk_free_gib() > 0
