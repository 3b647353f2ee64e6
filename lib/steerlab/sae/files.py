"""Autoencoders on disk, in SAELens's own format: `cfg.json` and `sae_weights.safetensors`.

SAELens (Bloom et al., 2024) reads what `save_sae` writes, and `read_sae` reads what SAELens
writes. A file decides how its weights are to be used, so every field is either honoured, known to
describe only how the weights came about, or refused by name: an autoencoder that is read under a
wrong normalisation gives plausible nonsense.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from steerlab.sae.model import SAE, Activation, Normalisation

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
FORMAT_VERSION = "6.54.12"  # the SAELens whose format this is; below 6 it would reinterpret fields

_ACTIVATIONS: dict[str, Activation] = {"standard": "relu", "topk": "topk", "jumprelu": "jumprelu"}
_ARCHITECTURES = {activation: name for name, activation in _ACTIVATIONS.items()}
_DTYPES = {"float32": torch.float32, "float64": torch.float64, "float16": torch.float16,
           "bfloat16": torch.bfloat16}  # fmt: skip

_HONOURED_NAMES = """    architecture d_in d_sae k rescale_acts_by_decoder_norm apply_b_dec_to_input dtype
    normalize_activations norm_scaling_factor reshape_activations finetuning_scaling_factor
    activation_fn activation_fn_kwargs hook_name hook_head_index model_name prepend_bos
    model_from_pretrained_kwargs
"""
# How the weights came about or where they lie: no bearing on how they are used.
_DESCRIPTIVE_NAMES = """
    activation_fn_kwargs activations_mixing_fraction act_store_device adam_beta1 adam_beta2 autocast
    autocast_lm aux_loss_coefficient b_dec_init_method cached_activations_path checkpoint_path
    compile_llm compile_sae context_size d_head dataset_path dataset_trust_remote_code
    dead_feature_threshold dead_feature_window decoder_heuristic_init decoder_heuristic_init_norm
    decoder_init_norm decoder_orthogonal_init device disable_concat_sequences dtype
    eval_batch_size_prompts eval_every_n_wandb_logs exclude_special_tokens expansion_factor
    feature_sampling_window from_pretrained_path ghost_grads hf_hook_name hook_eval hook_layer
    hook_point_layer init_encoder_as_decoder_transpose is_dataset_tokenized jumprelu_bandwidth
    jumprelu_init_bandwidth jumprelu_init_threshold jumprelu_sparsity_loss_mode
    jumprelu_ste_to_input jumprelu_tanh_scale l0_coefficient l0_lambda l0_warm_up_steps l1_coefficient
    l1_warm_up_steps layer llm_batch_size llm_compilation_mode llm_device log_to_wandb
    log_activations_store_to_wandb log_optimizer_state_to_wandb logger lp_norm lr lr_decay_steps lr_end
    lr_scheduler_name lr_warm_up_steps model_class_name model_kwargs mse_loss_normalization
    n_batches_for_norm_estimate n_batches_in_buffer n_checkpoints n_eval_batches n_restart_cycles
    neuronpedia_id noise_scale normalize_sae_decoder output_path pre_act_loss_coefficient
    prefetch_llm_batches release resume resume_from_checkpoint run_name sae_compilation_mode sae_id
    sae_lens_training_version sae_lens_version save_final_checkpoint scale_sparsity_penalty_by_decoder_norm
    seed seqpos_slice sequence_separator_token sparsity store_batch_size_prompts streaming target_l0
    tokens_per_buffer train_batch_size train_batch_size_tokens training_architecture
    training_architecture_details training_tokens use_cached_activations use_chat_formatting
    use_ghost_grads use_sparse_activations verbose wandb_entity wandb_id wandb_log_frequency wandb_project
"""
_DESCRIPTIVE = frozenset(_DESCRIPTIVE_NAMES.split())
# Of TransformerLens's weight processing, only centring changes the residual stream.
_HARMLESS_PROCESSING = frozenset(
    ("fold_ln", "center_unembed", "fold_value_biases", "refactor_factored_attn_matrices")
)


def save_sae(sae: SAE, folder: str | os.PathLike[str], *, dtype: torch.dtype | None = None) -> None:
    """Write an autoencoder in SAELens's format; `sae_lens.SAE.load_from_disk(folder)` reads it.

    dtype: of the weights in the file, e.g. torch.float16 for half the size; they are read back as
    float32 all the same. Existing files of the two names are replaced.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.to("cpu", dtype or tensor.dtype) for name, tensor in _weights(sae)}
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / WEIGHTS)
    (folder / WEIGHTS).chmod(0o644)  # safetensors writes for the owner alone
    text = json.dumps(describe(sae), indent=2, sort_keys=True)
    (folder / CONFIG).write_text(text + "\n", encoding="utf-8")


