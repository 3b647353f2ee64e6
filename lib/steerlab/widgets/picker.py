"""Choosing what to steer with: a method from a list, or a feature or concept by search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ipywidgets as widgets

from steerlab.widgets.methods import Method
from steerlab.widgets.sources import Concepts, Features

METHODS = "method"


class Picker:
    """The widgets of the choice, and the `Method` that is chosen. What calls them is the explorer's.

    source: what kind of thing. method: the reader's methods. search and hits: for a feature or a
    concept. lists: the sources that can be searched.
    """

    def __init__(self, methods: Mapping[str, Method], lists: list[Features | Concepts]):
        self._methods = methods
        self._lists = {each.kind: each for each in lists}
        self._found: dict[tuple[str, Any], Method] = {}
        wide = widgets.Layout(width="auto")  # 100% would be cut off by its own margins
        kinds = [*([METHODS] if methods else []), *self._lists]
        self.source = widgets.Dropdown(options=kinds, description="steer by")
        self.method = widgets.Dropdown(options=list(methods), description="method")
        # Searching on every letter would be a round trip each: it waits for Enter.
        self.search = widgets.Text(description="search", continuous_update=False, layout=wide)
        self.hits = widgets.Select(options=[], rows=6, layout=wide)

    @property
    def rows(self) -> list[widgets.Widget]:
        """The widgets that have a use now."""
        chosen = [self.method] if self._from_methods else [self.search, self.hits]
        return [*([self.source] if len(self.source.options) > 1 else []), *chosen]

    @property
    def _from_methods(self) -> bool:
        return self.source.value == METHODS

    @property
    def empty(self) -> bool:
        """Whether a search has found nothing to choose from."""
        return not self._from_methods and self.hits.value is None

    def begin(self) -> None:
        """Fill the list of a source that has just been chosen. Raises what its search raises."""
        if not self._from_methods:
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
        if self._from_methods:
            return self._methods[self.method.value]
        if self.hits.value is None:
            self.fill()
        key = self.source.value, self.hits.value
        if key not in self._found:
            self._found[key] = self._lists[self.source.value].method(self.hits.value)
        return self._found[key]
