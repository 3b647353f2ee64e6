"""The exporter behind the feedback pages: nbconvert's, without its last pass over the HTML."""

from __future__ import annotations

from typing import Any

from nbconvert.exporters import HTMLExporter, TemplateExporter
from nbconvert.filters import Highlight2HTML
from nbconvert.filters.widgetsdatatypefilter import WidgetsDataTypeFilter
from nbformat import NotebookNode


class PageExporter(HTMLExporter):
    """Renders a graded notebook.

    nbconvert parses its finished page again to give images an alternative text, which takes longer
    than all the rest. Our notebooks carry that text already (`feedback.graded_notebook`).
    """

    def from_notebook_node(  # type: ignore[override]
        self, nb: NotebookNode, resources: dict[str, Any] | None = None, **kw: Any
    ) -> tuple[str, dict[str, Any]]:
        """The page of a notebook, and its resources."""
        resources = self._init_resources(resources)
        self.register_filter("highlight_code", Highlight2HTML(pygments_lexer="python", parent=self))
        chosen = WidgetsDataTypeFilter(notebook_metadata={}, parent=self, resources=resources)
        self.register_filter("filter_data_type", chosen)
        return TemplateExporter.from_notebook_node(self, nb, resources, **kw)
