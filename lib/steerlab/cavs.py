"""Concept activation vectors: what a linear classifier separates, and what the model does with it.

A CAV is the unit normal of a linear SVM between residuals of one class and all others (Kim et al.,
2018). Residuals share a large mean, so they are centred by the training mean and scaled to
E‖x‖ = √d before the fit; without, every CAV carries the mean. A classifier's normal need not point
along what the concept adds to the residual: it also cancels what is correlated with it. The pattern
Σ·CAV does (Haufe et al., 2014), and steering is the place to compare the two.
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from steerlab.hooks import check_hook_names, read_batch
from steerlab.tokens import Mode, check_texts, encode, pad_left

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

COST = 0.05  # C of the SVM, on inputs of norm √d: chosen on the embedded corpus, held out

# ------------------------------------------------------------------------------------- pooling


@dataclass(frozen=True)
class Pooled:
    """One mean residual for each text that has one.

    means: [n_kept, d_model]; kept: which texts they belong to, [n_texts]. A text shorter than what
    is skipped has no token to average, and so no row; a row of zeros or NaN would be a lie.
    """

    means: Float[Tensor, "n_kept d_model"]
    kept: Bool[Tensor, " n_texts"]

    def labels(self, labels: Sequence[Any]) -> list[Any]:
        """Of one label a text, those of the texts that were kept. ValueError for another count."""
        if len(labels) != len(self.kept):
            raise ValueError(f"{len(labels)} labels for {len(self.kept)} texts; expected one each")
        return [label for label, keep in zip(labels, self.kept.tolist(), strict=True) if keep]


def masked_mean(
    resid: Float[Tensor, "batch pos d_model"], mask: Bool[Tensor, "batch pos"]
) -> Pooled:
    """Mean over the positions where the mask is true, row by row; rows without one are left out.

    Raises ValueError for shapes that do not fit, or NaN where the mask is true.
    """
    mask = mask.bool()
    if resid.ndim != 3 or resid.shape[:2] != mask.shape:
        raise ValueError(
            f"resid is {list(resid.shape)} and mask {list(mask.shape)}; expected "
            "[batch, pos, d_model] and [batch, pos]"
        )
    # Padding may hold anything, NaN too, and 0 · NaN is NaN: it is replaced, not multiplied away.
    inside = resid.masked_fill(~mask[..., None], 0.0).float()
    if not torch.isfinite(inside).all():
        raise ValueError("resid holds NaN or infinite values at positions that count")
    count = mask.sum(dim=1)
    kept = count > 0
    return Pooled(inside.sum(dim=1)[kept] / count[kept, None], kept)


@torch.no_grad()
def pool(
    model: TransformerBridge,
    texts: Sequence[str],
    hook_name: str,
    *,
    skip: int = 0,
    max_tokens: int = 128,
    mode: Mode = "raw",
    batch_size: int = 32,
) -> Pooled:
    """Mean residual of each text over its tokens after position 0 and `skip` more.

    skip: tokens whose meaning has not begun yet, e.g. 64 for newsgroup posts with their headers.
    max_tokens: where texts are cut, position 0 not counted; also at the model's context. Texts
    without a token beyond `skip` are left out of the means and marked in `kept`.
    Raises ValueError where no text is left.
    """
    texts = check_texts(texts)
    [hook_name] = check_hook_names(model, hook_name)
    for name, value, least in (("skip", skip, 0), ("max_tokens", max_tokens, 1)):
        if value < least:
            raise ValueError(f"{name} is {value}; expected {least} or more")
    limit = min(int(model.cfg.n_ctx), max_tokens + 1)
    rows = [encode(model, text, mode=mode)[:limit] for text in texts]
    d_model = int(model.cfg.d_model)
    means = torch.zeros(len(rows), d_model)
    kept = torch.tensor([len(row) > skip + 1 for row in rows])
    if not kept.any():
        raise ValueError(
            f"no text has a token beyond position 0 and skip = {skip} others (the longest has "
            f"{max(map(len, rows))} tokens); skip fewer, or pass longer texts"
        )
    order = sorted(kept.nonzero().flatten().tolist(), key=lambda i: len(rows[i]))
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        batch = pad_left(model, [rows[i] for i in chosen])
        resid = read_batch(model, batch, [hook_name])[hook_name]
        means[chosen] = masked_mean(resid, batch.positions > skip).means.cpu()
    return Pooled(means[kept], kept)


# --------------------------------------------------------------------------------------- fitting


@dataclass(frozen=True)
class CAVs:
    """Concept activation vectors of several concepts, of norm 1, for residuals at `hook_name`.

    vectors: [n_concepts, d_model]. mean and scale: what inputs were centred and scaled by for the
    fit (0 and 1 for raw ones); intercepts belong to inputs so prepared.
    """

    vectors: Float[Tensor, "n_concepts d_model"]
    labels: tuple[str, ...]
    mean: Float[Tensor, " d_model"]
    scale: float
    norms: Float[Tensor, " n_concepts"]
    intercepts: Float[Tensor, " n_concepts"]
    hook_name: str | None = None
    model_name: str | None = None

    def __getitem__(self, label: str) -> Float[Tensor, " d_model"]:
        """The CAV of a concept: `AddVector(cavs["ocean"], coefficient)` steers along it."""
        if label not in self.labels:
            raise ValueError(f"no CAV for {label!r}; there are {', '.join(self.labels)}")
        return self.vectors[self.labels.index(label)]

    def predict(self, means: Float[Tensor, "text d_model"]) -> list[str]:
        """The concept on whose side of its boundary each mean residual lies furthest."""
        inputs = (_finite(means, "means", self.vectors.shape[1]) - self.mean) * self.scale
        margins = inputs @ (self.vectors * self.norms[:, None]).T + self.intercepts
        return [self.labels[i] for i in margins.argmax(dim=1).tolist()]

    def accuracy(self, means: Float[Tensor, "text d_model"], labels: Sequence[str]) -> float:
        """Share of held-out texts given their own concept. ValueError for another count of labels."""
        if len(labels) != len(means) or not len(means):
            raise ValueError(f"{len(labels)} labels for {len(means)} means; expected one each")
        guesses = self.predict(means)
        return sum(g == label for g, label in zip(guesses, labels, strict=True)) / len(labels)

    def cosines(self) -> Float[Tensor, "n_concepts n_concepts"]:
        """Cosine of every CAV with every other: unrelated concepts of a good fit are near 0."""
        return self.vectors @ self.vectors.T

    def patterns(self, means: Float[Tensor, "text d_model"]) -> Float[Tensor, "n_concepts d_model"]:
        """Σ·CAV at norm 1: how residuals vary with each CAV's reading (Haufe et al., 2014)."""
        centred = _finite(means, "means", self.vectors.shape[1]).double()
        centred = centred - centred.mean(0)
        moved = self.vectors.double() @ centred.T @ centred
        return (moved / moved.norm(dim=1, keepdim=True)).float()

    def check_fits(self, model: TransformerBridge) -> str:
        """The hook point, which `model` has at this width; the model may be a sister of the first.

        CAVs of a base model may be added to its instruction-tuned sister: both have one
        architecture and nearly one residual stream. Raises ValueError where they do not fit.
        """
        if self.hook_name is None:
            raise ValueError("these CAVs do not say which hook point they belong to")
        if self.vectors.shape[1] != int(model.cfg.d_model):
            raise ValueError(
                f"the CAVs are {self.vectors.shape[1]} wide (fitted on "
                f"{self.model_name or 'an unnamed model'}), this model's residual "
                f"{model.cfg.d_model}"
            )
        return check_hook_names(model, self.hook_name)[0]


