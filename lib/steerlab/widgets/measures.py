"""What a text shows of the concept, and what it costs in fluency."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from steerlab.evaluation import Fluency, concept_score, fluency
from steerlab.generation import Completion
from steerlab.tokens import Mode
from steerlab.widgets import render

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Written = str | Completion
Row = tuple[str, float | None, Fluency]
Judge = Callable[[list[Written]], "float | None"]


class Measures:
    """Concept score and fluency of texts, as a table.

    words_for, words_against: what the concept score counts. words: {concept: words}; where the
    concept that is steered is one of these, its words count against those of all others.
    """

    def __init__(
        self,
        model: TransformerBridge,
        mode: Mode,
        words_for: Iterable[str],
        words_against: Iterable[str],
        words: Mapping[str, Iterable[str]],
    ):
        self._model, self._mode = model, mode
        self._words_for, self._words_against = tuple(words_for), tuple(words_against)
        self._words = {concept: tuple(some) for concept, some in words.items()}

    def fluency(self, prompt: str, written: Written) -> Fluency:
        """Fluency of what was written after a prompt."""
        return fluency(self._model, prompt, written, mode=self._mode)

    def rows(
        self,
        concept: str | None,
        texts: Mapping[str, Written],
        costs: Mapping[str, Fluency],
    ) -> list[Row]:
        """A row for each text. Its score is None where no words belong to the concept."""
        judge = self.judge(concept)
        return [
            (name, judge[1]([text]) if judge else None, costs[name]) for name, text in texts.items()
        ]

    def table(self, concept: str | None, rows: Sequence[Row]) -> str:
        """The rows as HTML, without a column of scores where no words belong to the concept."""
        judge = self.judge(concept)
        return render.table(rows, judge[0] if judge else None)

    def judge(self, concept: str | None) -> tuple[str, Judge] | None:
        """The name of the concept score and what takes it from some texts, pooled; None without words."""
        heading, words = self._judge(concept or "")
        if words is None:
            return None
        return heading, lambda texts: concept_score(texts, *words)

    def _judge(self, concept: str) -> tuple[str, tuple[Iterable[str], Iterable[str]] | None]:
        """The heading of the concept score, and the words for and against that it counts."""
        for name in (concept, concept.partition(": ")[2]):
            if name in self._words:
                wanted = {word.lower() for word in self._words[name]}
                others = {word.lower() for some in self._words.values() for word in some} - wanted
                if wanted and others:
                    return f"concept score ({name})", (wanted, others)
        if self._words_for and self._words_against:
            return "concept score", (self._words_for, self._words_against)
        return "concept score", None
