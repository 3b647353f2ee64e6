"""`steerlab evaluate`: from flags or YAML to files and pictures, with errors one can act on."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
import yaml
from safetensors.torch import save_file
from steerlab.cli import main
from steerlab.commands.evaluate import SETTINGS
from steerlab.evaluation import load_sweep
from test_sweep import HOOK, PROMPTS


@pytest.fixture
def config(checkpoint, tmp_path):
    """config(**more) -> a YAML file of a sweep so small that it takes a second."""
    prompts = tmp_path / "prompts.json"
    prompts.write_text(json.dumps([vars(prompt) for prompt in PROMPTS]))
    settings = {
        "model": str(checkpoint("gpt2")),
        "prompts": str(prompts),
        "hook-name": HOOK,
        "device": "cpu",
        "controls": 2,
        "first_controls": 1,
        "text_controls": 0,
        "alphas": [-1, 1],
        "max_new_tokens": 5,
        "out": str(tmp_path / "out"),
    }

    def write(**more):
        file = tmp_path / "sweep.yaml"
        file.write_text(yaml.safe_dump(settings | more))
        return str(file)

    return write


def test_a_config_gives_tables_records_and_pictures_and_flags_win(config, tmp_path, capsys):
    assert main(["evaluate", "--config", config(), "--alphas=-0.5,0.5"]) == 0
    said = capsys.readouterr().out
    out = tmp_path / "out"
    assert load_sweep(out).alphas == [-0.5, 0.0, 0.5]
    assert {p.name for p in out.iterdir()} == {
        *("plan.json", "records.jsonl", "directions.safetensors"),
        *("summary.json", "summary.csv", "plots"),
    }
    assert {p.name for p in (out / "plots").iterdir()} == {"overlay.png", "effect_by_kl.png"}
    assert "mean difference at blocks.1.hook_resid_pre: dose 1 is coefficient" in said
    assert "slope over the doses" in said


def test_a_direction_comes_from_a_file(config, tmp_path, capsys):
    file = tmp_path / "v.safetensors"
    save_file({"up": torch.ones(32), "down": -torch.ones(32)}, file)
    arguments = ["evaluate", "--config", config(), "--no-plots"]
    assert main([*arguments, "--direction", str(file)]) == 2
    assert "holds down, up; name one" in capsys.readouterr().err
    assert main([*arguments, "--direction", f"{file}:up"]) == 0
    assert main([*arguments, "--direction", str(tmp_path / "w.safetensors")]) == 2
    assert "there is no such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "flags", "said"),
    [
        ({"alpha": [1]}, [], "unknown setting 'alpha'; did you mean 'alphas'?"),
        ({"controls": "many"}, [], "controls: 'many' cannot be read"),
        ({}, ["--alphas=1,x"], "--alphas: '1,x' cannot be read"),
        ({}, ["--feature", "code"], "a feature belongs to an autoencoder"),
        ({"model": "no-such-model"}, [], "no-such-model"),
        ({"hook-name": "blocks.9.hook_resid_pre"}, [], "no hook point 'blocks.9.hook_resid_pre'"),
        ({"prompts": "nowhere.json"}, [], "there is no file nowhere.json"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_and_exit_code_2(config, capsys, more, flags, said):
    assert main(["evaluate", "--config", config(**more), *flags]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.startswith("steerlab evaluate: ")
    assert "Traceback" not in error


def test_yaml_that_is_none_is_refused(tmp_path, capsys):
    file = tmp_path / "c.yaml"
    for text, said in (("a: [", "is not YAML"), ("- 1", "holds no settings")):
        file.write_text(text)
        assert main(["evaluate", "--config", str(file)]) == 2
        assert said in capsys.readouterr().err


def test_an_interrupted_command_says_how_to_go_on(config, capsys, monkeypatch):
    import steerlab.evaluation

    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(steerlab.evaluation, "run_sweep", interrupted)
    assert main(["evaluate", "--config", config()]) == 1
    assert "the same command goes on from here" in capsys.readouterr().err


def test_a_full_disk_says_how_to_go_on(config, capsys, monkeypatch):
    import steerlab.evaluation

    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(steerlab.evaluation, "run_sweep", full)
    assert main(["evaluate", "--config", config()]) == 1
    assert "make room, and the same command goes on" in capsys.readouterr().err


def test_every_setting_is_a_flag_and_help_needs_no_torch():
    code = (
        "import sys; from steerlab.cli import main\n"
        "try: main(['evaluate', '--help'])\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules, 'torch was imported'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert all(f"--{name.replace('_', '-')}" in done.stdout for name in SETTINGS)
