"""The records of an interference sweep: kept per prompt, summed up per strength.

Files of a sweep's folder: `records.jsonl`, one line a prompt; `plan.json`, what two runs must share;
`directions.safetensors`, what was added; `summary.json` and `summary.csv`, the aggregates.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from steerlab.evaluation.statistics import bootstrap_over_prompts, rank_p, slope

RECORDS, PLAN, SUMMARY, TABLE = "records.jsonl", "plan.json", "summary.json", "summary.csv"
DIRECTIONS = "directions.safetensors"

# What is summed up, and which measurement it comes from.
METRICS = {
    "margin": "margin",
    "log_odds": "margin",
    "kl": "margin",
    "latex_first": "first",
    "code_present": "text",
    "code_valid_if_present": "text",
    "code_present_and_valid": "text",
    "latex_present": "text",
    "latex_valid_if_present": "text",
    "latex_present_and_valid": "text",
    "nll": "text",
    "distinct2": "text",
}
_COLUMNS = (
    *("metric", "kind", "alpha", "coefficient", "n_prompts", "value", "change", "low", "high"),
    *("family", "n_controls", "control_mean", "control_low", "control_high", "p"),
)


class Cell(NamedTuple):
    """One measurement: of which sort, of what was added, at which strength."""

    measure: str
    direction: str
    alpha: float


@dataclass
class SweepResult:
    """What a sweep measured. plan: its description; prompts: {id: kind}, in order.

    cells: for each cell and field one value a prompt, in the order of the cell's "prompt" field.
    """

    plan: dict[str, Any]
    prompts: dict[str, str]
    cells: dict[Cell, dict[str, list[Any]]] = field(default_factory=dict)

    # ------------------------------------------------------------ reading

    @property
    def alphas(self) -> list[float]:
        """The strengths, as doses, ascending, with 0 among them."""
        return list(self.plan["alphas"])

    def values(
        self, metric: str, direction: str = "subject", alpha: float = 0.0, kind: str | None = None
    ) -> tuple[list[str], list[float | None]]:
        """(prompt ids, values) of one metric; strength 0 is the unsteered model for everyone.

        kind: of prompts, None for all. Raises KeyError for what was not measured.
        """
        if metric not in METRICS:
            raise KeyError(f"unknown metric {metric!r}; known: {', '.join(METRICS)}")
        cell = Cell(METRICS[metric], "unsteered" if alpha == 0 else direction, float(alpha))
        if cell not in self.cells:
            raise KeyError(f"{metric} of {direction} at α = {alpha:g} was not measured")
        columns = self.cells[cell]
        kept = [i for i, p in enumerate(columns["prompt"]) if kind in (None, self.prompts[p])]
        return [columns["prompt"][i] for i in kept], [columns[metric][i] for i in kept]

    def families(self, metric: str = "margin") -> dict[str, list[str]]:
        """The controls that a metric was measured of, by family."""
        found: dict[str, list[str]] = {}
        for measure, direction, _ in self.cells:
            if measure == METRICS[metric] and "/" in direction:
                names = found.setdefault(direction.rpartition("/")[0], [])
                if direction not in names:
                    names.append(direction)
        return found

    def change(
        self, metric: str, direction: str, alpha: float, kind: str | None = None
    ) -> float | None:
        """Mean over prompts at a strength minus the unsteered mean; None where one is missing."""
        steered = _mean(self.values(metric, direction, alpha, kind)[1])
        base = _mean(self.values(metric, direction, 0.0, kind)[1])
        return None if steered is None or base is None else steered - base

    def effects(self, metric: str, kind: str | None = None) -> dict[str, dict[float, float | None]]:
        """{direction: {alpha: change}} of the subject and of every control."""
        names = ["subject", *(n for names in self.families(metric).values() for n in names)]
        return {n: {a: self.change(metric, n, a, kind) for a in self.alphas} for n in names}

    # ------------------------------------------------------------ summing up

    def summary(self, level: float = 0.95) -> dict[str, Any]:
        """Aggregates: by metric and kind of prompt a list over strengths, and one p a family.

        Each strength has the mean, its change from unsteered with a bootstrap interval over
        prompts, and for each control family mean, 5th and 95th percentile of the controls' changes
        and the rank p-value. `slope` tests the sweep as a whole, by the least-squares slope of
        the change over α. `matched_kl` compares at equal KL from the unsteered model.
        """
        measured = {cell.measure for cell in self.cells}
        metrics: dict[str, Any] = {}
        for metric, measure in METRICS.items():
            if measure not in measured:
                continue
            ids, _ = self.values(metric)
            kinds = dict.fromkeys(self.prompts[i] for i in ids)
            metrics[metric] = {
                "all" if kind is None else kind: self._of_metric(metric, kind, level)
                for kind in ([None, *kinds] if len(kinds) > 1 else [None])
            }
        return {"plan": self.plan, "level": level, "metrics": metrics, "matched_kl": self._at_kl()}

    def _of_metric(self, metric: str, kind: str | None, level: float) -> dict[str, Any]:
        effects = self.effects(metric, kind)
        families = self.families(metric)
        points = []
        base_ids, base = self.values(metric, kind=kind)
        for alpha in self.alphas:
            ids, values = self.values(metric, "subject", alpha, kind)
            assert ids == base_ids
            mean = bootstrap_over_prompts(values, ids, level=level)
            change = bootstrap_over_prompts(values, ids, base, level=level)
            point = {
                "alpha": alpha,
                "coefficient": alpha * self.plan["coefficient"],
                "n_prompts": mean.n_prompts,
                "value": mean.estimate,
                "value_interval": [mean.low, mean.high],
                "change": change.estimate,
                "change_interval": [change.low, change.high],
                "controls": {},
            }
            if alpha:
                observed = effects["subject"][alpha]
                for family, names in families.items():
                    point["controls"][family] = _family(
                        observed, [effects[name][alpha] for name in names]
                    )
            points.append(point)
        slopes = {n: slope(list(by), list(by.values())) for n, by in effects.items()}
        return {
            "points": points,
            "slope": {
                "value": slopes["subject"],
                "controls": {
                    family: _family(slopes["subject"], [slopes[name] for name in names])
                    for family, names in families.items()
                },
            },
        }

    def _at_kl(self) -> list[dict[str, Any]]:
        """Margin changes at equal KL: each control's, read off its own curve where it gets so far."""
        if not any(cell.measure == "margin" for cell in self.cells):
            return []
        kl, margin = self.effects("kl"), self.effects("margin")
        rows = []
        for alpha in (a for a in self.alphas if a):
            target = kl["subject"][alpha]
            row: dict[str, Any] = {
                "alpha": alpha, "kl": target, "change": margin["subject"][alpha], "controls": {},
            }  # fmt: skip
            for family, names in self.families("margin").items():
                at = [_read_off(kl[n], margin[n], target, alpha) for n in names]
                row["controls"][family] = _family(row["change"], at) | {
                    "n_reached": sum(value is not None for value in at)
                }
            rows.append(row)
        return rows

    # ------------------------------------------------------------ writing

    def write(self, folder: str | os.PathLike[str]) -> dict[str, Path]:
        """Write summary.json and summary.csv into a folder; each replaces the old one whole."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        summary = self.summary()
        paths = {name: target / name for name in (SUMMARY, TABLE)}
        replace_file(paths[SUMMARY], json.dumps(summary, indent=1) + "\n")
        lines: list[str] = []

        class _Lines:
            def write(self, text: str) -> int:
                lines.append(text)
                return len(text)

        writer = csv.DictWriter(_Lines(), _COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(_table(summary))
        replace_file(paths[TABLE], "".join(lines))
        return paths


def load_sweep(folder: str | os.PathLike[str]) -> SweepResult:
    """The result of a sweep from its folder, also of one that was interrupted.

    Raises FileNotFoundError for a folder without a sweep, ValueError for a damaged one.
    """
    source = Path(folder)
    if not (source / PLAN).is_file():
        raise FileNotFoundError(f"{source} holds no sweep: it has no {PLAN}")
    try:
        plan = json.loads((source / PLAN).read_text(encoding="utf-8"))
        prompts = dict(plan.pop("prompt_kinds"))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{source / PLAN} is damaged: {error}") from None
    result = SweepResult(plan, prompts)
    result.cells.update(read_records(source / RECORDS))
    return result


def read_records(path: Path) -> dict[Cell, dict[str, list[Any]]]:
    """Every cell of a file of records as columns; a line that was cut off is passed over."""
    cells: dict[Cell, dict[str, list[Any]]] = {}
    seen: dict[Cell, set[str]] = {}
    for record in _lines(path):
        cell = Cell(record.pop("measure"), record.pop("direction"), float(record.pop("alpha")))
        # Two runs at once may have measured a cell twice; they measured the same.
        if record["prompt"] in seen.setdefault(cell, set()):
            continue
        seen[cell].add(record["prompt"])
        columns = cells.setdefault(cell, {})
        for name, value in record.items():
            columns.setdefault(name, []).append(value)
    return cells


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if not path.is_file():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict) and {"measure", "direction", "alpha", "prompt"} <= set(
                record
            ):
                yield record


def replace_file(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def _table(summary: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """One row for each metric, kind, strength and control family."""
    for metric, kinds in summary["metrics"].items():
        for kind, found in kinds.items():
            for point in found["points"]:
                row = {
                    "metric": metric,
                    "kind": kind,
                    **{
                        k: point[k]
                        for k in ("alpha", "coefficient", "n_prompts", "value", "change")
                    },
                    "low": point["change_interval"][0],
                    "high": point["change_interval"][1],
                }
                for family, controls in (point["controls"] or {"": {}}).items():
                    yield row | {
                        "family": family,
                        "n_controls": controls.get("n"),
                        "control_mean": controls.get("mean"),
                        "control_low": controls.get("low"),
                        "control_high": controls.get("high"),
                        "p": controls.get("p"),
                    }


def _family(observed: float | None, changes: Sequence[float | None]) -> dict[str, Any]:
    known = [change for change in changes if change is not None]
    if not known:
        return {"n": 0, "mean": None, "low": None, "high": None, "p": None}
    low, high = np.quantile(known, [0.05, 0.95])
    return {
        "n": len(known),
        "mean": float(np.mean(known)),
        "low": float(low),
        "high": float(high),
        "p": None if observed is None else rank_p(observed, known),
    }


def _read_off(
    kl: Mapping[float, float | None],
    effect: Mapping[float, float | None],
    target: float | None,
    alpha: float,
) -> float | None:
    """A control's effect where its KL is `target`, between its own strengths of α's sign."""
    points = [(0.0, 0.0)]
    for strength in sorted((a for a in kl if a * alpha > 0), key=abs):
        here, change = kl[strength], effect[strength]
        if here is None or change is None or target is None:
            return None
        before = points[-1]
        if before[0] <= target <= here and here > before[0]:
            share = (target - before[0]) / (here - before[0])
            return before[1] + share * (change - before[1])
        points.append((here, change))
    return None


def _mean(values: Iterable[float | None]) -> float | None:
    known = [float(value) for value in values if value is not None]
    return sum(known) / len(known) if known else None
