"""`python -m steerlab.tiny.interference RESULTS`: the embedded model's interference sweep, to ship.

RESULTS is the folder of `steerlab evaluate --model tiny --feature code`, which takes minutes. What
figures need of it goes into `interference.json`: the aggregates over all prompts, four digits each.
"""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from steerlab.evaluation import load_sweep
from steerlab.tiny import INTERFERENCE

COMMAND = "steerlab evaluate --model tiny --feature code"


def record(results: Path, target: Path) -> None:
    """Write the record of a sweep. Raises ValueError, FileNotFoundError for a folder without one."""
    sweep = load_sweep(results)
    metrics = sweep.summary()["metrics"]
    made = datetime.fromtimestamp((results / "records.jsonl").stat().st_mtime, UTC)
    found = {
        "command": COMMAND,
        "date": made.date().isoformat(),
        "name": sweep.plan["name"],
        "n_prompts": len(sweep.prompts),
        "controls": sweep.plan["controls"],
        "metrics": {name: _rounded(kinds["all"]["points"]) for name, kinds in metrics.items()},
    }
    target.write_text(json.dumps(found, separators=(",", ":")) + "\n", encoding="utf-8")


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path, help="folder that `steerlab evaluate` wrote")
    parser.add_argument("--out", type=Path, default=INTERFERENCE)
    given = parser.parse_args()
    record(given.results, given.out)
    print(given.out)
