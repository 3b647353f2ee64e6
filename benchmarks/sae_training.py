"""Training steps a second against SAELens and dictionary_learning, from PyPI.

    python -m benchmarks.sae_training [--quick] [--threads N]

768 -> 6,144, batch 4,096, float32 on the processor, one thread count for all, the same rows in the
same order; every trainer is a process in an environment of its own, made here. Steps only: no
language model, no reading of data. Trainers take turns, in another order each time, so that other
work on the machine hits all of them, and a ratio is the median of the ratios within one turn. At
the end each is judged on the same held-out rows: the comparison counts where FVU and L0 are alike.
SAELens's TopK runs both ways that it has, dense and with sparse activations; a peer that cannot take
a step with the PyTorch at hand is left out, with its error.

The last line is one JSON object:

    topk_over_fastest_peer, relu_over_fastest_peer   our steps a second over the fastest peer's
    of_matmul_limit                                  six dense products of a ReLU step over our ReLU
                                                     step; ours makes do with five of them, so it may
                                                     come out above 1
    steps_per_second, fvu, l0                        of each trainer, by kind
    left_out                                         peers that could not train here, and why
    quality_equal                                    FVU no worse than 1.05 times the best peer's, and
                                                     for ReLU the L0 within 10% of that peer's
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import venv
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import steerlab

PEER = Path(__file__).with_name("sae_training_peer.py")
D_IN, ROWS, HELD_OUT = 768, 16 * 4096, 8192
PACKAGES = {"sae_lens": "sae-lens==6.54.12", "dictionary_learning": "dictionary-learning==0.1.0"}
TRAINERS = {
    "topk": ("steerlab", "sae_lens", "sae_lens, sparse", "dictionary_learning"),
    "relu": ("steerlab", "sae_lens", "dictionary_learning"),
}


def environment(folder: Path, package: str) -> Path:
    """Python of a new environment that has one package, beside what this one has."""
    venv.create(folder, with_pip=True)
    site = next(folder.glob("lib/python*/site-packages"))
    # The same torch for all: a comparison of trainers, not of builds.
    (site / "ours.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    python = folder / "bin" / "python"
    command = [str(python), "-m", "pip", "install", "--quiet", package]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise SystemExit(f"{package} cannot be installed here:\n{made.stderr[-2000:]}")
    return python


def planted(seed: int = 0, n_features: int = 4096, active: int = 24) -> np.ndarray:
    """Rows that are sparse sums of known directions with some noise, scaled to E‖x‖ = √d."""
    draws = np.random.default_rng(seed)
    directions = draws.standard_normal((n_features, D_IN), dtype=np.float32)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    # Rates fall as those of words do: a few features are common, most are rare.
    rates = 1 / np.arange(10, n_features + 10)
    rows = []
    for _ in range((ROWS + HELD_OUT) // 1024):
        code = np.zeros((1024, n_features), dtype=np.float32)
        for _ in range(active):
            chosen = draws.choice(n_features, size=1024, p=rates / rates.sum())
            code[np.arange(1024), chosen] += draws.exponential(size=1024)
        noise = draws.standard_normal((1024, D_IN), dtype=np.float32)
        rows.append(code @ directions + 0.02 * noise)
    x = np.concatenate(rows)
    return np.ascontiguousarray(x * np.float32(np.sqrt(D_IN) / np.linalg.norm(x, axis=1).mean()))


class PeerEnded(Exception):
    """A trainer ended before it was told to; the message is the last line that it printed."""


@dataclass
class Peer:
    """A running trainer, and what was measured of it."""

    name: str
    process: subprocess.Popen[str]
    log: Path
    seconds: list[float] = field(default_factory=list)

    def ask(self, line: str = "") -> object:
        """Its answer to one line; without a line, the next one it gives."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        if line:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        said = self.process.stdout.readline()
        if not said:
            self.process.wait()
            lines = self.log.read_text(errors="replace").strip().splitlines()
            errors = [line for line in lines if re.match(r"\w*(Error|Exception)\b", line)]
            raise PeerEnded((errors or lines or ["it said nothing"])[-1][:200])
        return json.loads(said)


def begin(python: Path, name: str, kind: str, data: Path, threads: int) -> Peer:
    """Start a trainer and wait until it is ready."""
    settings = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    paths = {"PYTHONPATH": str(Path(steerlab.__path__[0]).parent)} if name == "steerlab" else {}
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [str(python), str(PEER), name, kind, str(data), str(threads)]
    log = data.parent / f"{name} {kind}.log"
    with log.open("w") as said:
        process = subprocess.Popen(
            command,
            env=kept | settings | paths,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
            cwd=data.parent,
        )
    peer = Peer(name, process, log)
    peer.ask()
    peer.ask("train 2")  # what is done once only
    return peer