def fit_cavs(
    means: Float[Tensor, "text d_model"],
    labels: Sequence[str],
    *,
    raw: bool = False,
    cost: float = COST,
    seed: int = 0,
    hook_name: str | None = None,
    model_name: str | None = None,
) -> CAVs:
    """One linear SVM for each class against all others, on mean residuals (see `pool`).

    raw=True neither centres nor scales and has no intercept, as is often done: the shared mean then
    goes into every CAV, which the cosine map shows. cost: the SVM's C.
    Raises ValueError for one class alone, a count of labels that does not fit, values that are not
    finite, or residuals that are all the same.
    """
    from sklearn.svm import LinearSVC

    means = _finite(means, "means")
    classes = _classes(labels, len(means))
    mean, scale = _preparation(means, raw)
    inputs = ((means - mean) * scale).numpy()
    codes = np.array([classes.index(str(label)) for label in labels])
    svm = LinearSVC(C=cost, fit_intercept=not raw, max_iter=20_000, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # raw residuals converge slowly; the lesson is elsewhere
        svm.fit(inputs, codes)
    normals = torch.from_numpy(svm.coef_).float()
    intercepts = torch.as_tensor(np.broadcast_to(svm.intercept_, len(normals)).copy()).float()
    if len(classes) == 2:  # scikit-learn fits one boundary, towards the second class
        normals, intercepts = torch.cat([-normals, normals]), torch.cat([-intercepts, intercepts])
    norms = normals.norm(dim=1)
    return CAVs(
        normals / norms[:, None],
        tuple(classes),
        mean,
        scale,
        norms,
        intercepts,
        hook_name,
        model_name,
    )


def random_cavs(
    means: Float[Tensor, "text d_model"],
    n: int,
    seed: int,
    *,
    size: int = 50,
    cost: float = COST,
) -> Float[Tensor, "n d_model"]:
    """n CAVs that tell apart random sets of texts, `size` on either side: what chance gives.

    Labels play no part, so that a random CAV separates nothing but the draw (Kim et al., 2018).
    Raises ValueError for fewer than 2 · size texts (size is cut to half of them first, and must
    then still be at least 2).
    """
    from sklearn.svm import LinearSVC

    means = _finite(means, "means")
    size = min(size, len(means) // 2)
    if n < 1 or size < 2:
        raise ValueError(f"n = {n} random CAVs of {len(means)} texts; expected 1 or more of 4")
    mean, scale = _preparation(means, raw=False)
    inputs = ((means - mean) * scale).numpy()
    generator = torch.Generator().manual_seed(seed)
    sides = np.repeat([0, 1], size)
    normals = []
    for _ in range(n):
        chosen = torch.randperm(len(means), generator=generator)[: 2 * size].numpy()
        svm = LinearSVC(C=cost, max_iter=20_000, random_state=seed).fit(inputs[chosen], sides)
        normals.append(torch.from_numpy(svm.coef_[0]).float())
    drawn = torch.stack(normals)
    return drawn / drawn.norm(dim=1, keepdim=True)


def _preparation(means: Tensor, raw: bool) -> tuple[Tensor, float]:
    """(mean, scale) that bring E‖x − mean‖ to √d; (0, 1) for raw inputs."""
    if raw:
        return torch.zeros(means.shape[1]), 1.0
    mean = means.mean(0)
    spread = float((means - mean).norm(dim=1).mean())
    if spread <= 1e-6 * float(means.norm(dim=1).mean()):
        raise ValueError("means are all the same residual: no class can be told from another")
    return mean, means.shape[1] ** 0.5 / spread


def _classes(labels: Sequence[str], n: int) -> list[str]:
    if len(labels) != n:
        raise ValueError(f"{len(labels)} labels for {n} means; expected one each")
    classes = sorted({str(label) for label in labels})
    if len(classes) < 2:
        raise ValueError(
            f"labels name {len(classes)} class{'' if len(classes) == 1 else 'es'} "
            f"({', '.join(classes) or 'none'}); a CAV needs at least two to tell apart"
        )
    return classes


def _finite(means: Any, what: str, width: int | None = None) -> Float[Tensor, "text d_model"]:
    if not isinstance(means, Tensor) or means.ndim != 2 or not len(means):
        shape = list(means.shape) if isinstance(means, Tensor) else type(means).__name__
        raise ValueError(f"{what} is {shape}; expected a tensor [text, d_model] with a row or more")
    if width is not None and means.shape[1] != width:
        raise ValueError(f"{what} has {means.shape[1]} columns; expected d_model = {width}")
    bad = ~torch.isfinite(means).all(dim=1)
    if bad.any():
        raise ValueError(
            f"{what} holds NaN or infinite values in {int(bad.sum())} of {len(means)} rows (first: "
            f"row {int(bad.nonzero()[0])}); leave out texts that have no token to average"
        )
    return means.detach().float().cpu()


# ------------------------------------------------------------------------------------------ files


def save_cavs(cavs: CAVs, path: str | os.PathLike[str]) -> None:
    """Write CAVs as one safetensors file, its labels in the header."""
    tensors = {
        "cavs": cavs.vectors, "mean": cavs.mean, "norms": cavs.norms,
        "intercepts": cavs.intercepts, "scale": torch.tensor([cavs.scale]),
    }  # fmt: skip
    header = {"labels": json.dumps(cavs.labels)}
    for name in ("hook_name", "model_name"):
        if getattr(cavs, name) is not None:
            header[name] = getattr(cavs, name)
    save_file({k: v.contiguous() for k, v in tensors.items()}, path, metadata=header)
    Path(path).chmod(0o644)  # safetensors writes for the owner alone


def load_cavs(name: str | os.PathLike[str] = "tiny") -> CAVs:
    """CAVs of the embedded model ("tiny"), from what `save_cavs` wrote, or from a .pt file.

    A .pt file is a dictionary of `cavs` [n, d_model] and `labels`, as published for Gemma-2;
    nothing but tensors and plain values is unpickled from it. Raises FileNotFoundError, and
    ValueError for a file that holds no CAVs.
    """
    from steerlab.tiny import CAVS as tiny_cavs

    path = tiny_cavs if os.fspath(name) == "tiny" else Path(name)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; expected CAVs (.safetensors or .pt)")
    if path.suffix != ".safetensors":
        return _load_pickled(path)
    try:
        with safe_open(str(path), framework="pt") as file:
            header = file.metadata() or {}
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        labels = tuple(str(label) for label in json.loads(header["labels"]))
        parts = [tensors[key].float() for key in ("cavs", "mean", "scale", "norms", "intercepts")]
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"{path} holds no CAVs: {error}") from None
    vectors, mean, scale, norms, intercepts = parts
    names = {key: header.get(key) for key in ("hook_name", "model_name")}
    loaded = CAVs(vectors, labels, mean, float(scale), norms, intercepts, **names)
    return _checked(loaded, path)


def _load_pickled(path: Path) -> CAVs:
    from steerlab.sae.convert import read_checkpoint

    content = read_checkpoint(path)
    vectors, labels = content.get("cavs"), content.get("labels")
    if not isinstance(vectors, Tensor) or not isinstance(labels, list | tuple):
        raise ValueError(f"{path} holds {sorted(map(str, content))}; expected cavs and labels")
    n, width = len(vectors), vectors.shape[-1]
    found = CAVs(
        vectors.float(),
        tuple(map(str, labels)),
        torch.zeros(width),
        1.0,
        torch.ones(n),
        torch.zeros(n),
    )
    checked = _checked(found, path)
    return replace(checked, vectors=checked.vectors / checked.vectors.norm(dim=1, keepdim=True))


def _checked(cavs: CAVs, path: Path) -> CAVs:
    shape = list(cavs.vectors.shape)
    if len(shape) != 2 or shape[0] != len(cavs.labels) or len(set(cavs.labels)) != shape[0]:
        raise ValueError(f"{path}: CAVs of shape {shape} with {len(cavs.labels)} labels")
    if not torch.isfinite(cavs.vectors).all():
        raise ValueError(f"{path}: the CAVs hold NaN or infinite values")
    return cavs
