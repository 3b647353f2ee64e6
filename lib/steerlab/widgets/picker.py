"""Choosing what to steer with: a method from a list, or a feature or concept by search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ipywidgets as widgets

from steerlab.widgets.methods import Method
from steerlab.widgets.sentences import OwnSentences
from steerlab.widgets.sources import Concepts, Features

METHODS = "method"


class Picker:
    """The widgets of the choice, and the `Method` that is chosen. What calls them is the explorer's.

    source: what kind of thing. method: the reader's methods. search and hits: for a feature or a
    concept. lists: the sources that can be searched. own: the reader's sentences, if they are offered.
    """

    def __init__(
        self,
        methods: Mapping[str, Method],
        lists: list[Features | Concepts],
        own: OwnSentences | None = None,
    ):
        self._methods, self._own = methods, own
        self._lists = {each.kind: each for each in lists}
        self._found: dict[tuple[str, Any], Method] = {}
        wide = widgets.Layout(width="auto")  # 100% would be cut off by its own margins
        kinds = [
            *([METHODS] if methods else []), *self._lists, *([own.kind] if own is not None else []),
        ]  # fmt: skip
        self.source = widgets.Dropdown(options=kinds, description="steer by")
        self.method = widgets.Dropdown(options=list(methods), description="method")
        # Searching on every letter would be a round trip each: it waits for Enter.
        self.search = widgets.Text(description="search", continuous_update=False, layout=wide)
        self.hits = widgets.Select(options=[], rows=6, description="found", layout=wide)

    @property
    def rows(self) -> list[widgets.Widget]:
        """The widgets that have a use now."""
        if self.own is not None:
            chosen = self.own.rows
        else:
            chosen = [self.method] if self._from_methods else [self.search, self.hits]
        return [*([self.source] if len(self.source.options) > 1 else []), *chosen]

    @property
    def own(self) -> OwnSentences | None:
        """The reader's sentences, where they are what is chosen."""
        return self._own if self._own is not None and self.source.value == self._own.kind else None

    @property
    def _from_methods(self) -> bool:
        return self.source.value == METHODS

    @property
    def empty(self) -> bool:
        """Whether a search has found nothing to choose from, or nothing has been made of sentences."""
        if self.own is not None:
            return not self.own.ready
        return not self._from_methods and self.hits.value is None

    def begin(self) -> None:
        """Fill the list of a source that has just been chosen. Raises what its search raises."""
        if not self._from_methods and self.own is None:
            self.search.placeholder = self._lists[self.source.value].placeholder
            self.search.value = ""
            self.fill()

    def fill(self) -> None:
        """Search. The list empties where nothing is found: what stood there was no answer."""
        self.hits.options = []
        self.hits.options = self._lists[self.source.value].search(self.search.value)
        self.hits.index = 0  # a Select leaves the choice open, where a Dropdown takes the first

    def chosen(self) -> Method:
        """The method that is chosen now. Raises what the search raises where there is none."""
        if self.own is not None:
            return self.own.chosen()
        if self._from_methods:
            return self._methods[self.method.value]
        if self.hits.value is None:
            self.fill()
        key = self.source.value, self.hits.value
        if key not in self._found:
            self._found[key] = self._lists[self.source.value].method(self.hits.value)
        return self._found[key]
