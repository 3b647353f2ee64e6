"""`load_sae(name)`: the embedded model's autoencoders, and public ones of larger models.

The embedded ones ship with the package. gpt2-small-res-jb and Gemma Scope come through SAELens,
which knows where they lie and how they were made (the optional extra `pretrained`); OLMo-2's is a
bare file on the hub, whose missing half is written down here with its source.
"""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from steerlab.hub import ModelUnavailable, first_line
from steerlab.sae.files import build_sae, read_sae, read_tensors
from steerlab.sae.labels import FeatureLabels
from steerlab.sae.model import SAE
from steerlab.sae.scores import check_reconstruction
from steerlab.tiny import SAES as TINY_SAES
from steerlab.tiny import read_record

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

TINY = ("jumprelu", "topk", "relu", "relu_dense")

# What the course uses of SAELens's catalogue; any other release of it loads as well.
RELEASES = ("gpt2-small-res-jb", "gemma-scope-2b-pt-res", "gemma-scope-2b-pt-res-canonical")

# Two hundred tokens of ordinary English, to see whether an autoencoder fits the model it is used on.
PROBE = (
    "The river rises in the hills north of the town and flows slowly through open farmland before it "
    "reaches the sea. For most of the nineteenth century it carried coal and timber, and the old "
    "warehouses along the quay still stand, although most of them have been turned into flats.",
    "She had not expected the letter to arrive so soon. It lay on the table between the coffee cups, "
    "and nobody wanted to be the first to open it. When her brother finally picked it up, he read it "
    "twice, folded it again, and said that they would have to sell the house before winter.",
    "To install the package, create a new environment and run the setup script. If the tests fail, "
    "check that the compiler is recent enough, and report the version number together with the error.",
)


@dataclass(frozen=True)
class BareFile:
    """A public autoencoder that lacks what it takes to use it, with that and where it is said.

    final_norm: the residual was read after the model's final normalisation, which is then part of
    what the autoencoder expects. The input scale, √d / E‖x‖, is estimated on the model at hand.
    """

    hub_id: str
    model_name: str
    hook_name: str
    final_norm: bool
    source: str
    weights: str = "sae_weights.safetensors"
    config: str = "sae_config.json"


BARE_FILES = {
    "olmo2-7b-sae-65k-v1": BareFile(
        hub_id="open-concept-steering/olmo2-7b-sae-65k-v1",
        model_name="allenai/OLMo-2-1124-7B-Instruct",
        hook_name="blocks.15.hook_resid_post",
        final_norm=True,
        # Its collect_dataset.py keeps half of the layers and takes hidden_states[-1], to which
        # transformers has applied the final norm; its train.py scales to E‖x‖ = √d.
        source="H. Freed, Open Concept Steering, 2025, collect_dataset.py and train.py",
    )
}


def load_sae(
    name: str | os.PathLike[str] = "tiny",
    model: TransformerBridge | None = None,
    *,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    ignore: Iterable[str] = (),
) -> SAE:
    """Load an autoencoder by name or from a folder in SAELens's format.

    name: "tiny" (JumpReLU), "tiny/topk", "tiny/relu" or "tiny/relu_dense" (six times as many
    features active as in "relu"), which ship with the package;
    "<release>/<id>" of SAELens's catalogue, e.g. "gpt2-small-res-jb/blocks.6.hook_resid_pre" or
    "gemma-scope-2b-pt-res/layer_21/width_65k/average_l0_20"; "olmo2-7b-sae-65k-v1"; or a path.
    model: if given, the autoencoder goes to its device, and a warning says so where it leaves more
    than half of the variance of 200 tokens unexplained: wrong hook, scale or model. OLMo-2's needs
    it. dtype: what to compute in. ignore: unknown fields of a configuration to pass over.

    Raises ValueError for an unknown name or a file that does not say how it is to be used,
    FileNotFoundError for a folder without an autoencoder, ModelUnavailable for one that cannot be
    fetched or needs sae-lens where that is missing.
    """
    text = os.fspath(name)
    place: Any = device or (model.cfg.device if model is not None else "cpu")
    if text == "tiny" or text.startswith("tiny/"):
        folder = tiny_folder(text)
        sae = read_sae(folder, device=place, dtype=dtype, ignore=ignore)
    elif isinstance(name, os.PathLike) or Path(text).is_dir():
        sae = read_sae(text, device=place, dtype=dtype, ignore=ignore)
    elif text in BARE_FILES:
        sae = _load_bare(text, BARE_FILES[text], model, place, dtype)
    else:
        sae = _load_through_sae_lens(text, place, dtype, ignore)
    if model is not None:
        check_reconstruction(sae, model, _probe_texts(text))
    return sae


