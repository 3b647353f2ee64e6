"""Loading: the same logits as transformers, the right dtype, and one sentence when it fails."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from typing import Any

import pytest
import steerlab
import torch
from steerlab import hub, models
from steerlab.data import generate
from steerlab.hub import KNOWN, ModelUnavailable
from steerlab.models import load_model, preload, resolve_name
from steerlab.planning import Machine
from steerlab.settings import course_settings
from steerlab.tokens import encode, tokenize
from transformers import AutoModelForCausalLM


@pytest.fixture(autouse=True)
def no_network_and_nothing_preloaded(monkeypatch):
    monkeypatch.setattr(hub, "hub_in_reach", lambda: False)
    monkeypatch.setattr(models, "this_machine", lambda device=None: Machine(64.0))
    monkeypatch.delenv(models.ONLY_MODEL_VARIABLE, raising=False)
    monkeypatch.setattr(models, "_preloaded", {})
    monkeypatch.setattr(models, "_announced", set())


@pytest.mark.parametrize("architecture", ["gpt2", "gemma2", "qwen3", "olmo2"])
def test_logits_agree_with_transformers(checkpoint, load_small, prompts, architecture):
    model = load_small(architecture)
    reference = AutoModelForCausalLM.from_pretrained(
        checkpoint(architecture), attn_implementation="eager", dtype=torch.float32
    ).eval()
    batch = tokenize(model, prompts)
    with torch.no_grad():
        ours = model(batch.tokens, attention_mask=batch.attention_mask)
        for i in range(len(prompts)):  # each prompt alone, without padding
            theirs = reference(torch.tensor([batch.row(i)])).logits[0]
            torch.testing.assert_close(ours[i][batch.real[i]], theirs, atol=1e-4, rtol=0)


def test_a_model_is_ready_to_be_read(any_model):
    assert not any_model.training
    assert not any(parameter.requires_grad for parameter in any_model.parameters())
    assert any_model.tokenizer.padding_side == "left"
    assert any_model.tokenizer.pad_token_id is not None
    assert any_model.cfg.dtype == torch.float32


def test_loading_says_nothing(checkpoint, capfd):
    load_model(checkpoint("gpt2"))
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""


def test_a_float16_checkpoint_is_read_in_float32_on_the_cpu(checkpoint, tmp_path):
    folder = tmp_path / "half"
    shutil.copytree(checkpoint("gpt2"), folder)
    half = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float16)
    half.save_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["dtype"] == "float16"
    model = load_model(folder, device="cpu")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_the_embedded_model_loads_by_name_without_network():
    model = load_model("tiny")
    settings = course_settings(model)
    assert settings.name == "tiny"
    assert settings == course_settings("tiny")
    assert settings.n_layers == model.cfg.n_layers
    with torch.no_grad():
        assert torch.isfinite(model(tokenize(model, settings.prompts).tokens)).all()


def test_a_preloaded_model_is_handed_out_once(monkeypatch):
    opened = []

    def counted(*args):
        opened.append(args)
        return boot(*args)

    boot = models._boot
    monkeypatch.setattr(models, "_boot", counted)
    preload("tiny")
    assert len(opened) == 1
    first = load_model("tiny")
    assert len(opened) == 1
    second = load_model("tiny")
    assert len(opened) == 2
    assert first is not second
    preload("tiny")
    assert load_model("tiny", dtype=torch.float64).cfg.dtype == torch.float64


def test_only_model_stands_in_for_every_known_name(monkeypatch, capsys):
    monkeypatch.setenv(models.ONLY_MODEL_VARIABLE, "tiny")
    for name in KNOWN:
        assert resolve_name(name) == "tiny"
        assert course_settings(name).name == "tiny"
    assert resolve_name("google/gemma-2-2b-it") == "tiny"
    assert course_settings(load_model("gemma-2-2b-it")).name == "tiny"
    lines = capsys.readouterr().out.splitlines()
    assert lines.count("Here every model is 'tiny': 'gemma-2-2b-it' is not loaded.") == 1
    assert len(lines) == len(KNOWN) - 1
    with pytest.raises(ValueError, match="unknown model"):
        load_model("gpt5")


def test_an_unknown_name_is_answered_with_the_known_ones():
    with pytest.raises(ValueError, match=r"did you mean 'gemma-2-2b-it'\?.*'tiny'.*folder"):
        load_model("gemma-2b-it")
    with pytest.raises(TypeError, match="string or a path"):
        load_model(3)  # type: ignore[arg-type]


def test_a_hub_id_of_a_known_model_stands_for_it():
    assert resolve_name("google/gemma-2-2b") == "gemma-2-2b"


def test_a_folder_that_holds_no_model_is_explained(tmp_path, checkpoint):
    with pytest.raises(FileNotFoundError, match=r"no config\.json"):
        load_model(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        load_model(tmp_path / "away")
    folder = tmp_path / "torn"
    shutil.copytree(checkpoint("gpt2"), folder)
    (folder / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(ValueError, match=r"checkpoint in .*torn cannot be loaded"):
        load_model(folder)


def test_without_network_a_hub_model_fails_at_once_in_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelUnavailable, match=r'network.*load_model\("tiny"\)'):
        load_model("gpt2")


def test_without_network_a_cached_hub_model_still_loads(monkeypatch, checkpoint):
    monkeypatch.setattr(
        "huggingface_hub.snapshot_download", lambda *a, **k: str(checkpoint("gpt2"))
    )
    model = load_model("gpt2")
    assert course_settings(model).name == "gpt2"


def test_a_gpu_that_is_not_there_is_said(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="sees no GPU"):
        load_model("tiny", device="cuda")


@pytest.fixture
def overflowing(checkpoint, tmp_path):
    """A checkpoint whose residual exceeds what float16 can hold."""
    folder = tmp_path / "loud"
    shutil.copytree(checkpoint("gpt2"), folder)
    loud: Any = AutoModelForCausalLM.from_pretrained(folder)
    loud.transformer.ln_f.weight.data *= 1e6
    loud.save_pretrained(folder)
    return folder


def test_float16_that_overflows_is_noticed(overflowing, monkeypatch, capsys):
    with pytest.raises(ValueError, match=r"not finite in float16; pass dtype=torch\.float32"):
        load_model(overflowing, device="cpu", dtype=torch.float16)
    plan = models.LoadPlan(torch.device("cpu"), torch.float16, four_bit=False, chosen=True)
    monkeypatch.setattr(models, "plan_load", lambda *a, **k: plan)
    assert load_model(overflowing).cfg.dtype == torch.float32
    assert "overflows in float16" in capsys.readouterr().out


def test_settings_of_an_unknown_model_fit_its_shape(any_model, checkpoint):
    settings = course_settings(any_model)
    assert settings.mode == "raw"
    assert settings.layers == (0, 1)
    assert settings.layer == 1
    assert settings.hook_name == "blocks.1.hook_resid_pre"
    assert set(settings.hook_names) <= set(any_model.hook_dict)
    longest = max(len(encode(any_model, prompt)) for prompt in settings.prompts)
    assert longest + settings.max_new_tokens <= any_model.cfg.n_ctx
    assert course_settings(checkpoint("gpt2")).n_layers == 2


@pytest.mark.parametrize("name", list(KNOWN))
def test_settings_of_every_known_model_are_whole(name):
    settings = course_settings(name)
    assert settings.name == name
    assert settings.mode == (
        "chat" if name in ("gemma-2-2b-it", "qwen3-4b", "olmo-2-7b") else "raw"
    )
    assert 0 < settings.layer < settings.n_layers
    assert 0.0 in settings.doses
    assert list(settings.doses) == sorted(settings.doses)
    assert settings.dose in settings.doses
    assert settings.prompt == settings.prompts[0]
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.dose = 1.0  # type: ignore[misc]


def test_the_embedded_models_prompts_are_in_the_words_of_its_corpus():
    read = " ".join(document.text for document in generate(3000, seed=0, register="review"))
    for prompt in course_settings("tiny").prompts:
        assert set(prompt.split()) <= set(re.findall(r"\w+", read)), prompt


def test_settings_of_nothing_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no config\.json"):
        course_settings(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="neither its layers"):
        course_settings(tmp_path)


def test_a_chat_prompt_has_one_bos_and_opens_the_assistants_turn(checkpoint):
    model = load_model(checkpoint("gpt2"))
    model.tokenizer.chat_template = (
        "{{ bos_token }}{% for m in messages %}[{{ m.role }}] {{ m.content }}\n{% endfor %}"
        "{% if add_generation_prompt %}[model]{% endif %}"
    )
    ids = encode(model, "The movie", mode="chat")
    assert ids.count(model.tokenizer.bos_token_id) == 1
    assert model.tokenizer.decode(ids).endswith("[user] The movie\n[model]")
    assert encode(model, "The movie", mode="chat", prepend_bos=True) == ids


def test_a_batch_tells_bos_padding_and_text_apart_though_they_share_an_id(any_model, prompts):
    batch = tokenize(any_model, prompts, prepend_bos=True)
    bos = any_model.tokenizer.bos_token_id
    assert bos == any_model.tokenizer.pad_token_id
    assert batch.bos.sum(1).tolist() == [1, 1, 1]
    assert (batch.content == (batch.real & ~batch.bos)).all()
    for i, prompt in enumerate(prompts):
        assert batch.row(i)[0] == bos
        assert any_model.tokenizer.decode(batch.row(i)[1:]) == prompt
    without = tokenize(any_model, prompts, prepend_bos=False)
    assert not without.bos.any()
    assert (without.content.sum(1) == without.lengths - 1).all()


@pytest.mark.parametrize("prepend_bos", [None, True, False])
def test_one_text_has_the_tokens_that_the_bridge_gives_it(any_model, prompts, prepend_bos):
    for prompt in prompts:
        theirs = any_model.to_tokens(prompt, prepend_bos=prepend_bos)[0].tolist()
        assert encode(any_model, prompt, prepend_bos=prepend_bos) == theirs


def test_texts_that_cannot_be_read_are_named(model):
    with pytest.raises(ValueError, match="texts is empty"):
        tokenize(model, [])
    with pytest.raises(TypeError, match="one string"):
        tokenize(model, "The movie")
    with pytest.raises(TypeError, match=r"texts\[1\] is int"):
        tokenize(model, ["x", 3])  # type: ignore[list-item]
    with pytest.raises(ValueError, match=r"texts\[1\].*without a single token"):
        tokenize(model, ["x", ""], prepend_bos=False)
    with pytest.raises(ValueError, match=r"texts\[0\] has .* at most 64.*truncate"):
        tokenize(model, ["The movie " * 50])
    assert tokenize(model, ["The movie " * 50], truncate=True).tokens.shape[1] == 64


def test_importing_the_package_or_its_data_stays_light():
    code = "import sys, steerlab, steerlab.data; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert {"load_model", "course_settings"} <= set(dir(steerlab))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = steerlab.nothing