def describe(sae: SAE) -> dict[str, Any]:
    """The `cfg.json` of an autoencoder."""
    metadata: dict[str, Any] = dict(sae.metadata)
    metadata["sae_lens_version"] = FORMAT_VERSION
    for name in ("hook_name", "model_name", "prepend_bos"):
        if getattr(sae, name) is not None:
            metadata[name] = getattr(sae, name)
    if sae.centred:
        metadata["model_from_pretrained_kwargs"] = {"center_writing_weights": True}
    config: dict[str, Any] = {
        "architecture": _ARCHITECTURES[sae.activation],
        "d_in": sae.d_in,
        "d_sae": sae.d_sae,
        "dtype": "float64" if sae.W_enc.dtype == torch.float64 else "float32",
        "device": "cpu",
        "apply_b_dec_to_input": sae.apply_b_dec_to_input,
        "normalize_activations": sae.normalisation,
        "reshape_activations": "none",
        "metadata": metadata,
    }
    if sae.activation == "topk":
        config |= {"k": sae.k, "rescale_acts_by_decoder_norm": False}
    return config


def read_sae(
    folder: str | os.PathLike[str],
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    ignore: Iterable[str] = (),
) -> SAE:
    """Read an autoencoder from a folder in SAELens's format. Nothing in it is ever unpickled.

    dtype: what to compute in; None is what the file says. ignore: names of unknown fields to pass
    over. Raises FileNotFoundError for a folder without the two files, ValueError for a field that
    is unknown or not supported, weights that are no safetensors file or do not fit the fields.
    """
    folder = Path(folder)
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder} has no {name}: pass a folder in SAELens's format (other checkpoints "
                "come in through `steerlab convert`)"
            )
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{folder / CONFIG} is not JSON: {error}") from None
    weights = read_tensors(folder / WEIGHTS)
    return build_sae(config, weights, str(folder), device=device, dtype=dtype, ignore=ignore)


