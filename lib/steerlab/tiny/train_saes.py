"""Make the autoencoders, labels and CAVs that ship with the embedded model.

    python -m steerlab.tiny.train_saes --out DIR [--steps-scale 1.0]

Residuals are taken where `course_settings("tiny")` steers. Written are, for each autoencoder, a
folder in SAELens's format with feature labels, then `cavs.safetensors`, and a card with what was
measured. Equal arguments give equal weights on the same machine. (`frontier.json` and
`scaling.json`, which lie beside the folders, are made by `python -m steerlab.tiny.frontier` and
`.scaling`.)
"""

from __future__ import annotations

import argparse
import datetime
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from steerlab.activations import Activations, collect
from steerlab.cavs import fit_cavs, save_cavs
from steerlab.data import TOPICS, Document, generate
from steerlab.models import load_model
from steerlab.sae.features import FeatureMatch, baselines, document_scores, match_concepts
from steerlab.sae.files import read_sae, save_sae
from steerlab.sae.labels import label_features
from steerlab.sae.model import SAE
from steerlab.sae.scores import LossRecovered, Scores, evaluate_sae, loss_recovered
from steerlab.sae.training import Recipe, Trained, train_sae
from steerlab.settings import course_settings

RECIPES = {
    "jumprelu": Recipe("jumprelu", steps=3000, sparsity=0.65, batch_size=1024),
    "topk": Recipe("topk"),
    "relu": Recipe("relu"),
    "relu_dense": Recipe("relu", sparsity=0.3),  # to compare with: good at everything but clamping
}
ATTRIBUTES = ("topic", "sentiment", "civility", "register")
# Seeds of the four sets of documents: no two of them share a draw.
TRAIN_SEED, HELD_OUT_SEED, SELECT_SEED, JUDGE_SEED, LOSS_SEED = 21, 22, 23, 24, 25


@dataclass(frozen=True)
class Material:
    """Residuals to train on and to judge by, and labelled documents in two halves."""

    hook_name: str
    train: torch.Tensor
    held_out: torch.Tensor
    halves: tuple[tuple[Activations, list[Document]], tuple[Activations, list[Document]]]

    @property
    def topics(self) -> tuple[list[str | None], list[str | None]]:
        """The topics of both halves."""
        first, second = ([d.topic for d in documents] for _, documents in self.halves)
        return first, second


def gather(model, n_train: int = 12_000, n_half: int = 3000) -> Material:
    """Read the embedded corpus's residuals; topic documents are about half of it."""
    hook_name = course_settings(model).hook_name

    def read(documents: list[Document]) -> Activations:
        return collect(model, [d.text for d in documents], hook_name, batch_size=64)

    half = [generate(n_half, seed) for seed in (SELECT_SEED, JUDGE_SEED)]
    held_out = read(generate(2600, HELD_OUT_SEED)).values[hook_name][:100_000]
    return Material(
        hook_name,
        read(generate(n_train, TRAIN_SEED)).values[hook_name],
        held_out,
        ((read(half[0]), half[0]), (read(half[1]), half[1])),
    )


def found_topics(material: Material, sae: SAE) -> dict[str, list[FeatureMatch]]:
    """The best score for each topic: the autoencoder's features, and what they are compared with."""
    ways = {"features": (sae.encode, False), **baselines(material.train, sae)}
    matches = {}
    for name, (score, both_signs) in ways.items():
        select, judge = (
            document_scores(activations, material.hook_name, score)
            for activations, _ in material.halves
        )
        matches[name] = match_concepts(
            select, material.topics[0], judge, material.topics[1],
            concepts=TOPICS, both_signs=both_signs,
        )  # fmt: skip
    return matches


def make_sae(
    model, material: Material, recipe: Recipe, folder: Path, report: Callable[[str], None]
) -> str:
    """Train, save and label one autoencoder. Returns its row of the card, measured on the file."""
    trained = train_sae(
        material.train, recipe, hook_name=material.hook_name, model_name="steerlab/tiny"
    )
    trained.sae.prepend_bos = True
    save_sae(trained.sae, folder, dtype=torch.float16)
    sae = read_sae(folder)
    scores = evaluate_sae(sae, material.held_out)
    select, judge = (
        (activations, [{name: getattr(d, name) for name in ATTRIBUTES} for d in documents])
        for activations, documents in material.halves
    )
    labels = label_features(sae, material.hook_name, select, judge, scores, model.tokenizer)
    labels.save(folder / "labels.json")
    recovered = loss_recovered(model, sae, [d.text for d in generate(200, LOSS_SEED)])
    found = found_topics(material, sae)
    row = _row(recipe, trained, scores, recovered, found)
    report(row)
    return row


