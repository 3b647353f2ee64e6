"""Old checkpoints, brought into SAELens's format: `steerlab convert`.

Research code saves autoencoders as it pleases: inside a `state_dict`, under the prefix that
`torch.compile` leaves, with W_dec as `nn.Linear` has it. A pickled file can run any code when it
is opened, so only tensors and plain values are ever unpickled (torch's `weights_only`).
"""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from steerlab.sae.files import read_tensors
from steerlab.sae.model import SAE, Activation

# {ours: what others call it}; the second list is nn.Linear's weight, [out, in].
_NAMES = {
    "W_enc": (("W_enc", "w_enc", "W_e"), ("encoder.weight", "encode.weight", "enc.weight")),
    "W_dec": (("W_dec", "w_dec", "W_d"), ("decoder.weight", "decode.weight", "dec.weight")),
    "b_enc": (("b_enc", "encoder_bias", "encoder.bias", "encode.bias", "enc.bias"), ()),
    "b_dec": (("b_dec", "decoder_bias", "decoder.bias", "decode.bias", "dec.bias"), ()),
    "threshold": (("threshold",), ()),
    "log_threshold": (("log_threshold",), ()),
}
_WRAPPERS = ("state_dict", "model_state_dict", "model", "sae")
_PREFIXES = re.compile(r"^(?:_orig_mod\.|module\.|sae\.)+")


def convert_checkpoint(
    path: str | os.PathLike[str],
    *,
    hook_name: str,
    model_name: str | None = None,
    activation: Activation | None = None,
    k: int | None = None,
    scale: float = 1.0,
    b_dec_on_input: bool | None = None,
    ignore: Iterable[str] = (),
) -> SAE:
    """Read an autoencoder from a .pt or .safetensors file of somebody else's code.

    hook_name: where it reads the residual; files do not say. activation: None is "jumprelu" for a
    file with thresholds, "topk" with k, and else "relu". scale: what the residual was multiplied by
    in training. b_dec_on_input: whether b_dec is subtracted before encoding; None takes the
    file's word or, for `nn.Linear` layers, no. ignore: names of tensors to pass over.

    Raises FileNotFoundError, and ValueError for a file that holds anything but tensors and plain
    values, has no encoder or decoder, or leaves open how it is to be used.
    """
    path = Path(path)
    content = read_checkpoint(path)
    config = _config(content)
    tensors = _state(content, path)
    found, linear = _named(tensors, set(ignore), path)
    b_enc, b_dec = found.get("b_enc"), found.get("b_dec")
    d_in, d_sae = _sizes(found, config, path)
    W_enc = _oriented(found["W_enc"], (d_in, d_sae), "W_enc" in linear, f"{path}: W_enc")
    W_dec = _oriented(found["W_dec"], (d_sae, d_in), "W_dec" in linear, f"{path}: W_dec")
    threshold = found.get("threshold")
    if "log_threshold" in found:
        threshold = found["log_threshold"].exp()
    if b_dec_on_input is None:
        b_dec_on_input = config.get("apply_b_dec_to_input", False if linear else None)
    if b_dec_on_input is None and b_dec is not None and bool(b_dec.any()):
        raise ValueError(
            f"{path} does not say whether b_dec is subtracted before encoding; pass "
            "--b-dec-on-input yes or no"
        )
    k = k if k is not None else config.get("k")
    kind: Any = activation or ("jumprelu" if threshold is not None else "topk" if k else "relu")
    sae = SAE(
        W_enc,
        b_enc if b_enc is not None else torch.zeros(d_sae),
        W_dec,
        b_dec if b_dec is not None else torch.zeros(d_in),
        activation=kind,
        k=k if kind == "topk" else None,
        threshold=threshold,
        apply_b_dec_to_input=bool(b_dec_on_input),
        hook_name=hook_name,
        model_name=model_name,
    )
    return sae.scaled(scale)


