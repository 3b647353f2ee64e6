"""Measure the embedded model against its acceptance table.

    python -m benchmarks.embedded_model [--quick] [--checkpoint DIR] [--only NAME ...]

Loss, addition, mean differences, the autoencoders that ship or train in a notebook, the clamp and
the CAVs have to hold on the shipped model and decide the exit code; the other rows are probes, and
seconds are one as well, since cores are often shared. Without --quick every scored cell has 200
completions for each of three seeds. The last line is one JSON object, {"rows": [{"name", "value",
"threshold", "ok"}]}.
"""

from __future__ import annotations

import argparse
import json
import sys

from steerlab.tiny import CHECKPOINT

from benchmarks.embedded_features import (
    cav_rows,
    clamp_rows,
    convex_rows,
    gather,
    jumprelu_rows,
    relu_rows,
    topk_rows,
)
from benchmarks.embedded_probes import Bench, Row
from benchmarks.embedded_steering import addition_rows, code_rows, loss_row, mean_difference_rows

PARTS = ("loss", "addition", "mean-diff", "sae", "clamp", "cav", "convex", "code")


def measure(bench: Bench, parts: set[str]) -> list[Row]:
    """The rows of the chosen parts, in the table's order."""
    rows: list[Row] = []
    if "loss" in parts:
        rows += loss_row(bench)
    if "addition" in parts:
        rows += addition_rows(bench)
    if parts <= {"loss", "addition"}:
        return rows
    # Everything else uses the TopK dictionary, if only for its decoder rows as controls.
    corpus = gather(bench)
    topk, sae, scores = topk_rows(bench, corpus)
    if "mean-diff" in parts:
        rows += mean_difference_rows(bench, sae, scores.rate)
    if "sae" in parts:
        rows += topk + relu_rows(bench, corpus)
    if parts & {"sae", "clamp"}:
        jump, jump_sae, jump_scores = jumprelu_rows(bench, corpus)
        rows += jump
    if "clamp" in parts:
        rows += clamp_rows(bench, corpus, jump_sae, jump_scores, "JumpReLU")
        if not bench.quick:
            rows += clamp_rows(bench, corpus, sae, scores, "TopK")
    if "cav" in parts:
        rows += cav_rows(bench, corpus)
    if "convex" in parts:
        rows += convex_rows(bench, corpus, sae)
    if "code" in parts:
        rows += code_rows(bench, sae, scores.rate)
    return rows


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.embedded_model", description=__doc__
    )
    parser.add_argument("--quick", action="store_true", help="fewer completions, one seed")
    parser.add_argument("--checkpoint", default=str(CHECKPOINT), help="folder of the model")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, metavar="PART")
    chosen = parser.parse_args(arguments)
    rows = measure(Bench(chosen.checkpoint, chosen.quick), set(chosen.only))
    width = max(len(row.name) for row in rows)
    for row in rows:
        value = "–" if row.value is None else f"{row.value:.3f}"
        verdict = "ok" if row.ok else "MISSED" if row.fixed else "missed (probe)"
        print(f"{row.name:{width}}  {value:>8}  {row.threshold:>8}  {verdict}  {row.note}")
    table = [{"name": r.name, "value": r.value, "threshold": r.threshold, "ok": r.ok} for r in rows]
    print(json.dumps({"rows": table}, ensure_ascii=False))
    return 0 if all(row.ok for row in rows if row.fixed) else 1


if __name__ == "__main__":
    sys.exit(main())
