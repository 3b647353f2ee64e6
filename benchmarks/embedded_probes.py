"""What every row of the embedded model's table shares: the bench, cells of completions, rows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from steerlab.activations import collect
from steerlab.data import Document, generate
from steerlab.evaluation import Fluency, mean_fluency, on_topic
from steerlab.generation import Completion
from steerlab.generation import generate as write
from steerlab.models import load_model
from steerlab.sae import ClampFeatures
from steerlab.settings import course_settings
from steerlab.steering import AddVector, Intervention, coefficient_for_dose, steer
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

HAIKU = "Write a haiku.\n"


@dataclass(frozen=True)
class Row:
    """One line of the table: a measured value against its threshold, such as "<= 0.03".

    `fixed` rows have to hold on the shipped model; the others are probes, reported as they are.
    """

    name: str
    value: float | None
    threshold: str
    note: str = ""
    fixed: bool = False

    @property
    def ok(self) -> bool:
        """Whether the value meets the threshold; a value that could not be measured does not."""
        if self.value is None:
            return False
        sign, bound = self.threshold.split()
        return self.value <= float(bound) if sign == "<=" else self.value >= float(bound)


@dataclass(frozen=True)
class Cell:
    """Completions under one intervention, with their fluency."""

    completions: list[Completion]
    fluency: Fluency

    def on_topic(self, words: Sequence[str]) -> float:
        """Share of completions with at least two different words of a topic."""
        return sum(on_topic(c, words) for c in self.completions) / len(self.completions)


@dataclass
class Bench:
    """The model under test, how much to measure, and the residuals that several rows share."""

    folder: str
    quick: bool
    started: float = field(default_factory=time.perf_counter)

    def __post_init__(self) -> None:
        self.model = load_model(self.folder)
        self.hook = course_settings(self.model).hook_name
        self.hf = AutoModelForCausalLM.from_pretrained(self.folder, dtype=torch.float32).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(self.folder)
        self.seeds = (1,) if self.quick else (1, 2, 3)
        self.cell_size = 60 if self.quick else 200
        self.pilot_size = 30 if self.quick else 60  # for choosing a strength, seed 0

    def say(self, line: str) -> None:
        print(f"[{time.perf_counter() - self.started:4.0f} s] {line}", flush=True)

    def residuals(self, documents: Sequence[Document]) -> Any:
        """Activations of some documents at the hook, without position 0."""
        return collect(self.model, [d.text for d in documents], self.hook, batch_size=64)

    def side_by_side(
        self,
        interventions: Sequence[Intervention | None],
        prompts: Sequence[str],
        n: int,
        seed: int,
        max_new_tokens: int = 32,
    ) -> list[Cell]:
        """One cell of `n` completions at temperature 1 for each intervention, prompts in turn.

        All interventions share batches, which saves most of the time. Prompts of one length go
        together: `write` keeps the order of such rows, and each has its own seed.
        """
        groups: dict[int, list[str]] = {}
        for i in range(n):
            prompt = prompts[i % len(prompts)]
            groups.setdefault(len(self.tokenizer(prompt)["input_ids"]), []).append(prompt)
        done: list[list[Completion]] = [[] for _ in interventions]
        for length, group in groups.items():
            at_once = max(1, 2400 // len(group))
            for start in range(0, len(interventions), at_once):
                block = interventions[start : start + at_once]
                rows = group * len(block)
                with steer(self.model, {self.hook: SideBySide(block)}):
                    written = write(
                        self.model,
                        rows,
                        max_new_tokens=max_new_tokens,
                        temperature=1.0,
                        seed=seed * 101 + length + start,
                        batch_size=len(rows),
                    )
                for k in range(len(block)):
                    done[start + k] += written[k * len(group) : (k + 1) * len(group)]
        return [self.judged(completions) for completions in done]

    def judged(self, completions: list[Completion]) -> Cell:
        """Completions with their fluency."""
        return Cell(completions, mean_fluency(self.model, completions, batch_size=256))

    def scored(
        self,
        interventions: Sequence[Intervention | None],
        prompts: Sequence[str],
        *,
        size: int | None = None,
        max_new_tokens: int = 32,
    ) -> list[Cell]:
        """The cells that count: `size` (or `cell_size`) completions for every seed, pooled."""
        n = size or self.cell_size
        by_seed = [
            self.side_by_side(interventions, prompts, n, seed, max_new_tokens)
            for seed in self.seeds
        ]
        return [
            self.judged([c for cell in cells for c in cell.completions])
            for cells in zip(*by_seed, strict=True)
        ]


@dataclass(frozen=True)
class SideBySide:
    """Several interventions on equal shares of a batch's rows, in order; None leaves its share."""

    interventions: Sequence[Intervention | None]

    def __call__(self, resid: Float[Tensor, "b pos d_model"]) -> Float[Tensor, "b pos d_model"]:
        shares = resid.chunk(len(self.interventions))
        return torch.cat(
            [f(x) if f is not None else x for f, x in zip(self.interventions, shares, strict=True)]
        )


@dataclass(frozen=True)
class ClampControl:
    """As large a step at every token as `clamp` takes there, along another direction."""

    clamp: ClampFeatures
    direction: Float[Tensor, " d_model"]

    def __call__(self, resid: Float[Tensor, "b pos d_model"]) -> Float[Tensor, "b pos d_model"]:
        size = (self.clamp(resid) - resid).norm(dim=-1, keepdim=True)
        return resid + size * self.direction / self.direction.norm()


def nll_rise(steered: Fluency, plain: Fluency) -> float:
    """Nats a token that steering adds; infinite where nothing was written."""
    return float("inf") if steered.nll is None or plain.nll is None else steered.nll - plain.nll


def at_dose(bench: Bench, direction: Tensor, prompts: Sequence[str], dose: float) -> AddVector:
    """The direction at a dose, measured on the prompts (negative: the other way)."""
    coefficient = coefficient_for_dose(bench.model, direction, bench.hook, prompts, dose)
    return AddVector(direction, coefficient)


def topic_documents(n: int, seed: int) -> list[Document]:
    """Documents that have a topic, drawn as the corpus draws them."""
    return [d for d in generate(2 * n, seed) if d.topic is not None][:n]


def rank_p(observed: float, controls: Sequence[float]) -> float:
    """Two-sided rank p-value, (1 + #{|control| ≥ |observed|}) / (1 + n)."""
    return (1 + sum(abs(c) >= abs(observed) for c in controls)) / (1 + len(controls))