def read_checkpoint(path: str | os.PathLike[str]) -> Mapping[str, Any]:
    """The content of a checkpoint file: tensors and plain values, never anything executable.

    Raises FileNotFoundError, and ValueError for a file that is none or holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}")
    if path.suffix == ".safetensors":
        return read_tensors(path)
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).strip().splitlines()[0][:200]
        raise ValueError(
            f"{path} was refused: it is no torch checkpoint, or holds more than tensors and plain "
            f"values, which opening it could execute ({reason})"
        ) from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise ValueError(f"{path} is not a torch checkpoint: {str(error)[:200]}") from None
    if isinstance(content, (list, tuple)) and content and isinstance(content[0], Mapping):
        content = content[0]
    if not isinstance(content, Mapping):
        raise ValueError(
            f"{path} holds a {type(content).__name__}; expected a dictionary of tensors"
        )
    return content


def _config(content: Mapping[str, Any]) -> dict[str, Any]:
    """Plain values that the file holds beside its tensors."""
    config: dict[str, Any] = {}
    for part in (content.get("config"), content.get("cfg"), content):
        if isinstance(part, Mapping):
            config = {
                str(key): value
                for key, value in part.items()
                if isinstance(value, int | float | str | bool)
            } | config
    return config


def _state(content: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    """The tensors, out of their wrapper, without compile's and DDP's prefixes."""
    inner = next((content[w] for w in _WRAPPERS if isinstance(content.get(w), Mapping)), content)
    tensors = {
        _PREFIXES.sub("", str(key)): value.float()
        for key, value in inner.items()
        if isinstance(value, Tensor)
    }
    if not tensors:
        raise ValueError(f"{path} holds no tensors, only {sorted(map(str, content))}")
    return tensors


def _named(
    tensors: dict[str, Tensor], ignore: set[str], path: Path
) -> tuple[dict[str, Tensor], set[str]]:
    """({our name: tensor}, those in nn.Linear's layout)."""
    found, linear, used = {}, set(), set(ignore)
    for name, (plain, as_linear) in _NAMES.items():
        for other in (*plain, *as_linear):
            if other in tensors and name not in found and other not in ignore:
                found[name] = tensors[other]
                used.add(other)
                if other in as_linear:
                    linear.add(name)
    for name in ("W_enc", "W_dec"):
        if name not in found:
            half = "encoder" if name == "W_enc" else "decoder"
            raise ValueError(
                f"{path} has no {half} ({name}): it holds {sorted(tensors)}. Half an autoencoder "
                "cannot encode and decode; convert the checkpoint that training saved"
            )
    unknown = sorted(set(tensors) - used)
    if unknown:
        raise ValueError(
            f"{path} holds unknown tensors {unknown}, which may be part of how it encodes; if they "
            "are not, pass --ignore with their names"
        )
    return found, linear


def _sizes(found: dict[str, Tensor], config: dict[str, Any], path: Path) -> tuple[int, int]:
    """(d_in, d_sae), from the biases, the configuration, or the shapes of the two matrices."""
    sides = sorted(found["W_enc"].shape)
    if found["W_enc"].ndim != 2 or sorted(found["W_dec"].shape) != sides:
        raise ValueError(
            f"{path}: encoder {list(found['W_enc'].shape)} and decoder "
            f"{list(found['W_dec'].shape)} are not the two halves of one autoencoder"
        )
    claims = {
        "d_in": [config.get("d_in"), config.get("input_size")],
        "d_sae": [config.get("d_sae"), config.get("hidden_size")],
    }
    for name, bias in (("d_in", "b_dec"), ("d_sae", "b_enc")):
        if bias in found:
            claims[name].append(len(found[bias]))
    said = {name: {c for c in values if c is not None} for name, values in claims.items()}
    # Two sides are two answers: one of them settles the other. With neither, the wider one is the
    # dictionary.
    guesses = [tuple(sides), tuple(sides[::-1])]
    fitting = [g for g in guesses if said["d_in"] <= {g[0]} and said["d_sae"] <= {g[1]}]
    if not fitting:
        raise ValueError(
            f"{path}: its matrices are {sides[0]} by {sides[1]}, but biases and configuration say "
            f"d_in = {sorted(said['d_in'])}, d_sae = {sorted(said['d_sae'])}"
        )
    return int(fitting[0][0]), int(fitting[0][1])


def _oriented(matrix: Tensor, shape: tuple[int, int], is_linear: bool, what: str) -> Tensor:
    """The matrix as [rows, columns] = shape, transposed where it lies the other way."""
    if shape[0] == shape[1]:
        return matrix.T.contiguous() if is_linear else matrix
    if tuple(matrix.shape) == shape:
        return matrix
    if tuple(matrix.shape) == shape[::-1]:
        return matrix.T.contiguous()
    raise ValueError(
        f"{what} has shape {list(matrix.shape)}; expected {list(shape)} or its transpose"
    )
