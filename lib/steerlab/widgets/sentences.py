"""A direction from the reader's own sentences: those it shall lead to, and those it shall lead from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import ipywidgets as widgets
import torch
from torch import Tensor

from steerlab.activations import collect
from steerlab.sae.labels import FeatureLabels
from steerlab.sae.model import SAE
from steerlab.widgets import render
from steerlab.widgets.code import Cell
from steerlab.widgets.methods import Method, Ruler, vector_method
from steerlab.widgets.steps import Work

MEANS, CAV, SPARSE = "mean difference", "CAV", "sparse steering"
AT_ONCE = 8  # sentences read in one step
SHOWN = 8  # features of a sparse answer that are named


class OwnSentences:
    """The widgets for it, and the `Method` that was found last.

    sae, labels: the dictionary that sparse steering chooses from, without which it is not offered.
    towards, away: what stands in the boxes at first.
    """

    kind = "your sentences"

    def __init__(
        self,
        ruler: Ruler,
        towards: Sequence[str] = (),
        away: Sequence[str] = (),
        sae: SAE | None = None,
        labels: FeatureLabels | None = None,
    ):
        self._ruler, self._sae, self._labels = ruler, sae, labels
        self._method: Method | None = None
        self._epsilon: float | None = None
        wide = widgets.Layout(width="auto")
        self.how = widgets.Dropdown(
            options=[MEANS, CAV, *([SPARSE] if sae is not None else [])], description="how"
        )
        self.towards = widgets.Textarea(
            value="\n".join(towards), description="towards", rows=4, layout=wide,
            placeholder="a sentence a line, of what the text shall become",
        )  # fmt: skip
        self.away = widgets.Textarea(
            value="\n".join(away), description="away from", rows=4, layout=wide,
            placeholder="a sentence a line, alike but for that",
        )  # fmt: skip
        self.find = widgets.Button(description="Find the direction")
        self.found = widgets.HTML(layout=wide)
        self.rows = [self.how, self.towards, self.away, self.find, self.found]
        for box in (self.how, self.towards, self.away):
            box.observe(self._forget, names="value")

    @property
    def ready(self) -> bool:
        """Whether there is a direction."""
        return self._method is not None

    def chosen(self) -> Method:
        """What was found. Raises ValueError where that has not been done for these sentences."""
        if self._method is None:
            raise ValueError(
                "there is no direction for these sentences yet: press “Find the direction”"
            )
        return self._method

    def fit(self) -> Work:
        """Read the sentences and find the direction, step by step.

        Raises ValueError for too few sentences, and what the fits raise.
        """
        sides = {"towards": _lines(self.towards.value), "away": _lines(self.away.value)}
        least = 2 if self.how.value == CAV else 1
        for name, sentences in sides.items():
            if len(sentences) < least:
                raise ValueError(
                    f"“{'away from' if name == 'away' else name}” holds {len(sentences)} sentences: "
                    f"write {least} or more, one a line"
                )
        how, hook = str(self.how.value), self._hook()
        texts = [*sides["towards"], *sides["away"]]
        read: list[Tensor] = []
        for start in range(0, len(texts), AT_ONCE):
            yield 0.8 * start / len(texts), f"reading {len(texts)} sentences"
            some = collect(
                self._ruler.model, texts[start : start + AT_ONCE], hook, mode=self._ruler.mode
            )
            read.append(some.mean_per_document(hook))
        yield 0.8, f"finding the {how}" if how != SPARSE else "choosing features"
        n, self._epsilon = len(sides["towards"]), None
        vector = {MEANS: self._means, CAV: self._cav, SPARSE: self._sparse}[how](torch.cat(read), n)
        epsilon = self._epsilon
        self._method = vector_method(
            f"{how} of your sentences",
            vector,
            hook,
            self._ruler,
            in_code=lambda cell: self._in_code(cell, how, sides, hook, epsilon),
        )

    def _means(self, read: Tensor, n: int) -> Tensor:
        vector = read[:n].mean(0) - read[n:].mean(0)
        self.found.value = render.notes([_count(n, len(read) - n)])
        return vector

    def _cav(self, read: Tensor, n: int) -> Tensor:
        from steerlab.cavs import fit_cavs

        labels = ["towards"] * n + ["away"] * (len(read) - n)
        cavs = fit_cavs(read, labels)
        right = cavs.accuracy(read, labels)
        self.found.value = render.notes(
            [f"{_count(n, len(read) - n)}; the classifier is right on {right:.0%} of them."]
        )
        return cavs["towards"]

    def _sparse(self, read: Tensor, n: int) -> Tensor:
        from steerlab.sparse import SparseSolver, fit_subspace

        assert self._sae is not None
        subspace = fit_subspace(read, [1] * n + [0] * (len(read) - n))
        solver = SparseSolver(self._sae.W_dec, subspace.directions)
        missing = subspace.missing(subspace.other_mean)
        answer = solver.socp(missing)
        if answer.smallest_epsilon is not None and math.isfinite(answer.smallest_epsilon):
            # The usual bound is too tight here. How far to go is the slider's to say.
            self._epsilon = 1.01 * answer.smallest_epsilon
            answer = solver.socp(missing, self._epsilon)
        answer.check()
        named = ", ".join(self._named(feature) for feature in answer.features[:SHOWN])
        more = ", …" if answer.l0 > SHOWN else ""
        self.found.value = render.notes(
            [
                f"{_count(n, len(read) - n)}; {answer.l0} of {answer.d_sae} features reach the mean of "
                f"the first: {named}{more or '.'}"
            ]
        )
        return answer.vector

    def _named(self, feature: int) -> str:
        known = self._labels is not None and feature in self._labels
        concept = self._labels[feature].concept if known and self._labels is not None else None
        return f"{feature} ({concept})" if concept else str(feature)

    def _hook(self) -> str:
        """Where residuals are read and steered: what is sparse has to be where its dictionary is."""
        if self.how.value != SPARSE or self._sae is None:
            return self._ruler.hook_name
        if self._sae.hook_name is None:
            raise ValueError("this SAE does not say which hook point it was trained on")
        return self._sae.hook_name

    def _in_code(
        self, cell: Cell, how: str, sides: dict[str, list[str]], hook: str, epsilon: float | None
    ) -> str:
        model = cell.name_of(self._ruler.model, "model", "the model")
        for name, sentences in sides.items():
            cell.line(f"{name} = [")
            for sentence in sentences:
                cell.line(f"    {cell.quoted(sentence)},")
            cell.line("]")
        where = f"{cell.quoted(hook)}, mode={cell.quoted(self._ruler.mode)}"
        if how == MEANS:
            cell.use("steerlab.directions", "mean_difference")
            return f"mean_difference({model}, towards, away, {where})"
        if how == CAV:
            cell.use("steerlab.directions", "fit_cavs")
            cell.use("steerlab.activations", "collect")
            cell.line(f"read = collect({model}, [*towards, *away], {where})")
            cell.line('labels = ["towards"] * len(towards) + ["away"] * len(away)')
            cell.line(f"cavs = fit_cavs(read.mean_per_document({cell.quoted(hook)}), labels)")
            return 'cavs["towards"]'
        cell.use("steerlab.sparse", "SparseSolver")
        cell.use("steerlab.sparse", "concept_subspace")
        sae = cell.name_of(self._sae, "sae", "the autoencoder")
        cell.line(f"subspace = concept_subspace({model}, towards, away, {where})")
        cell.line("missing = subspace.missing(subspace.other_mean)")
        bound = "" if epsilon is None else f", epsilon={epsilon!r}"
        cell.line(f"answer = SparseSolver({sae}.W_dec, subspace.directions).socp(missing{bound})")
        return "answer.vector"

    def _forget(self, change: Any) -> None:
        self._method, self.found.value = None, ""


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _count(n: int, others: int) -> str:
    return f"From {n} sentence{'s' * (n != 1)} against {others}"
