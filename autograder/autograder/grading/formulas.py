r"""LaTeX as MathML: pages that hold no script have nothing else that would draw a formula.

latex2mathml makes the tree; what goes onto a page is written here from that tree, of listed elements
and attributes alone, every text escaped. (Its own text output puts `\text{<script>}` through as it
is.) A formula that it cannot read, or that needs anything unlisted, stays the LaTeX that it was.
"""

from __future__ import annotations

import re
from functools import lru_cache
from html import escape, unescape
from html.parser import HTMLParser
from xml.etree.ElementTree import Element

from latex2mathml.converter import convert_to_element

ELEMENTS = {
    *("math", "mrow", "mi", "mn", "mo", "mtext", "mspace", "mstyle", "mpadded", "mphantom"),
    *("mfrac", "msqrt", "mroot", "msub", "msup", "msubsup", "munder", "mover", "munderover"),
    *("mmultiscripts", "mprescripts", "mtable", "mtr", "mtd"),
}
#: How many parts these have; with fewer they would show half of what was meant.
PARTS = {
    **dict.fromkeys(("mfrac", "mroot", "msub", "msup", "munder", "mover"), 2),
    **dict.fromkeys(("msubsup", "munderover"), 3),
}
_WORD = re.compile(r"[a-z-]{1,20}")
_WORDS = re.compile(r"[a-z-]{1,20}( [a-z-]{1,20}){0,20}")
_LENGTH = re.compile(r"[+-]?\d{0,3}(\.\d{1,4})?(em|ex|pt|px|%)?")
_LENGTHS = re.compile(r"\d{1,3}(em|ex|pt|px)?( \d{1,3}(em|ex|pt|px)?){0,20}")
ATTRIBUTES = {
    **dict.fromkeys(("display", "stretchy", "fence", "form", "separator", "accent"), _WORD),
    **dict.fromkeys(("displaystyle", "accentunder", "movablelimits", "largeop"), _WORD),
    **dict.fromkeys(("mathvariant", "linebreak"), _WORD),
    **dict.fromkeys(("columnalign", "columnlines", "rowlines"), _WORDS),
    **dict.fromkeys(("width", "height", "depth", "lspace", "rspace", "voffset"), _LENGTH),
    **dict.fromkeys(("linethickness", "scriptlevel", "minsize", "maxsize"), _LENGTH),
    **dict.fromkeys(("columnspacing", "rowspacing"), _LENGTHS),
    "mathcolor": re.compile(r"[a-zA-Z]{1,20}|#[0-9a-fA-F]{6}"),
}
#: Commands that the converter leaves as they are behind \\big and its like.
_SIGNS = {
    "\\lVert": "‖",
    "\\rVert": "‖",
    "\\Vert": "‖",
    "\\lvert": "|",
    "\\rvert": "|",
    "\\vert": "|",
}
MAX_LATEX, MAX_DEPTH = 1000, 60
#: LaTeX characters turned into MathML on one page: that takes our time.
MAX_LATEX_OF_PAGE = 40_000
#: As MathJax and pandoc find them in text: `$5 and $6` is money.
_FORMULA = re.compile(
    r"(?<![\\$])\$\$(?P<block>[^$]+)\$\$(?!\$)"
    r"|(?<![\\$])\$(?![\s$])(?P<inline>[^$]*?[^$\s\\])\$(?![\d$])"
    r"|(?P<environment>\\begin\{(?P<name>[a-z]{1,20}\*?)\}[^$]{0,1000}?\\end\{(?P=name)\})"
)
_AS_IT_IS = {"code", "pre", "script", "style", "textarea", "title", "math", "svg"}
_VOID = {"area", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"}


class Unlisted(Exception):
    """A formula needs something that no page gets."""


def mathml(latex: str, block: bool = False) -> str | None:
    """A formula as one `<math>` element, on a line of its own if `block`; None where it stays LaTeX."""
    return _mathml(latex.strip(), block) if len(latex) <= MAX_LATEX else None


@lru_cache(maxsize=4096)
def _mathml(latex: str, block: bool) -> str | None:
    # The converter aligns the one and not the other.
    known = re.sub(r"\\(begin|end)\{(aligned|split|gathered)\}", r"\\\1{align*}", latex)
    try:
        return _written(convert_to_element(known, display="block" if block else "inline"), 0)
    except (Exception, RecursionError):  # it raises many kinds, its own and Python's
        return None


def _written(node: Element, depth: int) -> str:
    """An element and all in it, as HTML; raises Unlisted."""
    whole = len(node) == PARTS.get(node.tag, len(node))
    if node.tag not in ELEMENTS or not whole or depth > MAX_DEPTH:
        raise Unlisted(node.tag)
    attributes = ""
    for name, value in node.attrib.items():
        if name == "xmlns":
            continue
        if name not in ATTRIBUTES or not ATTRIBUTES[name].fullmatch(value):
            raise Unlisted(name)
        attributes += f' {name}="{value}"'
    text = _SIGNS.get(node.text or "", unescape(node.text or ""))
    if text.startswith("\\") or (text == "&" and node.tag != "mtext"):
        raise Unlisted(text)  # a command or an alignment that was not understood
    inside = "".join(_written(child, depth + 1) for child in node)
    return f"<{node.tag}{attributes}>{escape(text)}{inside}</{node.tag}>"


class Formulas:
    """Puts MathML for LaTeX into the HTML of one page, up to a bound on all of it together."""

    def __init__(self, characters: int = MAX_LATEX_OF_PAGE) -> None:
        self.left = characters

    def __call__(self, html: str) -> str:
        """HTML with the formulas of its texts drawn; code, and all markup, stay as they are."""
        if "$" not in html and "\\begin{" not in html:
            return html
        page = _Texts(self)
        page.feed(html)
        page.close()
        return "".join(page.parts)

    def in_text(self, text: str) -> str:
        """A plain text as HTML, with its formulas drawn."""
        parts, at = [], 0
        for found in _FORMULA.finditer(text):
            latex = found["block"] or found["inline"] or found["environment"]
            self.left -= len(latex)
            block = found["inline"] is None
            drawn = mathml(latex, block) if self.left >= 0 else None
            if drawn is not None:
                parts += [escape(text[at : found.start()], quote=False), drawn]
                at = found.end()
        return "".join([*parts, escape(text[at:], quote=False)])


class _Texts(HTMLParser):
    """HTML written again tag by tag, with formulas drawn in the texts between the tags."""

    def __init__(self, formulas: Formulas) -> None:
        super().__init__(convert_charrefs=True)
        self.formulas = formulas
        self.parts: list[str] = []
        self._verbatim: list[str] = []  # the open elements whose text is not looked at

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.parts.append(self.get_starttag_text() or "")
        if tag in _AS_IT_IS and tag not in _VOID:
            self._verbatim.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        self.parts.append(self.get_starttag_text() or "")

    def handle_endtag(self, tag: str) -> None:
        self.parts.append(f"</{tag}>")
        if self._verbatim and self._verbatim[-1] == tag:
            self._verbatim.pop()

    def handle_data(self, data: str) -> None:
        if self.cdata_elem is not None:
            self.parts.append(data)
        elif self._verbatim:
            self.parts.append(escape(data, quote=False))
        else:
            self.parts.append(self.formulas.in_text(data))

    def handle_comment(self, data: str) -> None:
        self.parts.append(f"<!--{data}-->")

    def handle_decl(self, decl: str) -> None:
        self.parts.append(f"<!{decl}>")


def with_formulas(html: str) -> str:
    """HTML of the course's own with its formulas drawn."""
    return Formulas()(html)
