"""nbconvert's exporters for graded notebooks and feedback pages, without what they do again for each."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from jinja2 import BytecodeCache, Environment, pass_context
from jinja2.bccache import Bucket
from jinja2.runtime import Context
from nbconvert.exporters import Exporter, HTMLExporter, NotebookExporter, TemplateExporter
from nbconvert.filters import Highlight2HTML
from nbconvert.filters.widgetsdatatypefilter import WidgetsDataTypeFilter
from nbformat import NotebookNode

from .formulas import Formulas
from .sanitize import clean_html


class CompiledOnce(BytecodeCache):
    """Templates compiled by this process, for the exporters that come after the first."""

    def __init__(self) -> None:
        self.compiled: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Fill a bucket, if its template has been compiled as it is now."""
        if (code := self.compiled.get(bucket.key)) is not None:
            bucket.bytecode_from_string(code)

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep what was compiled."""
        self.compiled[bucket.key] = bucket.bytecode_to_string()


_compiled = CompiledOnce()


@lru_cache(maxsize=2000)
def highlighted(source: str) -> str:
    """Python source as coloured HTML; most cells of a class are the same."""
    return str(Highlight2HTML(pygments_lexer="python")(source))


@lru_cache(maxsize=1)
def _markdown_exporter() -> HTMLExporter:
    return HTMLExporter(exclude_anchor_links=True)


@lru_cache(maxsize=2000)
def text(source: str) -> str:
    """Markdown as HTML; most cells of a class are the course's own text."""
    return str(_markdown_exporter().markdown2html({}, source))


def as_json(notebook: NotebookNode) -> str:
    """A notebook as the text of its file, without the line breaks that take nbformat ten times longer."""
    return json.dumps(notebook, ensure_ascii=False, sort_keys=True) + "\n"


class ReadJustNow(Exporter):
    """Preprocesses a notebook in place, unchecked.

    nbconvert copies it twice more, though nobody else holds it, and checks what it was given.
    """

    def _preprocess(
        self, nb: NotebookNode, resources: dict[str, Any]
    ) -> tuple[NotebookNode, dict[str, Any]]:
        for preprocessor in self._preprocessors:
            nb, resources = preprocessor(nb, resources)
        return nb, resources


class NotebookFile(ReadJustNow, NotebookExporter):
    """Writes the notebooks that go into `autograded/`."""

    def from_notebook_node(  # type: ignore[override]
        self, nb: NotebookNode, resources: dict[str, Any] | None = None, **kw: Any
    ) -> tuple[str, dict[str, Any]]:
        """The text of a notebook's file, and its resources."""
        notebook, resources = Exporter.from_notebook_node(self, nb, resources, **kw)
        return as_json(notebook), resources


class PageExporter(ReadJustNow, HTMLExporter):
    """Renders a graded notebook.

    nbconvert parses its finished page again to give images an alternative text, which takes longer
    than all the rest. Our notebooks carry that text already (`feedback.graded_notebook`).
    """

    def from_notebook_node(  # type: ignore[override]
        self, nb: NotebookNode, resources: dict[str, Any] | None = None, **kw: Any
    ) -> tuple[str, dict[str, Any]]:
        """The page of a notebook, and its resources."""
        resources = self._init_resources(resources)
        self.register_filter("highlight_code", lambda source, **_: highlighted(source))
        chosen = WidgetsDataTypeFilter(notebook_metadata={}, parent=self, resources=resources)
        self.register_filter("filter_data_type", chosen)
        self.register_filter("formulas", Formulas())
        self.register_filter("comment", lambda source: clean_html(text(source)))
        return TemplateExporter.from_notebook_node(self, nb, resources, **kw)

    @pass_context
    def markdown2html(self, context: Context, source: str) -> str:
        """Markdown as HTML, anew only where the cell brings pictures of its own."""
        if context.get("cell", {}).get("attachments"):
            return str(super().markdown2html(context, source))
        return text(source)

    def _create_environment(self) -> Environment:
        environment: Environment = super()._create_environment()
        environment.bytecode_cache = _compiled
        return environment