def begin_all(
    kind: str, pythons: dict[str, Path], data: Path, threads: int
) -> tuple[list[Peer], dict[str, str]]:
    """The trainers that take steps here, ours first, and why the others do not."""
    peers: list[Peer] = []
    left_out: dict[str, str] = {}
    for name in TRAINERS[kind]:
        try:
            peers.append(begin(pythons[name.split(",")[0]], name, kind, data, threads))
        except PeerEnded as error:
            left_out[name] = str(error)
            print(f"{kind}, {name} is left out: {error}", flush=True)
    if "steerlab" in left_out or len(peers) < 2:
        for peer in peers:
            peer.process.kill()
        raise SystemExit(f"nothing to compare for {kind}")
    return peers, left_out


def compare(
    kind: str, pythons: dict[str, Path], data: Path, threads: int, turns: int, steps: int, rest: int
) -> dict[str, object]:
    """Turns of `steps` timed steps each, then `rest` more, then the judgement."""
    peers, left_out = begin_all(kind, pythons, data, threads)
    limit: list[float] = []
    try:
        for turn in range(turns):
            shift = turn % len(peers)
            for peer in peers[shift:] + peers[:shift]:
                peer.seconds.append(float(str(peer.ask(f"train {steps}"))) / steps)
            limit.append(float(str(peers[0].ask("matmul 1"))))
        judged = {}
        for peer in peers:
            peer.ask(f"train {rest}")
            judged[peer.name] = peer.ask("judge")
    finally:
        for peer in peers:
            peer.process.kill()
            peer.process.wait()
    ours, others = peers[0], peers[1:]
    for peer in peers:
        print(
            f"{kind}, {peer.name}: {1 / statistics.median(peer.seconds):.3f} steps/s, "
            f"{judged[peer.name]}",
            flush=True,
        )
    ratios = {
        peer.name: statistics.median(b / a for a, b in zip(ours.seconds, peer.seconds, strict=True))
        for peer in others
    }
    return {
        "ratio": min(ratios.values()),
        "limit": statistics.median(m / s for m, s in zip(limit, ours.seconds, strict=True)),
        "steps_per_second": {p.name: round(1 / statistics.median(p.seconds), 3) for p in peers},
        "judged": judged,
        "left_out": left_out,
    }


def alike(kind: str, judged: dict[str, dict[str, float]]) -> bool:
    """Whether our FVU and L0 are those of the peer that reconstructs best."""
    ours = judged["steerlab"]
    best = min((v for k, v in judged.items() if k != "steerlab"), key=lambda v: v["fvu"])
    if kind == "topk":
        return ours["fvu"] <= 1.05 * best["fvu"] and ours["l0"] <= 32
    return ours["fvu"] <= 1.05 * best["fvu"] and abs(ours["l0"] / best["l0"] - 1) <= 0.1


def main() -> None:
    """Make the environments, run the trainers, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="30 steps each instead of 200")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of every trainer")
    options = parser.parse_args()
    turns, steps, rest = (6, 2, 16) if options.quick else (20, 4, 118)
    with tempfile.TemporaryDirectory(prefix="steerlab-bench-") as scratch:
        place = Path(scratch)
        pythons = {"steerlab": Path(sys.executable)}
        for name, package in PACKAGES.items():
            pythons[name] = environment(place / name, package)
            print(f"{package} is installed", flush=True)
        data = place / "rows.npy"
        np.save(data, planted())
        found = {
            kind: compare(kind, pythons, data, options.threads, turns, steps, rest)
            for kind in TRAINERS
        }
    figures = {
        "topk_over_fastest_peer": round(float(str(found["topk"]["ratio"])), 2),
        "relu_over_fastest_peer": round(float(str(found["relu"]["ratio"])), 2),
        "of_matmul_limit": round(float(str(found["relu"]["limit"])), 2),
        "threads": options.threads,
        "quality_equal": all(alike(k, f["judged"]) for k, f in found.items()),  # type: ignore[arg-type]
        "steps_per_second": {k: f["steps_per_second"] for k, f in found.items()},
        "judged": {k: f["judged"] for k, f in found.items()},
        "left_out": {k: f["left_out"] for k, f in found.items()},
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
