"""Streaming a shard set that is larger than the memory allowed.

    python -m benchmarks.streaming [--quick] [--cap MB]

Shards are written to a scratch folder, then a process of its own that may not hold more than a cap
beyond what it holds after its imports (RLIMIT_DATA, all private memory) streams every row once, in
the shuffled order that training reads them in. The last line is one JSON object:

    shards_mb                     residuals in the set, as bfloat16
    cap_mb                        the cap
    resident_first_mb, resident_last_mb, resident_most_mb
                                  beyond the imports: after a tenth of the rows, at the end, at most
    mb_per_second                 residuals streamed
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from steerlab.pipeline.shard_files import Origin, Rows, write_shard
from steerlab.pipeline.shards import Shards
from steerlab.pipeline.stream import Stream

D, ROWS = 1024, 65_536  # of one shard: 128 MB


def write(folder: Path, shards: int) -> None:
    """Shards of random residuals."""
    draws = torch.Generator().manual_seed(0)
    origin = Origin("random", "blocks.0.hook_resid_pre", D, "random", 64, ROWS)
    for number in range(shards):
        # Few different mantissas, so that writing does not take longer than reading.
        x = torch.randint(-64, 64, (ROWS, D), generator=draws).to(torch.bfloat16)
        beside = (torch.zeros(ROWS), torch.full((ROWS,), number), torch.arange(ROWS))
        rows = Rows(x, *(each.long() for each in beside))
        write_shard(folder / f"shard-{number:05}.parquet", origin, rows, (number, number + 1))


def field(name: str) -> float:
    """A line of this process's status, in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) / 1024
    raise SystemExit(f"this system does not say {name}")


def stream(folder: str, cap: int) -> None:
    """Read every row once under the cap; the figures on stdout."""
    shards = Shards(folder)
    before, held = field("VmRSS"), field("VmData")
    resource.setrlimit(resource.RLIMIT_DATA, (int((held + cap) * 2**20),) * 2)
    batch = 4096
    batches = Stream(shards, batch).batches()
    steps = shards.rows // batch
    resident = []
    started = time.perf_counter()
    for _ in range(steps):
        next(batches)
        resident.append(field("VmRSS") - before)
    seconds = time.perf_counter() - started
    size = shards.rows * shards.d_model * 2 / 2**20
    print(
        json.dumps(
            {
                "shards_mb": round(size),
                "cap_mb": cap,
                "resident_first_mb": round(resident[steps // 10]),
                "resident_last_mb": round(resident[-1]),
                "resident_most_mb": round(max(resident)),
                "mb_per_second": round(size / seconds),
            }
        )
    )


def main() -> None:
    """Write the shards and stream them in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="2 GB of shards instead of 16")
    parser.add_argument("--cap", type=int, default=640, help="MB (%(default)s)")
    parser.add_argument("--stream", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.stream:
        stream(options.stream, options.cap)
        return
    with tempfile.TemporaryDirectory(prefix="steerlab-bench-") as scratch:
        write(Path(scratch), 16 if options.quick else 128)
        command = [sys.executable, "-m", "benchmarks.streaming", "--stream", scratch]
        subprocess.run([*command, "--cap", str(options.cap)], check=True)


if __name__ == "__main__":
    main()
