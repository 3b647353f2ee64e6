"""What a wider dictionary buys: trainings of many sizes on the embedded model, and what they cost.

    python -m steerlab.tiny.scaling [--out FILE]

Writes `scaling.json`: for each training its size, L0, FVU, dead latents, loss recovered and topics
found on held-out documents, and the processor seconds of its steps. "topk" is trained at one k for
every size, so that all sizes have the same L0; "relu" at one λ, so that L0 is what it becomes.
Notebook 07 trains small sizes itself and lays them beside these. A training that the file holds
already is not repeated, so an interrupted command is begun again as it was. Equal arguments give
equal numbers on the same machine, but for the seconds.
"""

from __future__ import annotations

import argparse
import datetime
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from steerlab.activations import Activations, collect
from steerlab.data import TOPICS, generate
from steerlab.models import load_model
from steerlab.sae.features import document_scores, match_concepts
from steerlab.sae.scores import evaluate_sae, loss_recovered
from steerlab.sae.training import Recipe, train_sae
from steerlab.settings import course_settings
from steerlab.tiny import SAES

K, SPARSITY = 16, 1.5
STEPS, BATCH = 1500, 512
# "longer" is the largest "topk" once more, with more steps.
SIZES = {
    "topk": (64, 128, 256, 384, 512, 768, 1024, 2048),
    "relu": (64, 128, 256, 512, 1024),
    "longer": (2048,),
}
LONGER = 3
# Seeds of the documents to train on, to choose features and measure on, to judge them on, and to
# read through the autoencoder.
TRAIN_SEED, HELD_OUT_SEED, JUDGE_SEED, LOSS_SEED = 31, 32, 33, 34
N_TRAIN, N_HELD_OUT, N_JUDGE, N_LOSS = 4000, 1200, 1200, 200
FOUND = 0.9


def recipe_of(kind: str, d_sae: int, share: float = 1.0) -> Recipe:
    """The recipe of one training. Above 1,024 the learning rate falls with the root of the size."""
    rate = 2e-3 * min(1.0, (1024 / d_sae) ** 0.5)
    steps = STEPS * (LONGER if kind == "longer" else 1)
    return Recipe(
        "relu" if kind == "relu" else "topk",
        d_sae=d_sae,
        steps=max(1, int(steps * share)),
        k=K,
        sparsity=SPARSITY,
        batch_size=BATCH,
        learning_rate=rate,
    )


def measure(done: list[dict[str, Any]], share: float = 1.0) -> Iterator[dict[str, Any]]:
    """Train and judge every size that `done` does not hold; `share` of the texts and steps."""
    missing = [
        (kind, d_sae)
        for d_sae in sorted({d_sae for sizes in SIZES.values() for d_sae in sizes})
        for kind, sizes in SIZES.items()
        if d_sae in sizes and not any((p["kind"], p["d_sae"]) == (kind, d_sae) for p in done)
    ]
    if not missing:
        return
    model = load_model("tiny")
    hook_name = course_settings(model).hook_name

    def read(n: int, seed: int) -> tuple[Activations, list[str | None]]:
        documents = generate(max(200, int(n * share)), seed)
        texts = [document.text for document in documents]
        topics = [document.topic for document in documents]
        return collect(model, texts, hook_name, batch_size=64), topics

    train = read(N_TRAIN, TRAIN_SEED)[0].values[hook_name]
    select, judge = read(N_HELD_OUT, HELD_OUT_SEED), read(N_JUDGE, JUDGE_SEED)
    texts = [document.text for document in generate(N_LOSS, LOSS_SEED)]
    for kind, d_sae in missing:
        recipe = recipe_of(kind, d_sae, share)
        started = time.process_time()
        trained = train_sae(train, recipe, hook_name=hook_name, model_name="steerlab/tiny")
        seconds = time.process_time() - started
        scores = evaluate_sae(trained.sae, select[0].values[hook_name])
        halves = [
            document_scores(half, hook_name, trained.sae.encode) for half, _ in (select, judge)
        ]
        matches = match_concepts(halves[0], select[1], halves[1], judge[1], concepts=TOPICS)
        yield {
            "kind": kind,
            "d_sae": d_sae,
            "l0": round(scores.l0, 3),
            "fvu": round(scores.fvu, 6),
            "dead": round(scores.dead, 4),
            "loss_recovered": round(loss_recovered(model, trained.sae, texts).share, 5),
            "topics_found": sum(match.held_out > FOUND for match in matches),
            "steps": recipe.steps,
            "cpu_seconds": round(seconds, 1),
            "train_tokens": len(train),
            "held_out_tokens": len(select[0].tokens),
        }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m steerlab.tiny.scaling", description=__doc__)
    parser.add_argument("--out", type=Path, default=SAES / "scaling.json", help="file to write")
    parser.add_argument("--threads", type=int, default=1, help="processor threads")
    parser.add_argument(
        "--share", type=float, default=1.0, help="of documents and steps, for a trial"
    )
    chosen = parser.parse_args(arguments)
    if chosen.threads < 1 or not 0 < chosen.share <= 1:
        parser.error("--threads must be at least 1 and --share between 0 and 1.")
    torch.set_num_threads(chosen.threads)
    points: list[dict[str, Any]] = []
    if chosen.out.exists():
        points = json.loads(chosen.out.read_text(encoding="utf-8"))["points"]
    for point in measure(list(points), chosen.share):
        points.append(point)
        print(json.dumps(point), flush=True)
        _write(chosen.out, points, chosen.threads)


def _write(path: Path, points: list[dict[str, Any]], threads: int) -> None:
    found = {
        "command": "python -m steerlab.tiny.scaling",
        "date": f"{datetime.date.today()}",
        "threads": threads,
        "k": K,
        "sparsity": SPARSITY,
        "steps": STEPS,
        "batch_size": BATCH,
        "loss_documents": N_LOSS,
        "points": points,
    }
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