def _row(
    recipe: Recipe,
    trained: Trained,
    scores: Scores,
    recovered: LossRecovered,
    found: dict[str, list[FeatureMatch]],
) -> str:
    counts = {name: sum(m.held_out > 0.9 for m in matches) for name, matches in found.items()}
    others = ", ".join(str(counts[name]) for name in counts if name != "features")
    weight = "" if recipe.activation == "topk" else f", λ {recipe.sparsity}"
    kind = f"{recipe.activation}{f' k={recipe.k}' if recipe.activation == 'topk' else ''}"
    return (
        f"| {kind}{weight}, {recipe.steps} steps of {recipe.batch_size} | {scores.fvu:.4f} "
        f"| {scores.l0:.1f} | {100 * scores.dead:.1f}% | {recovered.share:.4f} "
        f"| {counts['features']} | {others} |"
    )


CARD = """# Autoencoders and CAVs of the embedded model

Made by `python -m steerlab.tiny.train_saes` on {date} for the residual at `{hook}`; seeds are in the
script. Each folder is in SAELens's format (float16 weights, the input scale folded in) and holds
`labels.json`: for each feature the concept that its document mean separates best, with the AUROC
of that on documents that had no say in the choice.

| autoencoder, 8× | FVU | L0 | dead | loss recovered | topics found | by coordinates, PCA, untrained SAE |
|---|---|---|---|---|---|---|
{rows}

FVU, L0 and dead latents on {held_out:,} held-out tokens; trained on {train:,}. A topic of twelve is
found if one feature, chosen on one set of documents, has an AUROC above 0.9 on another.

`frontier.json`: L0, FVU and loss recovered of shorter trainings of all three kinds, made by
`python -m steerlab.tiny.frontier`.

`scaling.json`: the same and the cost of trainings of many sizes, at one k and at one λ, made by
`python -m steerlab.tiny.scaling`.

`cavs.safetensors` (beside this folder): twelve linear SVMs on document means; the right one of
twelve topics on {accuracy:.1%} of {judged} held-out documents. On raw residuals without intercept:
{raw:.1%}, with a mean cosine between different CAVs of {raw_cosine:.2f} (centred: {cosine:.2f}).
"""


def make_cavs(model, material: Material, path: Path) -> dict[str, float]:
    """Fit, save and judge the CAVs of the twelve topics."""
    means, labels = [], []
    for (activations, _), topics in zip(material.halves, material.topics, strict=True):
        kept = torch.tensor([topic is not None for topic in topics])
        means.append(activations.mean_per_document(material.hook_name)[kept])
        labels.append([topic for topic in topics if topic is not None])
    cavs = fit_cavs(means[0], labels[0], hook_name=material.hook_name, model_name="steerlab/tiny")
    raw = fit_cavs(means[0], labels[0], raw=True)
    save_cavs(cavs, path)
    apart = ~torch.eye(len(TOPICS), dtype=torch.bool)
    return {
        "accuracy": cavs.accuracy(means[1], labels[1]),
        "judged": len(labels[1]),
        "raw": raw.accuracy(means[1], labels[1]),
        "cosine": float(cavs.cosines()[apart].mean()),
        "raw_cosine": float(raw.cosines()[apart].mean()),
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m steerlab.tiny.train_saes", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write, made if missing")
    parser.add_argument("--threads", type=int, default=2, help="processor threads")
    parser.add_argument(
        "--steps-scale", type=float, default=1.0, help="share of the steps, for a trial run"
    )
    chosen = parser.parse_args(arguments)
    if chosen.threads < 1 or not chosen.steps_scale > 0:
        parser.error("--threads must be at least 1 and --steps-scale more than 0.")
    torch.set_num_threads(chosen.threads)

    def report(line: str) -> None:
        print(line, flush=True)

    model = load_model("tiny")
    scale = min(1.0, chosen.steps_scale)
    material = gather(model, max(200, int(12_000 * scale)), max(600, int(3000 * scale)))
    report(f"{len(material.train):,} residuals to train on, {len(material.held_out):,} held out")
    saes = chosen.out / "saes"
    saes.mkdir(parents=True, exist_ok=True)
    recipes = {
        name: replace(recipe, steps=max(1, int(recipe.steps * scale)))
        for name, recipe in RECIPES.items()
    }
    cavs = make_cavs(model, material, chosen.out / "cavs.safetensors")
    report(f"CAVs: {cavs['accuracy']:.3f} of {cavs['judged']} held-out documents")
    rows = [make_sae(model, material, r, saes / name, report) for name, r in recipes.items()]
    card = CARD.format(
        date=datetime.date.today(),
        hook=material.hook_name,
        rows="\n".join(rows),
        held_out=len(material.held_out),
        train=len(material.train),
        **cavs,
    )
    (saes / "README.md").write_text(card, encoding="utf-8")


if __name__ == "__main__":
    main()
