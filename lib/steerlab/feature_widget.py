"""The feature browser: pick a feature, read where it fires, how often, and what it is called.

Only the core widgets that ipywidgets 7 and 8 share. Everything runs in the callbacks, and whatever
goes wrong in a function that was passed in is shown in the widget.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets as widgets
import torch
from jaxtyping import Float
from torch import Tensor

from steerlab.activations import Activations
from steerlab.sae.cards import context_card
from steerlab.sae.features import Context, FeatureContexts
from steerlab.sae.labels import FeatureLabel

# (strengths, documents, tokens, skip, n) -> places of the strongest contexts
TopContexts = Callable[[Tensor, Tensor, Tensor, list[int], int], Sequence[int]]


class FeatureBrowser:
    """Browse the features of a code by number or by label.

    activations: the tokens that were encoded; code: their features [token, d_sae]. top_contexts:
    (strengths, documents, tokens, skip, n) -> places, e.g. your own. labels: {feature: (name,
    detection score on held-out documents)}. Display the object, or place its `.widget`.

    Raises ValueError where code and activations differ in their number of tokens.
    """

    def __init__(
        self,
        activations: Activations,
        code: Float[Tensor, "token d_sae"],
        top_contexts: TopContexts,
        tokenizer: Any,
        *,
        labels: Mapping[int, tuple[str, float]] | None = None,
        skip: Sequence[int] = (),
        n: int = 6,
        before: int = 8,
        after: int = 4,
        start: int = 0,
    ):
        if len(code) != len(activations):
            raise ValueError(f"code has {len(code)} tokens and activations {len(activations)}")
        self.activations, self.code = activations, code
        self.top_contexts, self.tokenizer = top_contexts, tokenizer
        self.labels = dict(labels or {})
        self.skip, self.n, self.before, self.after = list(skip), n, before, after
        self._build(start)
        self._show()

    def contexts(self, feature: int) -> FeatureContexts:
        """Where a feature fires, by the function that was passed in, with one place of each quartile."""
        strengths = self.code[:, feature].float().cpu()
        rate, maximum = float((strengths > 0).float().mean()), float(strengths.max())
        places = self.top_contexts(
            strengths, self.activations.document, self.activations.tokens, self.skip, self.n
        )
        firing = strengths.nonzero().flatten()
        by_strength = firing[strengths[firing].argsort()]
        generator = torch.Generator().manual_seed(feature)
        drawn = [
            self._context(
                strengths, int(part[torch.randint(len(part), (), generator=generator)]), k
            )
            for k, part in enumerate(by_strength.tensor_split(4), start=1)
            if len(part)
        ]
        top = [self._context(strengths, int(place)) for place in places]
        return FeatureContexts(feature, rate, maximum, tuple(top), tuple(drawn))

    def card(self, feature: int) -> str:
        """The feature's card as HTML."""
        label = None
        if feature in self.labels:
            name, detection = self.labels[feature]
            label = FeatureLabel(feature, name, detection, (), 0.0, 0.0)
        return context_card(self.contexts(feature), label)

    def _context(
        self, strengths: Float[Tensor, " token"], place: int, quartile: int | None = None
    ) -> Context:
        """The tokens of the same document around one place."""
        if not 0 <= place < len(strengths):
            raise ValueError(f"place {place} is outside of 0 to {len(strengths) - 1}")
        document = self.activations.document
        low, high = max(0, place - self.before), min(len(document), place + self.after + 1)
        inside = [i for i in range(low, high) if document[i] == document[place]]
        ids = self.activations.tokens[inside].tolist()
        return Context(
            document=int(document[place]),
            tokens=tuple(
                self.tokenizer.decode([i], clean_up_tokenization_spaces=False) for i in ids
            ),
            activations=tuple(strengths[inside].tolist()),
            peak=inside.index(place),
            quartile=quartile,
        )

    # ------------------------------------------------------------ the widgets

    def _build(self, start: int) -> None:
        last = self.code.shape[1] - 1
        self.feature = widgets.BoundedIntText(value=start, min=0, max=last, description="feature")
        self.next = widgets.Button(description="next that fires")
        self.query = widgets.Text(placeholder="part of a label", description="search")
        self.find = widgets.Button(description="Find")
        self.found = widgets.Dropdown(options=[], description="found")
        self.shown = widgets.HTML()
        self.error = widgets.HTML()
        self.widget = widgets.VBox(
            [
                widgets.HBox([self.feature, self.next]),
                widgets.HBox([self.query, self.find, self.found]),
                self.error,
                self.shown,
            ]
        )
        self.feature.observe(self._show, names="value")
        self.next.on_click(self._on_next)
        self.find.on_click(self._on_find)
        self.found.observe(self._on_found, names="value")

    def _ipython_display_(self) -> None:
        from IPython.display import display

        display(self.widget)

    # ------------------------------------------------------------ callbacks

    def _show(self, change: Any = None) -> None:
        self.error.value = self.shown.value = ""
        try:
            self.shown.value = self.card(self.feature.value)
        except Exception as error:  # of the function that was passed in: shown, not swallowed
            self._complain(f"{type(error).__name__}: {error}")

    def _on_next(self, button: Any) -> None:
        fires = (self.code > 0).any(0)
        order = torch.arange(self.feature.value + 1, self.feature.value + 1 + len(fires))
        order = order % len(fires)
        live = order[fires[order]]
        if len(live):
            self.feature.value = int(live[0])
        else:
            self._complain("no feature fires on these tokens")

    def _on_find(self, button: Any) -> None:
        query = self.query.value.strip().lower()
        hits = [
            (score, feature, name)
            for feature, (name, score) in self.labels.items()
            if query and query in name.lower()
        ]
        if not hits:
            known = ", ".join(sorted({name for name, _ in self.labels.values()})[:12])
            self.found.options = []
            self._complain(f"no label holds {query!r}; labels: {known or 'none'}")
            return
        self.error.value = ""
        hits.sort(reverse=True)
        # A value as chosen before would not be announced again.
        self.found.options = [
            (f"{feature}: {name} ({score:.2f})", feature) for score, feature, name in hits[:20]
        ]
        self.feature.value = hits[0][1]

    def _on_found(self, change: Any) -> None:
        if change["new"] is not None:
            self.feature.value = int(change["new"])

    def _complain(self, text: str) -> None:
        self.error.value = f"<span style='color:#b00020'>{html.escape(text)}</span>"
