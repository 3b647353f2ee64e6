"""Make what a submission printed, drew and wrote harmless before any page holds it.

The instructor's browser can write marks, so it is the first target. Only listed MIME types pass;
images are decoded and encoded again, HTML goes through nh3 (the Rust ammonia sanitiser), and
students' markdown is rendered and sanitised so that no renderer later sees raw HTML of theirs.
"""

from __future__ import annotations

import base64
import io
import re
from html import escape
from typing import Any

import nbformat
import nh3
from nbconvert.filters import markdown2html
from nbformat import NotebookNode
from PIL import Image

MAX_TEXT = 100_000
MAX_OUTPUTS = 200
MAX_IMAGE_BYTES = 3_000_000
MAX_IMAGE_PIXELS = 16_000_000
MAX_IMAGES_BYTES = 10_000_000
MAX_PIXELS = 40_000_000  # of all images of a notebook
TAGS = {
    *("a", "abbr", "b", "blockquote", "br", "caption", "code", "col", "colgroup", "dd", "del"),
    *("details", "div", "dl", "dt", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "i", "ins"),
    *("kbd", "li", "mark", "ol", "p", "pre", "q", "s", "samp", "small", "span", "strong", "sub"),
    *("summary", "sup", "table", "tbody", "td", "tfoot", "th", "thead", "tr", "u", "ul"),
}
ATTRIBUTES = {"a": {"href", "title"}, "td": {"colspan", "rowspan"}, "th": {"colspan", "rowspan"}}
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f]")
_ESCAPE_NOT_COLOUR = re.compile(r"\x1b(?!\[[0-9;]*m)")
_BLANK_LINES = re.compile(r"\n\s*\n")
_HEADING_ANCHOR = re.compile(r"<a [^>]*>¶</a>")
#: MathJax commands that make links, attributes or load code.
_MATHJAX = re.compile(
    r"\\(href|url|style|class|cssId|require|data|bbox|mmlToken|html\w*)(?![A-Za-z])"
)
#: The Markdown parser looks for the end of each of these through all that follows.
_MATH_BEGIN = re.compile(r"\\begin\b")
MAX_MATH_BEGINS = 100


def clean_html(html: str) -> str:
    """HTML without scripts, styles, handlers, forms, frames, images or links but http(s) ones."""
    cleaned = nh3.clean(
        html[:MAX_TEXT],
        tags=TAGS,
        attributes=ATTRIBUTES,
        url_schemes={"http", "https", "mailto"},
        link_rel="noopener noreferrer nofollow",
    )
    # Last, because entities and comments could hide a command from whoever looks sooner.
    return _MATHJAX.sub(r"\1", cleaned)


def plain_line(text: str) -> str:
    """Plain text on one line, in which MathJax finds no command that could do harm."""
    return _MATHJAX.sub(r"\1", " ".join(clean_text(text).split()))


def text_html(text: str) -> str:
    """The same as HTML."""
    return escape(plain_line(text))


def clean_text(text: Any) -> str:
    """Plain text without control characters; colour escapes stay, overlong text is cut."""
    if isinstance(text, list):
        text = "".join(part for part in text if isinstance(part, str))
    if not isinstance(text, str):
        return ""
    cut = text[:MAX_TEXT]
    cut = _ESCAPE_NOT_COLOUR.sub("", _CONTROL.sub("", cut)).encode("utf-8", "replace").decode()
    return cut + ("\n[output cut here]" if len(text) > MAX_TEXT else "")


def clean_markdown(source: str) -> str:
    """A student's markdown, rendered and sanitised, as one HTML block without a blank line in it."""
    text = clean_text(source)
    if len(_MATH_BEGIN.findall(text)) > MAX_MATH_BEGINS:
        text = _MATH_BEGIN.sub("begin", text)
    html = _HEADING_ANCHOR.sub("", clean_html(markdown2html(text)))
    return f"<div>{_BLANK_LINES.sub(chr(10) + '&#10;' + chr(10), html.strip())}</div>"