def load_labels(name: str | os.PathLike[str] = "tiny") -> FeatureLabels:
    """Feature labels of an autoencoder that ships with the package, or from a JSON file.

    Raises FileNotFoundError where there are none.
    """
    text = os.fspath(name)
    shipped = text == "tiny" or text.startswith("tiny/")
    return FeatureLabels.load(tiny_folder(text) / "labels.json" if shipped else text)


@dataclass(frozen=True)
class Frontier:
    """What sparsity cost in recorded trainings: for each kind of SAE its points, by L0.

    A point has "l0", "fvu", "dead", "loss_recovered", and "sparsity" or "k". n and made: what a
    figure prints of it.
    """

    points: dict[str, list[dict[str, float]]]
    n: str
    made: str


def load_frontier(name: str = "tiny") -> Frontier | None:
    """The recorded trainings that ship with a model; None for a model that ships none."""
    if name != "tiny":
        return None
    found, made = read_record(TINY_SAES / "frontier.json")
    points: dict[str, list[dict[str, float]]] = {}
    for point in found["points"]:
        kind = point.pop("kind")
        points.setdefault(kind, []).append(point)
    for of_kind in points.values():
        of_kind.sort(key=lambda point: point["l0"])
    return Frontier(
        points,
        n=f"{found['held_out_tokens']:,} tokens, {found['loss_documents']} texts a point",
        made=made,
    )


@dataclass(frozen=True)
class Scaling:
    """What the size of a dictionary bought in recorded trainings: each kind's points, by size.

    A point has "d_sae", "l0", "fvu", "dead", "loss_recovered", "topics_found" and "cpu_seconds".
    "topk" was trained at one k, "relu" at one λ (`sparsity`), all for as many `steps`. n and made:
    what a figure prints of it.
    """

    points: dict[str, list[dict[str, float]]]
    k: int
    sparsity: float
    steps: int
    n: str
    made: str


def load_scaling(name: str = "tiny") -> Scaling | None:
    """The recorded trainings of many sizes that ship with a model; None for one that ships none."""
    if name != "tiny":
        return None
    found, made = read_record(TINY_SAES / "scaling.json")
    points: dict[str, list[dict[str, float]]] = {}
    for point in sorted(found["points"], key=lambda point: point["d_sae"]):
        points.setdefault(point.pop("kind"), []).append(point)
    tokens = found["points"][0]["held_out_tokens"]
    return Scaling(
        points,
        k=found["k"],
        sparsity=found["sparsity"],
        steps=found["steps"],
        n=f"{tokens:,} held-out tokens a point",
        made=made,
    )


def tiny_folder(name: str) -> Path:
    """The folder of one of the embedded model's autoencoders. Raises ValueError if unknown."""
    kind = name.partition("/")[2] or TINY[0]
    if kind not in TINY:
        known = ", ".join(f"'tiny/{each}'" for each in TINY)
        raise ValueError(f"unknown SAE {name!r}; the embedded model has {known}")
    return TINY_SAES / kind


def _probe_texts(name: str) -> Sequence[str]:
    """Ordinary text for the model: English, or the embedded model's own corpus."""
    if name == "tiny" or name.startswith("tiny/"):
        from steerlab.data import generate

        return [document.text for document in generate(20, 7_000_011)]
    return PROBE


