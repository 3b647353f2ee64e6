"""What sparsity costs: short trainings of all three kinds of autoencoder on the embedded model.

    python -m steerlab.tiny.frontier [--out FILE]

Writes `frontier.json`: for each training its L0, FVU, dead latents and loss recovered on held-out
documents. Notebook 02 trains one point itself, in fewer steps, and lays it beside these. Equal
arguments give equal numbers on the same machine.
"""

from __future__ import annotations

import argparse
import datetime
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from steerlab.activations import collect
from steerlab.data import generate
from steerlab.models import load_model
from steerlab.sae.scores import evaluate_sae, loss_recovered
from steerlab.sae.training import Recipe, train_sae
from steerlab.settings import course_settings
from steerlab.tiny import SAES

# λ of "relu" and "jumprelu" (which mean different things), k of "topk".
POINTS: dict[str, tuple[float, ...]] = {
    "relu": (0.3, 0.6, 1.0, 1.5, 2.5, 4.0),
    "jumprelu": (0.02, 0.05, 0.12, 0.3, 0.65),
    "topk": (4, 8, 16, 32, 64),
}
BASE = Recipe(steps=1000, batch_size=512)
# Seeds of the documents to train on, to measure on, and to read through the autoencoder.
TRAIN_SEED, HELD_OUT_SEED, LOSS_SEED = 31, 32, 33
N_TRAIN, N_HELD_OUT, N_LOSS = 4000, 2400, 200


def recipe_of(kind: str, strength: float) -> Recipe:
    """The recipe of one point; strength is λ, or k for "topk"."""
    recipe = replace(BASE, activation=kind)  # type: ignore[arg-type]
    return replace(recipe, **({"k": int(strength)} if kind == "topk" else {"sparsity": strength}))


def measure(report: Callable[[str], None], share: float = 1.0) -> dict[str, object]:
    """Train and judge every point; `share` of the documents and steps, for a trial run."""
    model = load_model("tiny")
    hook_name = course_settings(model).hook_name

    def read(n: int, seed: int) -> torch.Tensor:
        texts = [document.text for document in generate(max(100, int(n * share)), seed)]
        return collect(model, texts, hook_name, batch_size=64).values[hook_name]

    train, held_out = read(N_TRAIN, TRAIN_SEED), read(N_HELD_OUT, HELD_OUT_SEED)[:100_000]
    texts = [document.text for document in generate(N_LOSS, LOSS_SEED)]
    points = []
    for kind, strengths in POINTS.items():
        for strength in strengths:
            recipe = recipe_of(kind, strength)
            recipe = replace(recipe, steps=max(1, int(recipe.steps * share)))
            trained = train_sae(train, recipe, hook_name=hook_name, model_name="steerlab/tiny")
            scores = evaluate_sae(trained.sae, held_out)
            recovered = loss_recovered(model, trained.sae, texts).share
            points.append(
                {
                    "kind": kind,
                    "k" if kind == "topk" else "sparsity": strength,
                    "l0": round(scores.l0, 3),
                    "fvu": round(scores.fvu, 5),
                    "dead": round(scores.dead, 4),
                    "loss_recovered": round(recovered, 5),
                }
            )
            report(json.dumps(points[-1]))
    return {
        "command": "python -m steerlab.tiny.frontier",
        "date": f"{datetime.date.today()}",
        "d_sae": BASE.d_sae,
        "steps": BASE.steps,
        "batch_size": BASE.batch_size,
        "train_tokens": len(train),
        "held_out_tokens": len(held_out),
        "loss_documents": N_LOSS,
        "points": points,
    }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m steerlab.tiny.frontier", description=__doc__)
    parser.add_argument("--out", type=Path, default=SAES / "frontier.json", help="file to write")
    parser.add_argument("--threads", type=int, default=2, help="processor threads")
    parser.add_argument(
        "--share", type=float, default=1.0, help="of documents and steps, for a trial"
    )
    chosen = parser.parse_args(arguments)
    if chosen.threads < 1 or not 0 < chosen.share <= 1:
        parser.error("--threads must be at least 1 and --share between 0 and 1.")
    torch.set_num_threads(chosen.threads)
    found = measure(lambda line: print(line, flush=True), chosen.share)
    chosen.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