class PixelBudget:
    """How many pixels of one notebook's images are still decoded: that takes our time, not theirs."""

    def __init__(self, pixels: int = MAX_PIXELS) -> None:
        self.left = pixels

    def spend(self, pixels: int) -> bool:
        """Take so many, if they are left."""
        enough = pixels <= self.left
        self.left -= pixels if enough else 0
        return enough


def clean_image(data: Any, kind: str, budget: PixelBudget | None = None) -> str | None:
    """A base64 image decoded and encoded again as PNG; None where it is no such image."""
    if isinstance(data, list):
        data = "".join(part for part in data if isinstance(part, str))
    if not isinstance(data, str) or len(data) > MAX_IMAGE_BYTES * 4 // 3:
        return None
    try:
        raw = base64.b64decode(data, validate=False)
        image = Image.open(io.BytesIO(raw), formats=[kind])
        pixels = image.width * image.height
        if pixels > MAX_IMAGE_PIXELS or (budget is not None and not budget.spend(pixels)):
            return None
        image.load()
        target = io.BytesIO()
        image.convert("RGBA" if kind == "PNG" else "RGB").save(target, "PNG", optimize=False)
    except Exception:  # a hostile file may make the decoder raise anything
        return None
    encoded = base64.b64encode(target.getvalue()).decode()
    return encoded if len(encoded) <= MAX_IMAGE_BYTES * 4 // 3 else None


def clean_outputs(outputs: list[Any], pixels: PixelBudget | None = None) -> list[NotebookNode]:
    """The outputs of one cell with everything dangerous left out.

    pixels: what all images of the notebook may have together; a cell's own budget when not given.
    """
    cleaned, budget, pixels = [], MAX_IMAGES_BYTES, pixels or PixelBudget()
    for output in outputs[:MAX_OUTPUTS]:
        kind = output.get("output_type") if isinstance(output, dict) else None
        if kind == "stream":
            name = "stderr" if output.get("name") == "stderr" else "stdout"
            text = clean_text(output.get("text"))
            cleaned.append(nbformat.v4.new_output("stream", name=name, text=text))
        elif kind == "error":
            cleaned.append(_clean_error(output))
        elif kind in ("display_data", "execute_result"):
            data = _clean_bundle(output.get("data"), budget, pixels)
            budget -= len(data.get("image/png", ""))
            if data:
                cleaned.append(nbformat.v4.new_output("display_data", data=data))
    if len(outputs) > MAX_OUTPUTS:
        note = f"[{len(outputs) - MAX_OUTPUTS} more outputs were left out]\n"
        cleaned.append(nbformat.v4.new_output("stream", name="stdout", text=note))
    return cleaned


def _clean_error(output: dict[str, Any]) -> NotebookNode:
    name = clean_text(output.get("ename"))[:100]
    traceback = output.get("traceback")
    lines = traceback if isinstance(traceback, list) else []
    return nbformat.v4.new_output(
        "error",
        ename=name if name.isidentifier() else "Error",
        evalue=clean_text(output.get("evalue"))[:2000],
        traceback=[clean_text(line)[:4000] for line in lines[:40]],
    )


def _clean_bundle(bundle: Any, budget: int, pixels: PixelBudget) -> dict[str, str]:
    if not isinstance(bundle, dict):
        return {}
    for mime, kind in (("image/png", "PNG"), ("image/jpeg", "JPEG")):
        image = clean_image(bundle.get(mime), kind, pixels) if mime in bundle else None
        if image and len(image) <= budget:
            return {"image/png": image}
    data = {}
    if "text/html" in bundle:
        data["text/html"] = clean_html(clean_text(bundle["text/html"]))
    if "text/plain" in bundle:
        data["text/plain"] = clean_text(bundle["text/plain"])
    return data
