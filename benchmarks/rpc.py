"""How fast data goes to a student's process and back.

    python -m benchmarks.rpc [--quick]

One sandboxed kernel, one function that returns its argument. Prints the median and the slowest of
several round trips for a small value and for tensors of 1, 8 and 32 MB; the last line is one JSON
object. A round trip counts both directions of the data, and one forked process on either side.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from typing import Any

import torch

SIZES_MB = (1, 8, 32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    repeats = 5 if parser.parse_args().quick else 20
    torch.set_num_threads(1)
    from autograder.sandbox import Sandbox

    with Sandbox() as sandbox:
        rows = asyncio.run(measure(sandbox, repeats))
    for name, seconds in rows.items():
        print(f"{name:>14}  median {1000 * seconds['median']:8.2f} ms", end="")
        print(f"   slowest {1000 * seconds['slowest']:8.2f} ms")
    print(
        json.dumps(
            {
                "repeats": repeats,
                "call_ms": round(1000 * rows["a number"]["median"], 3),
                "round_trip_32mb_s": round(rows["32 MB"]["median"], 4),
                "round_trip_32mb_slowest_s": round(rows["32 MB"]["slowest"], 4),
                "target_s": 0.15,
            }
        )
    )


async def measure(sandbox: Any, repeats: int) -> dict[str, dict[str, float]]:
    """Seconds a round trip, by what was sent."""
    from autograder.probe import start_student, take_code
    from autograder.sandbox import kernel_manager

    manager = kernel_manager(sandbox)
    await manager.start_kernel()
    client = manager.client()
    client.start_channels()
    await client.wait_for_ready(timeout=60)
    await client.execute_interactive("def echo(x): return x")
    client.execute(take_code("echo"), silent=True, store_history=False)
    student = start_student(client, manager.provisioner)
    sent = {"a number": 1} | {f"{mb} MB": torch.randn(mb << 18) for mb in SIZES_MB}
    rows = {name: timed(student.echo, value, repeats) for name, value in sent.items()}
    client.stop_channels()
    await manager.shutdown_kernel(now=True)
    return rows


def timed(echo: Any, value: Any, repeats: int) -> dict[str, float]:
    """Median and slowest of `repeats` round trips, after one that is not counted."""
    echo(value)
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        got = echo(value)
        seconds.append(time.perf_counter() - started)
        assert got.equal(value) if isinstance(value, torch.Tensor) else got == value
    return {"median": statistics.median(seconds), "slowest": max(seconds)}


if __name__ == "__main__":
    main()