def read_tensors(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors of a safetensors file. Raises ValueError for a file that is none."""
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise ValueError(
            f"{path} is not a readable safetensors file ({error}); a pickled checkpoint comes in "
            "through `steerlab convert`"
        ) from None


def plain_name(name: str) -> str:
    """A tensor's name without the prefixes that `torch.compile` and DDP put before it."""
    return name.replace("_orig_mod.", "").removeprefix("module.")


def build_sae(
    config: Mapping[str, Any],
    weights: Mapping[str, Tensor],
    where: str,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    ignore: Iterable[str] = (),
) -> SAE:
    """An autoencoder from a configuration in SAELens's terms (also from before version 6).

    `where` names the source in errors. Raises ValueError as `read_sae` does.
    """
    fields, kept = _known_fields(config, where, set(ignore))
    activation, k = _activation(fields, where)
    dtype = dtype or _dtype(fields.get("dtype"), where)
    tensors = {plain_name(name): tensor.to(device, dtype) for name, tensor in weights.items()}
    wanted = {"W_enc", "b_enc", "W_dec", "b_dec"} | (
        {"threshold"} if activation == "jumprelu" else set()
    )
    scaling = tensors.pop("scaling_factor", None)
    if scaling is not None and not torch.allclose(scaling, torch.ones_like(scaling)):
        raise ValueError(f"{where}: scaling_factor other than 1 is not supported")
    if set(tensors) != wanted:
        raise ValueError(
            f"{where} holds {sorted(tensors)}; a {activation} SAE has {sorted(wanted)}"
        )
    expected = [fields.get("d_in"), fields.get("d_sae")]
    if list(tensors["W_enc"].shape) != expected:
        raise ValueError(
            f"{where}: W_enc has shape {list(tensors['W_enc'].shape)}, but its configuration says "
            f"[d_in, d_sae] = {expected}"
        )
    if fields.get("rescale_acts_by_decoder_norm"):
        # The same code and reconstruction with decoder rows of norm 1.
        norm = tensors["W_dec"].norm(dim=1)
        tensors["W_enc"], tensors["b_enc"] = tensors["W_enc"] * norm, tensors["b_enc"] * norm
        tensors["W_dec"] = tensors["W_dec"] / norm[:, None]
    normalisation, scale = _normalisation(fields, where)
    sae = SAE(
        **tensors,
        activation=activation,
        k=k,
        normalisation=normalisation,
        centred=_centred(fields, where),
        apply_b_dec_to_input=bool(fields.get("apply_b_dec_to_input", True)),
        hook_name=fields.get("hook_name"),
        model_name=fields.get("model_name"),
        prepend_bos=fields.get("prepend_bos"),
        metadata=kept,
    )
    return sae if scale is None else sae.scaled(scale)


def _weights(sae: SAE) -> list[tuple[str, Tensor]]:
    return [(name, tensor.detach()) for name, tensor in sae.named_parameters()]


def _known_fields(
    config: Mapping[str, Any], where: str, ignore: set[str]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """(what decides how the weights are used, what else is known), from both levels of the file."""
    if not isinstance(config, Mapping) or not isinstance(config.get("metadata", {}), Mapping):
        raise ValueError(f"{where}: the configuration is no JSON object with an object as metadata")
    metadata = dict(config.get("metadata", {}))
    flat = metadata | {name: value for name, value in config.items() if name != "metadata"}
    renamed = {"hook_point": "hook_name", "hook_point_head_index": "hook_head_index",
               "activation_fn_str": "activation_fn"}  # fmt: skip
    flat = {renamed.get(name, name): value for name, value in flat.items() if name not in ignore}
    honoured = set(_HONOURED_NAMES.split())
    unknown = sorted(set(flat) - honoured - _DESCRIPTIVE)
    if unknown:
        raise ValueError(
            f"{where} has unknown fields {unknown}, which may change how its weights are to be "
            f"used; if you know that they do not, pass ignore={unknown}"
        )
    for name, harmless in (("hook_head_index", None), ("reshape_activations", "none"),
                           ("finetuning_scaling_factor", False)):  # fmt: skip
        if flat.get(name, harmless) not in (harmless, None):
            raise ValueError(
                f"{where}: {name} = {flat[name]!r} is not supported, only {harmless!r}: it is not "
                "an SAE of whole residual vectors"
            )
    kept = {name: value for name, value in metadata.items() if name in _DESCRIPTIVE}
    return {name: flat[name] for name in honoured if name in flat}, kept


def _activation(fields: Mapping[str, Any], where: str) -> tuple[Activation, int | None]:
    architecture = fields.get("architecture", "standard")
    function = fields.get("activation_fn", "relu")
    if architecture == "standard" and function == "topk":  # as SAELens wrote it before version 6
        return "topk", int((fields.get("activation_fn_kwargs") or {}).get("k", 0))
    if architecture not in _ACTIVATIONS:
        raise ValueError(
            f"{where}: architecture {architecture!r} is not supported; known: "
            f"{', '.join(_ACTIVATIONS)}"
        )
    if architecture != "topk" and function != "relu":
        raise ValueError(f"{where}: activation_fn {function!r} is not supported, only 'relu'")
    if architecture == "topk":
        if not isinstance(fields.get("k"), int):
            raise ValueError(
                f"{where}: a topk SAE needs k, a whole number, not {fields.get('k')!r}"
            )
        return "topk", fields["k"]
    return _ACTIVATIONS[architecture], None


def _normalisation(fields: Mapping[str, Any], where: str) -> tuple[Normalisation, float | None]:
    """(what happens to each token, the constant scale to fold into the weights if there is one)."""
    named = fields.get("normalize_activations")
    if named in (None, False, "none"):
        return "none", None
    if named in ("layer_norm", "constant_norm_rescale"):
        return named, None
    if named in (True, "expected_average_only_in"):
        scale = fields.get("norm_scaling_factor")
        if not isinstance(scale, int | float):
            raise ValueError(
                f"{where}: normalize_activations = {named!r} without norm_scaling_factor: the "
                "scale that brings E‖x‖ to √d_in is missing; add it to cfg.json"
            )
        return "none", float(scale)
    raise ValueError(f"{where}: normalize_activations = {named!r} is not supported")


def _centred(fields: Mapping[str, Any], where: str) -> bool:
    """Whether the SAE reads a model whose writing weights are centred: a residual of mean 0."""
    processing = fields.get("model_from_pretrained_kwargs") or {}
    unknown = sorted(set(processing) - _HARMLESS_PROCESSING - {"center_writing_weights"})
    if unknown:
        raise ValueError(
            f"{where}: model_from_pretrained_kwargs {unknown} are not supported; they change the "
            "model that the SAE was trained on"
        )
    return bool(processing.get("center_writing_weights", False))


def _dtype(name: Any, where: str) -> torch.dtype:
    text = str(name or "float32").removeprefix("torch.")
    if text not in _DTYPES:
        raise ValueError(f"{where}: dtype {name!r} is none of {', '.join(_DTYPES)}")
    return _DTYPES[text]