def _load_through_sae_lens(
    name: str, device: str | torch.device, dtype: torch.dtype | None, ignore: Iterable[str]
) -> SAE:
    """An autoencoder of SAELens's catalogue, with every field that SAELens knows of it."""
    try:
        from sae_lens import SAE as LensSAE
        from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory
    except ImportError:
        raise ModelUnavailable(
            f"{name!r} comes through sae-lens, which is not installed: run "
            '`pip install "steerlab[pretrained]"`, or use load_sae("tiny")'
        ) from None
    release, _, sae_id = name.partition("/")
    catalogue = get_pretrained_saes_directory()
    if release not in catalogue:
        known = [*(f"tiny/{each}" for each in TINY), *BARE_FILES, *catalogue]
        close = get_close_matches(release, known, n=3)
        hint = f"; close to it: {', '.join(close)}" if close else ""
        raise ValueError(
            f"unknown SAE {name!r}{hint}. Known: 'tiny', "
            f"{', '.join(map(repr, [*RELEASES, *BARE_FILES]))}, every other release of SAELens as "
            "'<release>/<id>', or the path of a folder"
        )
    if sae_id not in catalogue[release].saes_map:
        ids = list(catalogue[release].saes_map)
        close = get_close_matches(sae_id, ids, n=3, cutoff=0.3) or ids[:3]
        raise ValueError(
            f"release {release!r} has no SAE {sae_id!r}; close to it: "
            + ", ".join(f"'{release}/{each}'" for each in close)
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice to its own model class
        try:
            lens = LensSAE.from_pretrained(release, sae_id, device=str(device))
        except Exception as error:
            raise ModelUnavailable(
                f"{name!r} cannot be fetched ({type(error).__name__}: {first_line(error)}): is the "
                'hub in reach, and its licence accepted? load_sae("tiny") needs no network'
            ) from error
    return from_sae_lens(lens, name, device=device, dtype=dtype, ignore=ignore)


def from_sae_lens(
    lens: Any,
    where: str = "this sae_lens.SAE",
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
    ignore: Iterable[str] = (),
) -> SAE:
    """An autoencoder from a loaded `sae_lens.SAE`. Raises ValueError for a field that is unknown."""
    config = lens.cfg.to_dict()
    return build_sae(config, lens.state_dict(), where, device=device, dtype=dtype, ignore=ignore)


# ---------------------------------------------------------------------------------- bare files


def _load_bare(
    name: str,
    entry: BareFile,
    model: TransformerBridge | None,
    device: str | torch.device,
    dtype: torch.dtype | None,
) -> SAE:
    """Fetch a bare file and read it with its registry entry."""
    from huggingface_hub import hf_hub_download

    if model is None:
        raise ValueError(
            f"{name!r} does not store its input scale: pass the model, load_sae({name!r}, model)"
        )
    try:
        paths = [hf_hub_download(entry.hub_id, each) for each in (entry.weights, entry.config)]
    except Exception as error:
        raise ModelUnavailable(
            f"{entry.hub_id} cannot be fetched ({type(error).__name__}: {first_line(error)}); "
            'load_sae("tiny") needs no network'
        ) from error
    config = json.loads(Path(paths[1]).read_text(encoding="utf-8"))
    return read_bare(config, read_tensors(paths[0]), entry, model, device=device, dtype=dtype)


def read_bare(
    config: dict[str, Any],
    weights: dict[str, Tensor],
    entry: BareFile,
    model: TransformerBridge,
    *,
    device: str | torch.device = "cpu",
    dtype: torch.dtype | None = None,
) -> SAE:
    """A ReLU autoencoder of `nn.Linear` weights, for the residual at the entry's hook point.

    Where it reads the residual after the final norm, x/rms(x) ⊙ w, and scaled by c: the w and the
    c go into the weights, and x/rms(x) is the normalisation that it keeps.
    Raises ValueError for other weights, or a configuration of another size.
    """
    from steerlab.activations import collect

    d_in, d_sae = config.get("input_size"), config.get("hidden_size")
    expected = {"encode.weight": [d_sae, d_in], "encode.bias": [d_sae],
                "decode.weight": [d_in, d_sae], "decode.bias": [d_in]}  # fmt: skip
    given = {key: list(tensor.shape) for key, tensor in weights.items()}
    if given != expected:
        raise ValueError(f"{entry.hub_id} holds {given}; its configuration asks for {expected}")
    texts = list(PROBE)
    values = collect(model, texts, entry.hook_name).values[entry.hook_name]
    weight = torch.ones(values.shape[1])
    if entry.final_norm:
        weight = _final_norm_weight(model)
        values = values / values.square().mean(dim=1, keepdim=True).sqrt() * weight
    scale = math.sqrt(values.shape[1]) / float(values.norm(dim=1).mean())
    factor = (weight * scale).to(device)
    tensors = {key: tensor.to(device, dtype or torch.float32) for key, tensor in weights.items()}
    return SAE(
        tensors["encode.weight"].T * factor[:, None].to(tensors["encode.weight"]),
        tensors["encode.bias"],
        tensors["decode.weight"].T / factor.to(tensors["decode.weight"]),
        tensors["decode.bias"] / factor.to(tensors["decode.bias"]),
        normalisation="constant_norm_rescale" if entry.final_norm else "none",
        apply_b_dec_to_input=False,
        hook_name=entry.hook_name,
        model_name=entry.model_name,
        metadata={"release": entry.hub_id},
    )


def _final_norm_weight(model: TransformerBridge) -> Tensor:
    """The weight of the final RMSNorm. Raises ValueError for a model that has none."""
    norm = getattr(getattr(model.original_model, "model", None), "norm", None)
    weight = getattr(norm, "weight", None)
    if not isinstance(weight, Tensor):
        raise ValueError("this SAE reads the residual after a final RMSNorm, which the model lacks")
    return weight.detach().float().cpu()
