"""One trainer of benchmarks.sae_training, in a process and an environment of its own.

    python sae_training_peer.py NAME KIND DATA THREADS

It answers lines on stdin with one JSON line each: "train N" takes N steps and gives the seconds
they took, "matmul N" does what N training steps need in dense products at least, "judge" gives FVU
and L0 on the held-out rows. It imports no part of steerlab but where NAME is "steerlab", so that
it runs in environments without it.
"""

import json
import os
import sys
import time

D_SAE, BATCH, K = 6144, 4096, 32
HELD_OUT = 8192  # rows at the end of DATA
LEARNING_RATE, SPARSITY = 1e-3, 2.0


def steerlab(kind, d_in, x):
    """(step, code and reconstruction) of this package's trainer, set as the others are.

    They shorten gradients to 1, and SAELens starts from short decoder rows, which Adam moves by more
    of their length: both decide how fast the first steps learn.
    """
    from steerlab.sae.training import Recipe, Trainer

    recipe = Recipe(
        kind, D_SAE, 10_000, k=K, batch_size=BATCH, sparsity=SPARSITY, warm_up=0.0, decay=0.0,
        learning_rate=LEARNING_RATE, start_norm=0.1, max_gradient_norm=1.0, silent_steps=1000,
    )  # fmt: skip
    trainer = Trainer(recipe, d_in, 1.0)

    def judged(rows):
        sae = trainer.finish()
        code = sae.encode(rows)
        return code, sae.decode(code)

    return trainer.step, judged


def sae_lens(kind, d_in, x, *, sparse=False):
    """SAELens's, as its own runner calls it."""
    from sae_lens import (
        StandardTrainingSAE,
        StandardTrainingSAEConfig,
        TopKTrainingSAE,
        TopKTrainingSAEConfig,
    )
    from sae_lens.config import SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    if kind == "topk":
        sae = TopKTrainingSAE(
            TopKTrainingSAEConfig(d_in=d_in, d_sae=D_SAE, k=K, use_sparse_activations=sparse)
        )
    else:
        sae = StandardTrainingSAE(
            StandardTrainingSAEConfig(d_in=d_in, d_sae=D_SAE, l1_coefficient=SPARSITY)
        )
    config = SAETrainerConfig(10_000 * BATCH, BATCH, lr=LEARNING_RATE, lr_end=LEARNING_RATE)
    trainer = SAETrainer(config, sae, data_provider=iter(()))

    def step(batch):
        trainer.step(batch)
        trainer.n_training_steps += 1

    def judged(rows):
        code = sae.encode(rows)
        rows = sae.decode(code)
        return (code.to_dense() if code.is_sparse else code), rows

    return step, judged


def dictionary_learning(kind, d_in, x):
    """dictionary_learning's; for ReLU the trainer whose loss is the same as the others'."""
    from dictionary_learning.trainers.standard import StandardTrainerAprilUpdate
    from dictionary_learning.trainers.top_k import TopKTrainer

    shared = {
        "steps": 10_000, "activation_dim": d_in, "dict_size": D_SAE, "layer": 0, "lm_name": "none",
        "lr": LEARNING_RATE, "warmup_steps": 0, "device": "cpu", "seed": 0,
    }  # fmt: skip
    if kind == "topk":
        trainer = TopKTrainer(k=K, **shared)
    else:
        trainer = StandardTrainerAprilUpdate(
            l1_penalty=SPARSITY, sparsity_warmup_steps=None, **shared
        )
    count = iter(range(10_000))

    def judged(rows):
        rows, code = trainer.ae(rows, output_features=True)
        return code, rows

    return (lambda batch: trainer.update(next(count), batch)), judged


def products(x, d_in):
    """Six dense products of the shapes that a step with a dense code has."""
    import torch

    encoder, code = torch.randn(d_in, D_SAE), torch.randn(BATCH, D_SAE)
    back = encoder.T.contiguous()

    def step(batch):
        for _ in range(2):
            batch @ encoder  # the code; its gradient
            code @ back  # the reconstruction; the gradient of the input
            batch.T @ code  # the gradients of encoder and decoder

    return step


def main():
    name, kind, path, threads = sys.argv[1:]
    os.environ["CUDA_VISIBLE_DEVICES"] = ""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints goes to stderr
    import numpy as np
    import torch

    torch.set_num_threads(int(threads))
    torch.manual_seed(0)
    x = torch.from_numpy(np.load(path))
    rows, held_out = x[:-HELD_OUT], x[-HELD_OUT:]
    make = {
        "steerlab": steerlab,
        "sae_lens": sae_lens,
        "sae_lens, sparse": lambda *a: sae_lens(*a, sparse=True),
        "dictionary_learning": dictionary_learning,
    }[name]
    step, judged = make(kind, x.shape[1], rows[:BATCH])
    multiply = products(rows, x.shape[1]) if name == "steerlab" else step
    done = 0

    def answer(found):
        print(json.dumps(found), file=answers, flush=True)

    answer("ready")
    for line in sys.stdin:
        word, *number = line.split()
        if word == "judge":
            with torch.no_grad():
                code, back = judged(held_out)
                spread = (held_out - held_out.mean(0)).square().sum()
                fvu = float((held_out - back).square().sum() / spread)
                answer({"fvu": fvu, "l0": float((code != 0).float().sum(1).mean()), "steps": done})
            continue
        started = time.perf_counter()
        for _ in range(int(number[0])):
            first = done * BATCH % len(rows) if word == "train" else 0
            batch = rows[first : first + BATCH]
            (step if word == "train" else multiply)(batch)
            done += word == "train"
        answer(time.perf_counter() - started)


if __name__ == "__main__":
    main()
