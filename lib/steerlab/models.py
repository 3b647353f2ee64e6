"""`load_model(name)`: every language model of the course, as one kind of object.

A model is a TransformerLens `TransformerBridge` in evaluation mode with frozen weights, left
padding and a pad token, in a dtype and on a device that fit the machine. "tiny" ships inside the
package and needs neither network nor GPU; the other names come from the Hugging Face hub.
"""

from __future__ import annotations

import contextlib
import gc
import json
import math
import os
import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import transformers
from transformer_lens.model_bridge import TransformerBridge

from steerlab.hub import (
    KNOWN,
    ModelSource,
    ModelUnavailable,
    Shape,
    check_checkpoint,
    explain_failure,
    fetchable,
    first_line,
    known_names,
    name_or_folder,
)
from steerlab.machine import this_machine
from steerlab.planning import GIB, NEGLIGIBLE, Device, Machine, choose, refusal
from steerlab.tiny import CHECKPOINT as TINY_FOLDER

# Set to a known name (the grading sandbox sets "tiny"): every known name then gives that model.
ONLY_MODEL_VARIABLE = "STEERLAB_ONLY_MODEL"

_preloaded: dict[str, TransformerBridge] = {}


def load_model(
    name: str | os.PathLike[str] = "tiny",
    *,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> TransformerBridge:
    """Load a language model by its course name, its hub id, or the path of a checkpoint folder.

    device: CUDA where there is one, else CPU. dtype: float32 for small models and on a CPU that has
    room for it, else bfloat16, or float16 on a GPU that only emulates bfloat16; a model too large
    for the GPU is loaded in 4 bits when bitsandbytes is installed (`steerlab doctor` says what
    would be chosen). A dtype that you name is taken, whether or not it fits.

    Raises ValueError for an unknown name, FileNotFoundError for a folder that holds no model, and
    ModelUnavailable when a model cannot be fetched, or, before anything is downloaded, where it
    does not fit.
    """
    resolved = resolve_name(name)
    if device is None and dtype is None and resolved in _preloaded:
        return _preloaded.pop(resolved)
    source = KNOWN.get(resolved)
    folder = TINY_FOLDER if resolved == "tiny" else None if source else Path(resolved)
    if folder is not None:
        _check_folder(folder)
    shape = source.shape if source is not None else shape_of(Path(resolved))
    latents = source.latents if source is not None else 0
    plan = plan_load(shape, device, dtype, name=str(resolved), latents=latents)
    target = str(folder) if folder is not None else fetchable(KNOWN[resolved])
    try:
        model = _load_checked(target, plan, source, shape)
        model.cfg.model_name = source.hub_id if source and source.hub_id else target
        return model
    except (ModelUnavailable, ValueError):
        raise
    except Exception as error:
        if folder is not None:
            reason = f"{type(error).__name__}: {first_line(error)}"
            raise ValueError(f"the checkpoint in {folder} cannot be loaded: {reason}") from error
        raise ModelUnavailable(explain_failure(str(resolved), error)) from error


def preload(name: str = "tiny") -> None:
    """Load a model now; the next `load_model(name)` hands out that very object, once.

    A warm grading kernel does this before it starts: the student's first call then costs nothing.
    """
    resolved = resolve_name(name)
    _preloaded.pop(resolved, None)
    _preloaded[resolved] = load_model(resolved)


def resolve_name(name: str | os.PathLike[str]) -> str:
    """The known name or the folder that `name` stands for. A hub id stands for its known name.

    Under STEERLAB_ONLY_MODEL every known name stands for the one model named there, and a line is
    printed. Raises ValueError for an unknown name, TypeError for something that is no name.
    """
    if not isinstance(name, str | os.PathLike):
        raise TypeError(f"a model is named by a string or a path, not {type(name).__name__}")
    text = name_or_folder(name)
    only = os.environ.get(ONLY_MODEL_VARIABLE)
    if text not in KNOWN or not only or only == text:
        return text
    if only not in KNOWN:
        raise ValueError(f"{ONLY_MODEL_VARIABLE}={only!r}; known models: {known_names()}")
    if (text, only) not in _announced:
        print(f"Here every model is {only!r}: {text!r} is not loaded.")
        _announced.add((text, only))
    return only


_announced: set[tuple[str, str]] = set()


def known_name_of(model: TransformerBridge) -> str | None:
    """The course name of a loaded model, or None for one that came from another folder."""
    loaded_from = str(model.cfg.model_name)
    for name, source in KNOWN.items():
        if loaded_from == (source.hub_id or str(TINY_FOLDER)):
            return name
    return None


def _check_folder(folder: Path) -> None:
    """Raise FileNotFoundError unless the folder looks like a Hugging Face checkpoint."""
    if folder == TINY_FOLDER and not (folder / "config.json").is_file():
        raise FileNotFoundError(
            f"the embedded model is missing from {folder}: install steerlab again, "
            "or train it with `python -m steerlab.tiny.train`"
        )
    check_checkpoint(folder)


def shape_of(folder: Path) -> Shape:
    """Sizes of the model in a checkpoint folder, 0 where its files do not say.

    Files that cannot be read raise nothing here: the loader explains them better.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        config = {}

    def size(*names: str, default: int = 0) -> int:
        found = next((config[name] for name in names if isinstance(config.get(name), int)), default)
        return int(found)

    width, heads = size("hidden_size", "n_embd"), size("num_attention_heads", "n_head")
    return Shape(
        parameters=sum(_parameters_in(file) for file in folder.glob("*.safetensors")),
        n_layers=size("num_hidden_layers", "n_layer"),
        d_model=width,
        n_heads=heads,
        n_kv_heads=size("num_key_value_heads", default=heads),
        d_head=size("head_dim", default=width // max(heads, 1)),
        d_mlp=size("intermediate_size", "n_inner", default=4 * width),
        d_vocab=size("vocab_size"),
        tied=bool(config.get("tie_word_embeddings", True)),
    )


def _parameters_in(file: Path) -> int:
    """Numbers in a safetensors file, from its header; a file without one counts as 16-bit numbers."""
    try:
        with file.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header = json.loads(stream.read(min(length, 2**27)))
        return sum(
            math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__"
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, struct.error):
        return file.stat().st_size // 2


# ---------------------------------------------------------------- what fits this machine


@dataclass(frozen=True)
class LoadPlan:
    """Device, dtype and whether the weights are quantised to 4 bits. `chosen`: dtype was ours."""

    device: torch.device
    dtype: torch.dtype
    four_bit: bool
    chosen: bool


def plan_load(
    shape: Shape,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    *,
    name: str = "the model",
    latents: int = 0,
    machine: Machine | None = None,
) -> LoadPlan:
    """Device, dtype and quantisation for a model of that shape on this machine, or on `machine`.

    The choice is that of `steerlab.planning.choose`. A dtype that is given is taken as it is.
    Raises ValueError for a device that torch does not have, and ModelUnavailable for a model that
    does not fit, with the way out.
    """
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if place.type == "cuda" and not torch.cuda.is_available():
        raise ValueError('device="cuda", but torch sees no GPU here; leave device out')
    if dtype is not None:
        return LoadPlan(place, dtype, False, chosen=False)
    if shape.parameters * 4 / GIB <= NEGLIGIBLE:
        return LoadPlan(place, torch.float32, False, chosen=True)
    kind: Device = "cuda" if place.type == "cuda" else "cpu"
    machine = machine or this_machine(place)
    choice = choose(shape, machine, device=kind, latents=latents)
    if not choice.loads:
        raise ModelUnavailable(refusal(name, shape, machine, choice, latents))
    return LoadPlan(place, getattr(torch, choice.dtype), choice.four_bit, chosen=True)


# ---------------------------------------------------------------- loading


def _load_checked(
    target: str, plan: LoadPlan, source: ModelSource | None, shape: Shape
) -> TransformerBridge:
    """Boot the model; where float16 gives logits that are not finite, use float32 instead.

    Raises ModelUnavailable where float32 does not fit.
    """
    with _quiet(downloads=source is not None and source.hub_id is not None):
        model = _boot(target, plan, source)
        if plan.dtype != torch.float16 or _finite(model):
            return model
        if not plan.chosen:
            raise ValueError(
                f"{target} gives logits that are not finite in float16; "
                "pass dtype=torch.float32 or torch.bfloat16"
            )
        del model
        gc.collect()
        torch.cuda.empty_cache()  # nothing where there is no GPU
        plan = _in_float32(target, plan, source, shape)
        model = _boot(target, plan, source)
    print(f"{target} overflows in float16 and was loaded in float32 (twice the memory).")
    return model


def _in_float32(target: str, plan: LoadPlan, source: ModelSource | None, shape: Shape) -> LoadPlan:
    """The same plan in float32. Raises ModelUnavailable where that does not fit."""
    kind: Device = "cuda" if plan.device.type == "cuda" else "cpu"
    latents, machine = source.latents if source else 0, this_machine(plan.device)
    choice = choose(shape, machine, device=kind, dtype="float32", latents=latents)
    if not choice.loads:
        why = refusal(source.name if source else target, shape, machine, choice, latents)
        raise ModelUnavailable(f"{target} overflows in float16, and {why}")
    return replace(plan, dtype=torch.float32, four_bit=False)


def _boot(target: str, plan: LoadPlan, source: ModelSource | None) -> TransformerBridge:
    arguments: dict[str, Any] = {"device": plan.device, "dtype": plan.dtype}
    if source is not None and source.hub_id is not None:
        arguments["revision"] = source.revision
    if plan.four_bit:
        arguments["hf_model"] = transformers.AutoModelForCausalLM.from_pretrained(
            target,
            revision=arguments.get("revision", "main"),
            dtype=plan.dtype,  # of what is not quantised: embeddings and norms
            quantization_config=transformers.BitsAndBytesConfig(
                load_in_4bit=True,
                bnb_4bit_quant_type="nf4",
                bnb_4bit_compute_dtype=plan.dtype,
            ),
            device_map={"": plan.device},
            attn_implementation="eager",
        )
    model = TransformerBridge.boot_transformers(target, **arguments)
    model.eval()
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    model.tokenizer.padding_side = "left"
    if model.tokenizer.pad_token_id is None:
        model.tokenizer.pad_token = model.tokenizer.eos_token
    return model


def _finite(model: TransformerBridge) -> bool:
    """Whether a short ordinary text gives finite logits."""
    with torch.no_grad():
        logits = model(model.to_tokens("The cat sat on the mat, and then it saw 12 birds."))
    return bool(torch.isfinite(logits).all())


@contextlib.contextmanager
def _quiet(*, downloads: bool) -> Iterator[None]:
    """Keep the loaders' warnings and weight bars off the notebook; download bars stay if asked."""
    from huggingface_hub.utils import are_progress_bars_disabled, enable_progress_bars
    from huggingface_hub.utils import logging as hub_log
    from transformers.utils import logging as log

    verbosity, hub_verbosity = log.get_verbosity(), hub_log.get_verbosity()
    bars, hub_off = log.is_progress_bar_enabled(), are_progress_bars_disabled()
    log.set_verbosity_error()
    hub_log.set_verbosity_error()
    log.disable_progress_bar()
    if downloads and not hub_off:
        enable_progress_bars()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.set_verbosity(verbosity)
        hub_log.set_verbosity(hub_verbosity)
        if bars:
            log.enable_progress_bar()
        if not hub_off:
            enable_progress_bars()
