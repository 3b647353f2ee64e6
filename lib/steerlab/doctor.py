"""`diagnose(examine())`: which of the course's models this machine can take, before loading one."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from steerlab.hub import KNOWN, ModelSource, known_name, known_names
from steerlab.machine import Facts, examine
from steerlab.planning import (
    COURSE_BATCH,
    COURSE_TOKENS,
    RESERVE,
    Choice,
    choice_for,
    refusal,
    ways_out,
)

__all__ = ["Diagnosis", "Row", "diagnose", "examine"]


@dataclass(frozen=True)
class Row:
    """One model on one machine: how it would be loaded, and what else stands in the way.

    instead: what to choose where it does not load, the best first: a command, a device, a model.
    obstacle: what keeps a model that fits from being fetched, None where nothing does.
    """

    name: str
    billions: float
    choice: Choice
    download: float
    cached: bool
    instead: tuple[str, ...]
    obstacle: str | None

    @property
    def good(self) -> bool:
        """Whether `load_model(name)` gives the model here."""
        return self.choice.loads and self.obstacle is None


@dataclass(frozen=True)
class Diagnosis:
    """What `steerlab doctor` says: `print` it for its text. ok: its exit code is 0."""

    facts: Facts
    rows: tuple[Row, ...]
    recommendation: str
    ok: bool

    def __str__(self) -> str:
        return "\n".join(
            [*_facts_lines(self.facts), "", *_table(self.rows), "", self.recommendation]
        )

    def as_json(self) -> dict[str, Any]:
        """Everything in it, for a program."""
        rows = [
            asdict(row)
            | {
                "loads": row.choice.loads,
                "verdict": row.choice.verdict,
                "needs_gib": round(row.choice.need.total, 3),
                "good": row.good,
            }
            for row in self.rows
        ]
        facts = asdict(self.facts) | {"cached": sorted(self.facts.cached)}
        return {
            "facts": facts,
            "models": rows,
            "recommendation": self.recommendation,
            "ok": self.ok,
        }


def diagnose(facts: Facts, model: str | None = None) -> Diagnosis:
    """Every known model on a machine with these facts, or one of them by its name or hub id.

    ok without a model: the packages are as required, so that the course runs. With one: that too,
    and the model can be loaded. Raises ValueError for an unknown name.
    """
    model = known_name(model) if model else model
    if model is not None and model not in KNOWN:
        raise ValueError(f"unknown model {model!r}; known models: {known_names()}")
    every = {name: _row(source, facts) for name, source in KNOWN.items()}
    wrong = [package for package in facts.packages if not package.good]
    if wrong:
        asked = " ".join(f'"{package.name}{package.wanted}"' for package in wrong)
        return Diagnosis(
            facts,
            tuple(every.values()) if model is None else (every[model],),
            f"First install what steerlab was made for: pip install {asked}",
            ok=False,
        )
    if model is not None:
        row = every[model]
        return Diagnosis(facts, (row,), _about(row, facts), row.good)
    return Diagnosis(facts, tuple(every.values()), _recommend(every, facts), ok=True)


def _row(source: ModelSource, facts: Facts) -> Row:
    choice = choice_for(source, facts.machine)
    here = source.name in facts.cached or source.hub_id is None
    obstacle = None
    if not here:
        if not facts.hub:
            obstacle = "the hub is out of reach"
        elif facts.disk_free < source.download_gib:
            obstacle = f"the disk has room for {facts.disk_free:.1f} GiB"
        elif source.gated and not facts.token:
            obstacle = "gated: accept its licence, set HF_TOKEN"
    return Row(
        source.name,
        source.billions,
        choice,
        source.download_gib,
        here,
        ways_out(source.shape, facts.machine, choice, source.latents),
        obstacle,
    )


def _about(row: Row, facts: Facts) -> str:
    """One sentence about one model."""
    source = KNOWN[row.name]
    if not row.choice.loads:
        why = refusal(row.name, source.shape, facts.machine, row.choice, source.latents)
        return f"{why[0].upper()}{why[1:]}."
    if row.obstacle is not None:
        return f'{row.name} fits, but {row.obstacle}; MODEL = "tiny" needs nothing.'
    fetched = "" if row.cached else f", after a download of {row.download:.1f} GiB"
    return f'Take MODEL = "{row.name}": it loads in {row.choice.loaded_as}{fetched}.'


def _recommend(rows: dict[str, Row], facts: Facts) -> str:
    """The largest model that loads here, and what would make a larger one load."""
    best = max(reversed([row for row in rows.values() if row.good]), key=lambda row: row.billions)
    said = _about(best, facts)
    for row in reversed(list(rows.values())):
        if row.billions <= best.billions or row.good:
            continue
        if row.choice.loads:
            return f"{said} {row.name} would fit too: {row.obstacle}."
        if row.instead[0].startswith("pip"):
            return f"{said} After `{row.instead[0]}` {row.name} loads in 4 bits."
    return said


# ---------------------------------------------------------------- as text


def _facts_lines(facts: Facts) -> list[str]:
    machine = facts.machine
    gpu = "none that torch sees"
    if machine.gpu:
        half = "bfloat16" if machine.native_bfloat16 else "float16, bfloat16 only emulated"
        bits = "bitsandbytes is installed" if machine.bitsandbytes else "no bitsandbytes"
        gpu = (
            f"{machine.gpu}, {machine.gpu_free:.1f} of {facts.gpu_total:.1f} GiB free; "
            f"{half}; {bits}"
        )
    hub = "in reach" if facts.hub else "out of reach"
    token = "a token is set" if facts.token else "no token is set"
    packages = []
    for package in facts.packages:
        state = package.version or "missing"
        packages.append(f"{package.name} {state}{'' if package.good else f' (!{package.wanted})'}")
    return [
        f"GPU       {gpu}",
        f"RAM       {machine.ram_free:.1f} of {facts.ram_total:.1f} GiB free",
        f"disk      {facts.disk_free:.1f} GiB free in {facts.cache}",
        f"hub       {hub}; {token}",
        f"packages  {', '.join(packages)}",
    ]


def _note(row: Row) -> str:
    """What stands in a model's way here, and what to do about it."""
    if not row.instead:
        return row.obstacle or ""
    if row.instead[0].startswith("pip"):
        return f"after {row.instead[0]}; or {row.instead[1]}"
    return f"instead: {' or '.join(row.instead)}"


def _table(rows: tuple[Row, ...]) -> list[str]:
    """Fixed columns: what each model needs, in GiB, and what that means here."""
    head = ("model", "billions", "loaded as", "weights", "cache", "work", "needs", "verdict", "")
    cells: list[tuple[str, ...]] = [head]
    for row in rows:
        parts = row.choice.need
        beside = parts.activations + parts.autoencoder + parts.reserve
        numbers = (parts.weights, parts.cache, beside, parts.total)
        cells.append(
            (
                row.name,
                f"{row.billions:.3f}",
                row.choice.loaded_as,
                *(f"{number:.1f}" for number in numbers),
                row.choice.verdict.removesuffix(" with bitsandbytes"),
                _note(row),
            )
        )
    widths = [max(len(line[i]) for line in cells) for i in range(len(head))]
    right = {1, 3, 4, 5, 6}
    lines = [
        "  ".join(
            cell.rjust(width) if i in right else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]
    return [
        *lines,
        f"GiB, for {COURSE_BATCH} texts of {COURSE_TOKENS} tokens; work: activations, the course's "
        f"autoencoder, {RESERVE:.0f} GiB for the rest.",
    ]
