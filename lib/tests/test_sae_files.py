"""Autoencoders on disk: SAELens reads ours, we read theirs, old and hostile files are handled."""

from __future__ import annotations

import json
import os
import pickle
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from steerlab.cli import main
from steerlab.hub import ModelUnavailable
from steerlab.sae import SAE, convert_checkpoint, from_sae_lens, load_sae, read_sae, save_sae
from steerlab.sae import pretrained as pretrained_module
from steerlab.sae.pretrained import BareFile, read_bare
from steerlab.sae.scores import check_reconstruction, evaluate_sae

HOOK = "blocks.1.hook_resid_pre"
D_IN, D_SAE = 16, 40


@pytest.fixture(scope="module")
def lens():
    """The module sae_lens, quiet."""
    if os.environ.get("CI") != "true":
        pytest.importorskip("sae_lens", reason="sae-lens (the extra `pretrained`) is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import sae_lens
    return sae_lens


def make(activation="relu", seed=0, d_in=D_IN, d_sae=D_SAE, **options):
    g = torch.Generator().manual_seed(seed)
    options |= {"k": 4} if activation == "topk" else {}
    if activation == "jumprelu":
        options["threshold"] = torch.rand(d_sae, generator=g)
    return SAE(
        torch.randn(d_in, d_sae, generator=g) / 4, torch.randn(d_sae, generator=g) / 10,
        torch.randn(d_sae, d_in, generator=g), torch.randn(d_in, generator=g),
        activation=activation, hook_name=HOOK, model_name="gpt2", prepend_bos=True, **options,
    )  # fmt: skip


def residuals(n=30, d_in=D_IN):
    return torch.randn(n, d_in, generator=torch.Generator().manual_seed(5)) * 2 + 0.3


def same(one, other, x, atol=1e-5):
    torch.testing.assert_close(one.encode(x), other.encode(x), atol=atol, rtol=1e-4)
    torch.testing.assert_close(one(x), other(x), atol=10 * atol, rtol=1e-3)


READINGS = [{}, {"normalisation": "layer_norm"}, {"normalisation": "constant_norm_rescale"},
            {"apply_b_dec_to_input": False}]  # fmt: skip


# ------------------------------------------------------------------------------------ SAELens


@pytest.mark.parametrize("activation", ["relu", "topk", "jumprelu"])
@pytest.mark.parametrize("reading", READINGS, ids=str)
def test_sae_lens_loads_ours_and_encodes_alike(lens, tmp_path, activation, reading):
    ours = make(activation, **reading)
    save_sae(ours, tmp_path)
    theirs = lens.SAE.load_from_disk(str(tmp_path))
    same(ours, theirs, residuals())
    assert theirs.cfg.metadata.hook_name == HOOK
    assert theirs.cfg.metadata.model_name == "gpt2"
    assert theirs.cfg.metadata.prepend_bos is True


@pytest.mark.parametrize("reading", ["none", "layer_norm", "constant_norm_rescale"])
@pytest.mark.parametrize("kind", ["standard", "topk", "topk_rescaled", "jumprelu"])
def test_we_load_one_made_by_sae_lens_and_encode_alike(lens, tmp_path, kind, reading):
    architecture, _, rescaled = kind.partition("_")
    config = {
        "architecture": architecture, "d_in": D_IN, "d_sae": D_SAE,
        "normalize_activations": reading, "apply_b_dec_to_input": architecture != "jumprelu",
        "metadata": {"hook_name": HOOK, "model_name": "gpt2-small", "hook_head_index": None},
    }  # fmt: skip
    if architecture == "topk":
        config |= {"k": 6, "rescale_acts_by_decoder_norm": bool(rescaled)}
    theirs = lens.SAE.from_dict(config)
    torch.manual_seed(0)
    for parameter in theirs.parameters():
        parameter.data = torch.randn_like(parameter).abs() * 0.3
    theirs.W_enc.data = torch.randn_like(theirs.W_enc) * 0.3
    theirs.save_model(tmp_path)
    ours = read_sae(tmp_path)
    same(ours, theirs, residuals(), atol=1e-4)
    assert ours.hook_name == HOOK
    same(from_sae_lens(theirs), theirs, residuals(), atol=1e-4)


@pytest.mark.parametrize(
    "kind", ["StandardTraining", "TopKTraining", "JumpReLUTraining", "BatchTopKTraining"]
)
def test_we_load_what_sae_lens_training_saves_for_inference(lens, tmp_path, kind):
    config = getattr(lens, f"{kind}SAEConfig")(
        d_in=D_IN, d_sae=D_SAE, **({"k": 4} if "TopK" in kind else {})
    )
    trained = getattr(lens, f"{kind}SAE")(config)
    trained.save_inference_model(str(tmp_path))
    same(read_sae(tmp_path), lens.SAE.load_from_disk(str(tmp_path)), residuals())


def test_gpt2_small_res_jb_is_centred_as_the_model_it_was_trained_on(lens, tmp_path, monkeypatch):
    """Its catalogue entry names center_writing_weights, which a bridge does not apply."""
    theirs = lens.SAE.from_dict({
        "architecture": "standard", "d_in": D_IN, "d_sae": D_SAE,
        "metadata": {"hook_name": HOOK, "model_name": "gpt2-small",
                     "model_from_pretrained_kwargs": {"center_writing_weights": True}},
    })  # fmt: skip
    fetched = []

    def from_pretrained(release, sae_id, device):
        fetched.append((release, sae_id))
        return theirs

    monkeypatch.setattr(lens.SAE, "from_pretrained", staticmethod(from_pretrained))
    ours = load_sae("gpt2-small-res-jb/blocks.6.hook_resid_pre")
    assert fetched == [("gpt2-small-res-jb", "blocks.6.hook_resid_pre")]
    x = residuals()
    centred = x - x.mean(dim=1, keepdim=True)
    torch.testing.assert_close(ours.encode(x), theirs.encode(centred))
    # It stays so on disk.
    save_sae(ours, tmp_path)
    assert read_sae(tmp_path).centred


@pytest.mark.parametrize(
    "name",
    [
        "gpt2-small-res-jb/blocks.8.hook_resid_pre",
        "gemma-scope-2b-pt-res/layer_21/width_65k/average_l0_20",
        "gemma-scope-2b-pt-res-canonical/layer_20/width_16k/canonical",
    ],
)
def test_the_course_s_names_are_in_sae_lens_s_catalogue(lens, monkeypatch, name):
    """Reached without a network: the fetch itself is what fails, and says so in one sentence."""

    def away(*_, **__):
        raise OSError("no route")

    monkeypatch.setattr(lens.SAE, "from_pretrained", away)
    with pytest.raises(ModelUnavailable, match=r"cannot be fetched \(OSError: no route\).*tiny"):
        load_sae(name)


def test_unknown_names_are_answered_with_close_ones(lens):
    with pytest.raises(ValueError, match="gpt2-small-res-jb"):
        load_sae("gpt2-small-res-jp/blocks.8.hook_resid_pre")
    with pytest.raises(ValueError, match=r"no SAE 'blocks\.8\.resid_pre'.*hook_resid_pre"):
        load_sae("gpt2-small-res-jb/blocks.8.resid_pre")
    with pytest.raises(ValueError, match="'tiny/topk'"):
        load_sae("tiny/gated")


def test_without_sae_lens_the_way_out_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sae_lens", None)
    with pytest.raises(ModelUnavailable, match=r"steerlab\[pretrained\]"):
        load_sae("gpt2-small-res-jb/blocks.8.hook_resid_pre")


# --------------------------------------------------------------------------------- our own files


@given(seed=st.integers(0, 1000), activation=st.sampled_from(["relu", "topk", "jumprelu"]),
       reading=st.sampled_from([*READINGS, {"centred": True}]))  # fmt: skip
@settings(max_examples=20, deadline=None)
def test_what_is_saved_is_read_back(tmp_path_factory, seed, activation, reading):
    folder = tmp_path_factory.mktemp("sae")
    sae = make(activation, seed, metadata={"training_tokens": 7}, **reading)
    save_sae(sae, folder)
    back = read_sae(folder)
    assert torch.equal(back.encode(residuals()), sae.encode(residuals()))
    assert torch.equal(back(residuals()), sae(residuals()))
    assert (back.hook_name, back.model_name, back.prepend_bos) == (HOOK, "gpt2", True)
    assert back.metadata["training_tokens"] == 7


def test_weights_in_float16_are_computed_with_in_float32(tmp_path):
    sae = make("jumprelu")
    save_sae(sae, tmp_path, dtype=torch.float16)
    assert load_file(tmp_path / "sae_weights.safetensors")["W_enc"].dtype == torch.float16
    back = read_sae(tmp_path)
    assert back.W_enc.dtype == torch.float32
    torch.testing.assert_close(back.W_enc, sae.W_enc, atol=1e-3, rtol=1e-3)


def edited(folder, sae=None, **fields):
    save_sae(sae or make(), folder)
    path = folder / "cfg.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))
    return folder


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"sparsity_trick": 3}, r"unknown fields \['sparsity_trick'\].*ignore="),
        ({"architecture": "gated"}, "architecture 'gated' is not supported"),
        ({"normalize_activations": "covariance_whitening"}, "covariance_whitening"),
        ({"normalize_activations": "expected_average_only_in"}, "norm_scaling_factor"),
        ({"reshape_activations": "hook_z"}, "reshape_activations = 'hook_z'"),
        ({"hook_head_index": 3}, "hook_head_index = 3"),
        ({"finetuning_scaling_factor": True}, "finetuning_scaling_factor"),
        ({"activation_fn": "tanh-relu"}, "tanh-relu"),
        ({"model_from_pretrained_kwargs": {"revision": "step100"}}, "revision"),
        ({"dtype": "int3"}, "int3"),
        ({"d_sae": 41}, r"W_enc has shape \[16, 40\].*\[16, 41\]"),
        ({"architecture": "jumprelu"}, "a jumprelu SAE has"),
        ({"architecture": "topk"}, "needs k"),
    ],
)
def test_a_field_is_honoured_or_refused_by_name(tmp_path, fields, message):
    with pytest.raises(ValueError, match=message):
        read_sae(edited(tmp_path, **fields))


