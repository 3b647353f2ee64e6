"""Running an interference sweep: measured cell by cell, kept as it goes, resumable.

A cell is one measurement of one direction at one strength over all prompts. Its records are
appended to the folder together; a cell that was cut off half way is measured again.

- "margin": one forward pass a batch; the math margin, the log-odds and the KL at the last token of
  each prompt, for the direction and all controls.
- "first": the first few greedy tokens; whether a completion begins with LaTeX.
- "text": whole greedy completions; validity of code and LaTeX, and fluency as the unsteered model
  judges it.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from steerlab.data.prompts import Prompt
from steerlab.evaluation.margins import MathTokens, kl_divergence, math_margin, math_tokens
from steerlab.evaluation.results import (
    DIRECTIONS,
    PLAN,
    RECORDS,
    Cell,
    SweepResult,
    load_sweep,
    replace_file,
)
from steerlab.evaluation.sweep_plan import SUBJECT, UNSTEERED, SweepPlan
from steerlab.evaluation.text import completion_fluency
from steerlab.evaluation.validity import code_validity, latex_first, latex_validity
from steerlab.generation import Completion, generate
from steerlab.hooks import check_unhooked
from steerlab.positions import begin_prompt
from steerlab.steering import steer
from steerlab.tokens import tokenize

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Record = dict[str, Any]
# Called while the model is steered, it gives what is left to do when it no longer is.
Measure = Callable[[Cell], Callable[[], list[Record]]]


def run_sweep(
    model: TransformerBridge,
    plan: SweepPlan,
    folder: str | os.PathLike[str] | None = None,
    *,
    tokens: MathTokens | None = None,
    batch_size: int = 32,
    progress: bool = True,
) -> SweepResult:
    """Measure everything that `plan` asks for, and sum it up.

    folder: where records, summary.json and summary.csv go; None keeps all in memory. A folder with
    part of the same sweep is completed: what it holds is not measured again. tokens: which tokens
    count as mathematics (default: `math_tokens(model)`).

    Raises ValueError for a folder that holds another sweep or another model's, and while any hook
    hangs on the model. What was measured before an error or an interruption stays in the folder.
    """
    check_unhooked(model, "an interference sweep")
    if batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; it must be at least 1")
    tokens = tokens or math_tokens(model)
    store = _Store(plan, folder, model, tokens)
    plan = store.plan  # in a folder, with the directions that were saved there
    margins = _Margins(model, plan, tokens, batch_size)
    measures: dict[str, Measure] = {
        "margin": margins,
        "first": _First(model, plan, batch_size),
        "text": _Texts(model, plan, batch_size),
    }
    cells = planned_cells(plan)
    store.check_same_model(margins)
    todo = [cell for cell in cells if cell not in store.result.cells]
    bar = tqdm(
        total=len(cells),
        initial=len(cells) - len(todo),
        disable=not progress,
        unit="cell",
        mininterval=1,
    )
    with bar:
        for cell in todo:
            bar.set_description(f"{cell.measure} {cell.direction} α={cell.alpha:g}", refresh=False)
            with _steered(model, plan, cell):
                finish = measures[cell.measure](cell)
            # Fluency is judged by the unsteered model, so after the block.
            store.add(cell, finish())
            bar.update()
    if folder is not None:
        store.result.write(folder)
    return store.result


def planned_cells(plan: SweepPlan) -> list[Cell]:
    """Every measurement of a plan, in the order in which they are made."""
    sizes = {"margin": None, "first": plan.first_controls, "text": plan.text_controls}
    if not plan.text_prompts:
        sizes = {"margin": None}
    cells = []
    for measure, most in sizes.items():
        cells.append(Cell(measure, UNSTEERED, 0.0))
        kept = [d for d in plan.directions if most is None or d == SUBJECT or _index(d) < most]
        cells += [Cell(measure, d, alpha) for d in kept for alpha in plan.alphas if alpha]
    return cells


def _index(control: str) -> int:
    return int(control.rpartition("/")[2])


@contextmanager
def _steered(model: TransformerBridge, plan: SweepPlan, cell: Cell) -> Iterator[None]:
    with ExitStack() as stack:
        if cell.direction != UNSTEERED:
            step = plan.intervention(cell.direction, cell.alpha)
            stack.enter_context(steer(model, {plan.hook_name: step}, positions=plan.positions))
        yield


# ---------------------------------------------------------------- measurements


class _Margins:
    """Margin, log-odds and KL at the last token of every prompt."""

    def __init__(
        self, model: TransformerBridge, plan: SweepPlan, tokens: MathTokens, batch_size: int
    ):
        self.model, self.plan, self.tokens = model, plan, tokens
        texts = [prompt.text for prompt in plan.prompts]
        lengths = [len(text) for text in texts]
        order = sorted(range(len(texts)), key=lambda i: lengths[i])  # little padding a batch
        chunks = [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
        self.batches = [
            (chunk, tokenize(model, [texts[i] for i in chunk], mode=plan.mode)) for chunk in chunks
        ]
        self.unsteered: list[Tensor] = []

    @torch.no_grad()
    def logits(self) -> list[Float[Tensor, "batch d_vocab"]]:
        """Of each batch, at the last position."""
        found = []
        for _, batch in self.batches:
            begin_prompt(self.model)
            logits = self.model(batch.tokens, attention_mask=batch.attention_mask, use_cache=False)
            found.append(logits[:, -1])
        return found

    def __call__(self, cell: Cell) -> Callable[[], list[Record]]:
        steered = self.unsteered if cell.direction == UNSTEERED else self.logits()
        records: list[Record] = [{}] * len(self.plan.prompts)
        for (chunk, _), here, base in zip(self.batches, steered, self.unsteered, strict=True):
            margin, log_odds = math_margin(here, self.tokens)
            kl = kl_divergence(here, base)
            for row, i in enumerate(chunk):
                records[i] = {
                    "prompt": self.plan.prompts[i].id,
                    "margin": _rounded(margin[row]),
                    "log_odds": _rounded(log_odds[row]),
                    "kl": _rounded(kl[row]),
                }
        return lambda: records


class _First:
    """Whether the first few tokens of a completion open LaTeX."""

    def __init__(self, model: TransformerBridge, plan: SweepPlan, batch_size: int):
        self.model, self.plan, self.batch_size = model, plan, batch_size

    def completions(self, max_new_tokens: int) -> list[Completion]:
        return generate(
            self.model,
            [prompt.text for prompt in self.plan.text_prompts],
            max_new_tokens=max_new_tokens,
            mode=self.plan.mode,
            batch_size=self.batch_size,
        )

    def __call__(self, cell: Cell) -> Callable[[], list[Record]]:
        begun = self.completions(min(self.plan.first_tokens, self.plan.max_new_tokens))
        return lambda: [
            {"prompt": prompt.id, "latex_first": latex_first(each.text), "text": each.text}
            for prompt, each in zip(self.plan.text_prompts, begun, strict=True)
        ]


class _Texts(_First):
    """Whole completions with what parsers and the unsteered model make of them."""

    def __call__(self, cell: Cell) -> Callable[[], list[Record]]:
        written = self.completions(self.plan.max_new_tokens)
        return lambda: self._judge(self.plan.text_prompts, written)

    def _judge(self, prompts: Sequence[Prompt], written: Sequence[Completion]) -> list[Record]:
        fluencies = completion_fluency(self.model, written, batch_size=self.batch_size)
        records = []
        for prompt, each, cost in zip(prompts, written, fluencies, strict=True):
            record: Record = {"prompt": prompt.id}
            for what, found in (
                ("code", code_validity(each.text)),
                ("latex", latex_validity(each.text)),
            ):
                record[f"{what}_present"] = found.present
                record[f"{what}_valid_if_present"] = found.valid
                record[f"{what}_present_and_valid"] = bool(found.valid)
            record |= {"nll": _rounded(cost.nll), "distinct2": _rounded(cost.distinct2)}
            record |= {"n_tokens": len(each.tokens), "text": each.text}
            records.append(record)
        return records


def _rounded(value: Any) -> float | None:
    """Six digits, which is more than prompts can tell; None for what is missing or not finite."""
    if value is None or not math.isfinite(float(value)):
        return None
    return float(f"{float(value):.6g}")


# ---------------------------------------------------------------- what is kept


class _Store:
    """The records of one sweep, in memory and, if it has one, in its folder."""

    def __init__(
        self,
        plan: SweepPlan,
        folder: str | os.PathLike[str] | None,
        model: TransformerBridge,
        tokens: MathTokens,
    ):
        described = plan.describe() | {
            "model": str(model.cfg.model_name),
            "math_tokens": {"n": int(tokens.math.sum()), "some": list(tokens.texts.values())[:40]},
        }
        kinds = {prompt.id: prompt.kind for prompt in plan.prompts}
        self.plan = plan
        self.folder = None if folder is None else Path(folder)
        self.result = SweepResult(described, kinds)
        if self.folder is None:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        if (self.folder / PLAN).is_file():
            self._continue(described, kinds)
        elif (self.folder / RECORDS).exists():
            raise ValueError(f"{self.folder} has {RECORDS} but no {PLAN}; choose another folder")
        else:
            self._save_directions()
            text = json.dumps(described | {"prompt_kinds": kinds}, indent=1, ensure_ascii=False)
            replace_file(self.folder / PLAN, text + "\n")

    def _continue(self, described: dict[str, Any], kinds: dict[str, str]) -> None:
        assert self.folder is not None
        before = load_sweep(self.folder)
        # Measured anew, these may differ in the last bits; the vectors are compared as vectors.
        loose = {"coefficient", "about"}
        fresh = json.loads(json.dumps(described | {"prompt_kinds": kinds}))
        old = before.plan | {"prompt_kinds": before.prompts}
        differing = sorted(k for k in {*fresh, *old} - loose if fresh.get(k) != old.get(k))
        saved = self._load_directions()
        own = self.plan.vectors()
        if set(saved) != set(own) or any(not _alike(saved[name], own[name]) for name in own):
            differing.append("directions")
        if differing:
            raise ValueError(
                f"{self.folder} holds another sweep (it differs in {', '.join(differing)}): "
                "choose another folder, or remove that one"
            )
        self.plan = replace(
            self.plan,
            unit=saved.pop(SUBJECT, None),
            controls={family: saved[family] for family in self.plan.controls},
            coefficient=before.plan["coefficient"],
        )
        self.result.plan = before.plan
        expected = {
            cell: {
                p.id
                for p in (self.plan.prompts if cell.measure == "margin" else self.plan.text_prompts)
            }
            for cell in planned_cells(self.plan)
        }
        whole = {
            cell: columns
            for cell, columns in before.cells.items()
            if cell in expected and set(columns["prompt"]) == expected[cell]
            and len({len(column) for column in columns.values()}) == 1
        }  # fmt: skip
        # Written anew without the cell that was cut off, so that its line cannot swallow the next.
        lines = [line for cell, columns in whole.items() for line in _as_lines(cell, columns)]
        replace_file(self.folder / RECORDS, "".join(lines))
        self.result.cells.update(whole)

    def _save_directions(self) -> None:
        from safetensors.torch import save_file

        assert self.folder is not None
        tensors = {name: rows.contiguous() for name, rows in self.plan.vectors().items()}
        save_file(tensors, self.folder / DIRECTIONS)

    def _load_directions(self) -> dict[str, Tensor]:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        assert self.folder is not None
        path = self.folder / DIRECTIONS
        try:
            return load_file(path)
        except (OSError, SafetensorError) as error:
            raise ValueError(
                f"{path} is missing or damaged ({error}); choose another folder"
            ) from None

    def check_same_model(self, margins: _Margins) -> None:
        """Measure the unsteered logits; a folder begun by another model disagrees with them."""
        margins.unsteered = margins.logits()
        recorded = self.result.cells.get(Cell("margin", UNSTEERED, 0.0))
        if recorded is None:
            return
        now = {r["prompt"]: r["margin"] for r in margins(Cell("margin", UNSTEERED, 0.0))()}
        known = [m for m in now.values() if m is not None]
        apart = max(
            abs((now[prompt] or 0.0) - (margin or 0.0))
            for prompt, margin in zip(recorded["prompt"], recorded["margin"], strict=True)
        )
        if apart > 0.05 * (1 + max(map(abs, known), default=0.0)):
            raise ValueError(
                f"{self.folder} was begun with another model: its unsteered margins differ from "
                f"this one's by up to {apart:.3g}; choose another folder"
            )

    def add(self, cell: Cell, records: list[Record]) -> None:
        columns = {name: [record[name] for record in records] for name in records[0]}
        if self.folder is not None:
            with (self.folder / RECORDS).open("a", encoding="utf-8") as file:
                file.write("".join(_as_lines(cell, columns)))
        self.result.cells[cell] = columns


def _alike(one: Tensor, other: Tensor) -> bool:
    """Whether unit vectors are the same up to rounding."""
    return one.shape == other.shape and bool(((one * other).sum(dim=-1) > 0.999).all())


def _as_lines(cell: Cell, columns: dict[str, list[Any]]) -> list[str]:
    rows = zip(*columns.values(), strict=True)
    return [
        json.dumps(cell._asdict() | dict(zip(columns, row, strict=True)), ensure_ascii=False) + "\n"
        for row in rows
    ]
