"""Every path that a real model takes, on checkpoints as deep as it and as narrow as tests can be."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
import transformers
from real_shapes import SPECIAL, real_config, save_narrow, tokenizer_like
from steerlab import hub, models
from steerlab.activations import collect
from steerlab.cavs import fit_cavs, pool
from steerlab.directions import mean_difference
from steerlab.generation import end_tokens
from steerlab.hub import KNOWN, ModelUnavailable
from steerlab.models import LoadPlan, load_model, shape_of
from steerlab.planning import Machine
from steerlab.sae import SAE, ClampFeatures
from steerlab.settings import course_settings
from steerlab.steering import AddVector, coefficient_for_dose, generate, steer
from steerlab.tokens import encode, tokenize
from transformers import AutoModelForCausalLM

NAMES = ("gpt2", "gemma-2-2b-it", "qwen3-4b", "olmo-2-7b")
HAPPY = ["The movie was good and warm.", "She was bright and good.", "A warm and good day."]
SAD = ["The food was terrible.", "The soup was cold and bad.", "A bad and cold room."]

TURN = {
    "gemma-2-2b-it": "<bos><start_of_turn>user\n{}<end_of_turn>\n<start_of_turn>model\n",
    "qwen3-4b": "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n",
    "olmo-2-7b": "<|endoftext|><|user|>\n{}\n<|assistant|>\n",
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return {name: save_narrow(name, tmp_path_factory.mktemp(name)) for name in NAMES}


@pytest.fixture(scope="module")
def offline(folders):
    """The hub is away, its cache holds these checkpoints, and the machine is large enough."""
    by_id = {KNOWN[name].hub_id: folder for name, folder in folders.items()}
    by_id[KNOWN["gemma-2-2b"].hub_id] = folders["gemma-2-2b-it"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(hub, "hub_in_reach", lambda: False)
        patch.setattr("huggingface_hub.snapshot_download", lambda name, **_: str(by_id[name]))
        patch.setattr(models, "this_machine", lambda device=None: Machine(64.0))
        patch.delenv(models.ONLY_MODEL_VARIABLE, raising=False)
        yield


@pytest.fixture(scope="module")
def loaded(offline):
    """loaded(name) -> the model under its course name, loaded once."""
    made = {}

    def load(name):
        if name not in made:
            made[name] = load_model(name)
        return made[name]

    return load


@pytest.fixture(params=NAMES)
def deep(request, loaded):
    return loaded(request.param)


@pytest.mark.parametrize("name", NAMES)
def test_the_planner_s_sizes_are_those_of_the_architecture(name, folders):
    source = KNOWN[name]
    with torch.device("meta"):
        real = AutoModelForCausalLM.from_config(real_config(name))
    assert sum(p.numel() for p in real.parameters()) == source.shape.parameters
    assert KNOWN["gemma-2-2b"].shape == KNOWN["gemma-2-2b-it"].shape
    narrow = shape_of(folders[name])
    same = ("n_layers", "n_heads", "n_kv_heads", "tied")
    assert [getattr(narrow, field) for field in same] == [
        getattr(source.shape, field) for field in same
    ]


def test_a_model_is_whole_under_its_course_name(deep, folders):
    name = models.known_name_of(deep)
    settings = course_settings(deep)
    assert settings == course_settings(name)
    assert deep.cfg.n_layers == settings.n_layers == KNOWN[name].shape.n_layers
    assert set(settings.hook_names) <= set(deep.hook_dict)
    hook = {"olmo-2-7b": "blocks.15.hook_resid_post", "gemma-2-2b-it": "blocks.21.hook_resid_post"}
    assert hook.get(name, settings.hook_name) in deep.hook_dict
    reference = AutoModelForCausalLM.from_pretrained(
        folders[name], attn_implementation="eager", dtype=torch.float32
    ).eval()
    ids = torch.tensor([encode(deep, HAPPY[0])])
    with torch.no_grad():
        torch.testing.assert_close(deep(ids), reference(ids).logits, atol=1e-3, rtol=1e-4)


def test_the_assignments_path_from_texts_to_steered_text(deep):
    settings = course_settings(deep)
    how = {"mode": settings.mode}
    hooks = settings.hook_names
    found = collect(deep, HAPPY, hooks, **how)
    assert set(found.values) == set(hooks)
    assert all(torch.isfinite(v).all() for v in found.values.values())
    vector = mean_difference(deep, HAPPY, SAD, settings.hook_name, **how)
    coefficient = coefficient_for_dose(
        deep, vector, settings.hook_name, settings.prompts[:2], 0.8, **how
    )
    steered = {settings.hook_name: AddVector(vector, coefficient)}
    texts = {}
    for cache in (True, False):
        with steer(deep, steered):
            texts[cache] = generate(
                deep, settings.prompts[:2], max_new_tokens=2, use_cache=cache, **how
            )
    assert [c.tokens for c in texts[True]] == [c.tokens for c in texts[False]]
    ids = tokenize(deep, HAPPY[:1]).tokens
    with torch.no_grad():
        plain = deep(ids)
        with steer(deep, steered):
            moved = deep(ids)
        after = deep(ids)
    assert not torch.allclose(plain, moved, atol=1e-3)
    assert torch.equal(after, plain)


@pytest.mark.parametrize("name", list(TURN))
def test_a_chat_prompt_is_the_model_s_own_turns_with_at_most_one_bos(loaded, name):
    model = loaded(name)
    ids = encode(model, "Tell me.", mode="chat")
    assert model.tokenizer.decode(ids) == TURN[name].format("Tell me.")
    bos = model.tokenizer.bos_token_id
    assert ids.count(bos) == (0 if bos is None else 1)
    [completion] = generate(model, ["Tell me."], max_new_tokens=1, mode="chat")
    assert completion.prompt_tokens == tuple(ids)


def test_what_ends_a_text_is_what_the_model_s_own_settings_say(deep):
    ends = SPECIAL[models.known_name_of(deep)][2]
    assert end_tokens(deep) == set(deep.tokenizer.convert_tokens_to_ids(list(ends)))


def test_a_feature_clamps_at_the_autoencoder_s_layer(deep):
    name = models.known_name_of(deep)
    layer = {"gpt2": 6, "gemma-2-2b-it": 21, "qwen3-4b": 18, "olmo-2-7b": 15}[name]
    end = "pre" if name in ("gpt2", "qwen3-4b") else "post"
    sae = random_sae(deep.cfg.d_model, 4 * deep.cfg.d_model, f"blocks.{layer}.hook_resid_{end}")
    clamp = ClampFeatures(sae, {5: 3.0, 7: 0.0})
    x = collect(deep, HAPPY[:1], sae.hook_name).values[sae.hook_name]
    code = sae.encode(x)
    wanted = code.clone()
    wanted[:, 5], wanted[:, 7] = 3.0, 0.0
    torch.testing.assert_close(
        clamp(x[None])[0], x + sae.decode(wanted) - sae.decode(code), atol=1e-3, rtol=1e-4
    )
    with steer(deep, {clamp.hook_name: clamp}):
        [completion] = generate(deep, HAPPY[0], max_new_tokens=2, mode=course_settings(deep).mode)
    assert completion.prompt == HAPPY[0]


def random_sae(d_in, d_sae, hook_name, seed=0, **options):
    """A ReLU autoencoder with unit decoder rows."""
    draw = torch.Generator().manual_seed(seed)
    decoder = torch.randn(d_sae, d_in, generator=draw)
    decoder /= decoder.norm(dim=1, keepdim=True)
    return SAE(
        decoder.T.clone(),
        -0.1 * torch.ones(d_sae),
        decoder,
        torch.zeros(d_in),
        apply_b_dec_to_input=True,
        hook_name=hook_name,
        **options,
    )


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("gpt2", torch.float16), ("gemma-2-2b-it", torch.bfloat16), ("qwen3-4b", torch.float16)],
)
def test_in_half_precision_a_cpu_steers_what_a_gpu_would(offline, name, dtype):
    model = load_model(name, dtype=dtype, device="cpu")
    assert {p.dtype for p in model.parameters()} == {dtype}
    settings = course_settings(model)
    vector = mean_difference(model, HAPPY, SAD, settings.hook_name, mode=settings.mode)
    assert vector.dtype == torch.float32
    assert torch.isfinite(vector).all()
    with steer(model, {settings.hook_name: AddVector(vector, 2.0)}):
        [completion] = generate(model, HAPPY[0], max_new_tokens=2, mode=settings.mode)
    assert len(completion.tokens) <= 2


# ---------------------------------------------------------------- 4 bits


@pytest.fixture
def on_a_t4(offline, monkeypatch):
    """A GPU that OLMo-2 fits in 4 bits; what is loaded stays on the CPU."""
    t4 = Machine(12.0, "Tesla T4", 14.6, native_bfloat16=False, bitsandbytes=True)
    monkeypatch.setattr(models, "this_machine", lambda device=None: t4)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    real = models.plan_load

    def planned(*args, **options):
        return replace(real(*args, **options), device=torch.device("cpu"))

    monkeypatch.setattr(models, "plan_load", planned)
    return t4


def test_4_bits_are_asked_of_transformers_as_the_planner_counts_them(on_a_t4, monkeypatch, folders):
    asked = {}
    original = AutoModelForCausalLM.from_pretrained

    def from_pretrained(target, **options):
        asked.update(options, target=target)
        kept = ("revision", "dtype", "device_map", "attn_implementation")
        return original(target, **{key: options[key] for key in kept})

    fake = SimpleNamespace(from_pretrained=from_pretrained)
    monkeypatch.setattr(models.transformers, "AutoModelForCausalLM", fake)
    model = load_model("olmo-2-7b")
    config = asked["quantization_config"]
    assert config.load_in_4bit
    assert config.bnb_4bit_quant_type == "nf4"
    assert config.bnb_4bit_compute_dtype == torch.float16  # native on a T4, bfloat16 is not
    assert asked["dtype"] == torch.float16  # embeddings and norms, which are not quantised
    assert asked["target"] == str(folders["olmo-2-7b"])
    assert asked["revision"] == "main"
    assert asked["device_map"] == {"": torch.device("cpu")}
    assert models.known_name_of(model) == "olmo-2-7b"
    assert not any(p.requires_grad for p in model.parameters())
    vector = torch.ones(model.cfg.d_model)
    with steer(model, {"blocks.16.hook_resid_pre": AddVector(vector, 0.1)}):
        assert generate(model, "Tell me.", max_new_tokens=1, mode="chat")[0].prompt == "Tell me."


@pytest.mark.skipif(
    transformers.utils.is_bitsandbytes_available(), reason="bitsandbytes is installed"
)
def test_transformers_takes_the_configuration_up_to_where_it_needs_bitsandbytes(on_a_t4):
    with pytest.raises(
        ModelUnavailable, match=r"ImportError: .*bitsandbytes.*load_model\(\"tiny\"\)"
    ):
        load_model("olmo-2-7b")


def test_float16_that_overflows_where_float32_does_not_fit_is_one_sentence(
    on_a_t4, monkeypatch, folders
):
    monkeypatch.setattr(models, "_finite", lambda model: False)
    monkeypatch.setattr(models, "this_machine", lambda device=None: Machine(8.0))
    plan = LoadPlan(torch.device("cpu"), torch.float16, four_bit=False, chosen=True)
    with pytest.raises(ModelUnavailable, match=r"overflows in float16, and qwen3-4b needs .*gpt2"):
        models._load_checked(str(folders["gpt2"]), plan, KNOWN["qwen3-4b"], KNOWN["qwen3-4b"].shape)


# ---------------------------------------------------------------- full size


@pytest.mark.check
def test_gpt2_in_full_size_goes_all_the_way(tmp_path, monkeypatch):
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(real_config("gpt2")).save_pretrained(tmp_path)
    tokenizer_like("gpt2").save_pretrained(tmp_path)
    assert shape_of(tmp_path) == KNOWN["gpt2"].shape
    model = load_model(tmp_path)
    settings = course_settings(model)
    assert (settings.layer, model.cfg.d_model) == (6, 768)
    hook = settings.hook_name
    vector = mean_difference(model, HAPPY, SAD, hook)
    with steer(model, {hook: AddVector(vector, 4.0)}):
        assert len(generate(model, HAPPY[0], max_new_tokens=4)[0].tokens) == 4
    pooled = pool(model, HAPPY + SAD, hook, skip=1)
    cavs = fit_cavs(pooled.means, ["happy"] * 3 + ["sad"] * 3, hook_name=hook)
    with steer(model, {hook: AddVector(cavs["happy"], 4.0)}):
        assert len(generate(model, HAPPY[0], max_new_tokens=2)[0].tokens) == 2
    sae = random_sae(768, 24_576, "blocks.6.hook_resid_pre", centred=True)  # as gpt2-small-res-jb
    clamp = ClampFeatures(sae, {20_000: 5.0})
    x = collect(model, HAPPY[:1], sae.hook_name).values[sae.hook_name]
    step = (5.0 - sae.encode(x)[:, 20_000, None]) * sae.W_dec[20_000]
    torch.testing.assert_close(clamp(x[None])[0] - x, step, atol=1e-4, rtol=0)
    with steer(model, {clamp.hook_name: clamp}):
        assert len(generate(model, HAPPY[0], max_new_tokens=2)[0].tokens) == 2