def test_an_unknown_field_may_be_passed_over_by_name(tmp_path):
    sae = read_sae(edited(tmp_path, sparsity_trick=3), ignore=["sparsity_trick"])
    assert torch.equal(sae.encode(residuals()), make().encode(residuals()))


def test_a_stored_input_scale_is_folded_in(tmp_path):
    folder = edited(
        tmp_path, normalize_activations="expected_average_only_in", norm_scaling_factor=0.5
    )
    torch.testing.assert_close(
        read_sae(folder).encode(residuals()), make().encode(residuals() * 0.5)
    )


def test_fields_from_before_version_6_lie_at_the_top(tmp_path):
    save_sae(make("topk"), tmp_path)
    (tmp_path / "cfg.json").write_text(json.dumps({
        "d_in": D_IN, "d_sae": D_SAE, "hook_point": HOOK, "hook_point_head_index": None,
        "hook_point_layer": 1, "model_name": "gpt2-small", "activation_fn_str": "topk",
        "activation_fn_kwargs": {"k": 4}, "l1_coefficient": 8e-5, "lr": 4e-4, "dtype": "torch.float32",
        "normalize_activations": False, "prepend_bos": True,
    }))  # fmt: skip
    sae = read_sae(tmp_path)
    assert (sae.activation, sae.k, sae.hook_name) == ("topk", 4, HOOK)


def test_files_that_are_missing_or_wrong_are_explained(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no cfg\.json"):
        read_sae(tmp_path)
    save_sae(make(), tmp_path)
    (tmp_path / "sae_weights.safetensors").write_bytes(pickle.dumps({"W_enc": 1}))
    with pytest.raises(ValueError, match="not a readable safetensors file"):
        read_sae(tmp_path)
    (tmp_path / "cfg.json").write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        read_sae(tmp_path)


# ----------------------------------------------------------------------------------- the contract


def test_an_sae_that_does_not_fit_the_model_is_refused_or_warned_about(model, tmp_path):
    texts = ["The movie that I watched yesterday was good", "She walked through the garden"]
    with pytest.raises(ValueError, match=r"width 16 .*gpt2.* 32 wide"):
        check_reconstruction(make(), model, texts)
    with pytest.warns(UserWarning, match=r"unexplained.*right hook point, input scale and model"):
        check_reconstruction(make(d_in=32), model, texts)
    save_sae(make(d_in=32), tmp_path)
    with pytest.warns(UserWarning, match="unexplained"):
        load_sae(tmp_path, model)
    with pytest.raises(ValueError, match="no hook point"):
        check_reconstruction(make(d_in=32).like(hook_name="blocks.9.hook_resid_pre"), model, texts)
    eye = torch.eye(32)
    whole = SAE(
        torch.cat([eye, -eye], 1),
        torch.zeros(64),
        torch.cat([eye, -eye]),
        torch.zeros(32),
        hook_name=HOOK,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert check_reconstruction(whole, model, texts) < 1e-6


def test_a_bare_file_read_after_the_final_norm_is_one_of_the_residual_itself(load_small):
    """OLMo-2's SAE reads x/rms(x) ⊙ w, scaled to E‖x‖ = √d; folded, it reads x."""
    model = load_small("olmo2")
    norm = model.original_model.model.norm
    with torch.no_grad():
        norm.weight.copy_(1 + torch.rand(32, generator=torch.Generator().manual_seed(2)))
    g = torch.Generator().manual_seed(0)
    weights = {
        "encode.weight": torch.randn(64, 32, generator=g), "encode.bias": torch.randn(64, generator=g),
        "decode.weight": torch.randn(32, 64, generator=g), "decode.bias": torch.randn(32, generator=g),
    }  # fmt: skip
    entry = BareFile("somebody/sae", "m", "blocks.1.hook_resid_post", True, "a paper, 2025")
    sae = read_bare({"input_size": 32, "hidden_size": 64}, weights, entry, model)
    from steerlab.activations import collect

    x = collect(model, ["The movie was good", "She walked"], entry.hook_name).values[
        entry.hook_name
    ]
    probe = collect(model, list(pretrained_module.PROBE), entry.hook_name).values[entry.hook_name]
    scale = 32**0.5 / norm(probe).norm(dim=1).mean()
    inside = norm(x) * scale
    code = (inside @ weights["encode.weight"].T + weights["encode.bias"]).relu()
    torch.testing.assert_close(sae.encode(x), code, atol=1e-3, rtol=1e-3)
    decoded = (code @ weights["decode.weight"].T + weights["decode.bias"]) / scale / norm.weight
    expected = decoded * x.square().mean(1, keepdim=True).sqrt()
    torch.testing.assert_close(sae(x), expected, atol=1e-3, rtol=1e-3)
    assert sae.hook_name == entry.hook_name
    with pytest.raises(ValueError, match="asks for"):
        read_bare({"input_size": 16, "hidden_size": 64}, weights, entry, model)
    with torch.no_grad():
        norm.weight.fill_(1.0)


def test_a_bare_file_without_a_model_asks_for_it():
    with pytest.raises(
        ValueError,
        match=r"does not store its input scale.*load_sae\('olmo2-7b-sae-65k-v1', model\)",
    ):
        load_sae("olmo2-7b-sae-65k-v1")


# ------------------------------------------------------------------------------------ conversion


def state(sae):
    return {
        "W_enc": sae.W_enc.data,
        "b_enc": sae.b_enc.data,
        "W_dec": sae.W_dec.data,
        "b_dec": sae.b_dec.data,
    }


def linear(sae):
    return {"encoder.weight": sae.W_enc.data.T.contiguous(), "encoder.bias": sae.b_enc.data,
            "decoder.weight": sae.W_dec.data.T.contiguous(), "decoder.bias": sae.b_dec.data}  # fmt: skip


PLAIN = make(apply_b_dec_to_input=False)


@pytest.mark.parametrize(
    "content",
    [
        linear(PLAIN),
        {"state_dict": linear(PLAIN), "epoch": 3},
        {"model_state_dict": {f"_orig_mod.{k}": v for k, v in linear(PLAIN).items()},
         "config": {"input_size": D_IN, "hidden_size": D_SAE, "lambda_final": 20}},
        {f"module._orig_mod.{k}": v for k, v in linear(PLAIN).items()},
        {"state_dict": state(PLAIN) | {"W_dec": PLAIN.W_dec.data.T}, "apply_b_dec_to_input": False},
        {"state_dict": state(PLAIN) | {"W_enc": PLAIN.W_enc.data.T}, "apply_b_dec_to_input": False},
        {k.replace("coder", "code"): v for k, v in linear(PLAIN).items()},
    ],
    ids=["linear", "state_dict", "compiled", "ddp", "W_dec transposed", "W_enc transposed", "encode/decode"],
)  # fmt: skip
def test_old_checkpoints_come_in(tmp_path, content, capsys):
    torch.save(content, tmp_path / "old.pt")
    out = tmp_path / "new"
    assert main(["convert", str(tmp_path / "old.pt"), str(out), "--hook-name", HOOK]) == 0
    same(read_sae(out), PLAIN, residuals())
    assert read_sae(out).hook_name == HOOK
    assert "16 -> 40, relu" in capsys.readouterr().out


def test_what_the_file_cannot_say_is_said_on_the_command_line(tmp_path, capsys):
    tied = make("topk")
    save_file({k: v.contiguous() for k, v in state(tied).items()}, tmp_path / "old.safetensors")
    arguments = [
        "convert",
        str(tmp_path / "old.safetensors"),
        str(tmp_path / "new"),
        "--hook-name",
        HOOK,
    ]
    assert main([*arguments, "--k", "4"]) == 2
    assert "whether b_dec is subtracted" in capsys.readouterr().err
    assert main([*arguments, "--k", "4", "--b-dec-on-input", "yes", "--scale", "2"]) == 0
    torch.testing.assert_close(
        read_sae(tmp_path / "new").encode(residuals()), tied.encode(2 * residuals())
    )


def test_a_square_matrix_is_taken_as_its_name_says(tmp_path):
    square = make(d_in=12, d_sae=12, apply_b_dec_to_input=False)
    torch.save(linear(square), tmp_path / "old.pt")
    same(convert_checkpoint(tmp_path / "old.pt", hook_name=HOOK), square, residuals(d_in=12))


def test_log_thresholds_make_a_jumprelu(tmp_path):
    jump = make("jumprelu")
    torch.save(state(jump) | {"log_threshold": jump.threshold.data.log()}, tmp_path / "old.pt")
    converted = convert_checkpoint(tmp_path / "old.pt", hook_name=HOOK, b_dec_on_input=True)
    assert converted.activation == "jumprelu"
    same(converted, jump, residuals())


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (self.path, "w"))


def test_a_hostile_pickle_is_refused_and_never_runs(tmp_path, capsys):
    mark = tmp_path / "ran"
    for number, content in enumerate(
        [
            {"state_dict": linear(PLAIN), "extra": Bomb(str(mark))},
            Bomb(str(mark)),
            [Bomb(str(mark))],
        ]
    ):
        path = tmp_path / f"hostile{number}.pt"
        torch.save(content, path)
        with pytest.raises(ValueError, match="refused"):
            convert_checkpoint(path, hook_name=HOOK)
    raw = tmp_path / "raw.pt"
    raw.write_bytes(pickle.dumps(Bomb(str(mark))))
    assert main(["convert", str(raw), str(tmp_path / "out"), "--hook-name", HOOK]) == 2
    assert "refused" in capsys.readouterr().err
    assert not mark.exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            {"W_dec": PLAIN.W_dec.data, "d_in": D_IN, "d_sae": D_SAE},
            "no encoder.*Half an autoencoder",
        ),
        (linear(PLAIN) | {"gate.weight": torch.zeros(3)}, r"unknown tensors \['gate\.weight'\]"),
        (linear(PLAIN) | {"decoder.weight": torch.zeros(3, 4)}, "not the two halves"),
        ({"state_dict": linear(PLAIN), "config": {"input_size": 99}}, r"d_in = \[16, 99\]"),
        ({"epoch": 3}, "holds no tensors"),
        (torch.zeros(3), "holds a Tensor"),
    ],
)
def test_checkpoints_that_are_no_autoencoder_are_explained(tmp_path, content, message):
    torch.save(content, tmp_path / "old.pt")
    with pytest.raises(ValueError, match=message):
        convert_checkpoint(tmp_path / "old.pt", hook_name=HOOK)


def test_files_that_are_no_checkpoint_are_explained(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file"):
        convert_checkpoint(tmp_path / "none.pt", hook_name=HOOK)
    for name, bytes_ in (
        ("a.pt", b"no checkpoint"),
        ("b.pt", b""),
        ("c.safetensors", b"\x00" * 40),
    ):
        (tmp_path / name).write_bytes(bytes_)
        with pytest.raises(ValueError, match=f"{name} (was refused|is not)"):
            convert_checkpoint(tmp_path / name, hook_name=HOOK)


def test_scores_know_what_a_centred_sae_leaves_out():
    eye = torch.eye(8)
    both = torch.cat([eye, -eye])
    sae = SAE(both.T, torch.zeros(16), both, torch.zeros(8), centred=True)
    x = torch.randn(50, 8) + 10 * torch.randn(50, 1)
    assert evaluate_sae(sae, x).fvu < 1e-8
