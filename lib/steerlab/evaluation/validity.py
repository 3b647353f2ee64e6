"""Whether the code and the LaTeX in a completion would be accepted by a parser.

Fences are found by a CommonMark parser, Python is read by `ast`. LaTeX has to satisfy two
parsers, since neither is strict alone: pylatexenc knows groups, environments and arguments,
latex2mathml knows scripts, `\\left … \\right` and which commands exist. Validity is reported as
three shares, P(present), P(valid | present) and P(present and valid): a model that stops writing
code has no invalid code.
"""

from __future__ import annotations

import ast
import re
import textwrap
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

MAX_FORMULA = 2_000  # characters; a longer "formula" is a delimiter that went astray

_LANGUAGES = ("", "python", "python3", "py")
_DISPLAY = {"$$": "$$", r"\[": r"\]"}
_ENVIRONMENTS = ("equation", "align", "gather", "multline")
_OPENING = re.compile(
    r"(?<!\\)(?:\$\$|\\\[|\\begin\{(?P<name>(?:" + "|".join(_ENVIRONMENTS) + r")\*?)\})"
)
# What amsmath and mathtools have for inside a formula; the parsers let any name pass.
_INNER = {
    *(
        "aligned",
        "alignedat",
        "gathered",
        "split",
        "array",
        "subarray",
        "cases",
        "dcases",
        "rcases",
    ),
    *("matrix", "smallmatrix", "pmatrix", "bmatrix", "Bmatrix", "vmatrix", "Vmatrix"),
}
# How many parts these elements of MathML have; with fewer, an argument was missing.
_PARTS = {
    **dict.fromkeys(("mfrac", "mroot", "msub", "msup", "munder", "mover"), 2),
    **dict.fromkeys(("msubsup", "munderover"), 3),
}


@dataclass(frozen=True)
class Validity:
    """Whether a text holds any block of one kind, and whether every one of them is valid.

    valid is None where nothing is present: a share of nothing is missing, not 0.
    """

    present: bool
    valid: bool | None


def code_validity(text: str) -> Validity:
    """Of the text's fenced blocks of Python (or of no named language), whether all are valid.

    A block whose fence is never closed is present and not valid.
    """
    blocks = [block for block in _fences(text) if block.language in _LANGUAGES]
    return _all_valid([block.closed and is_valid_code(block.source) for block in blocks])


def latex_validity(text: str) -> Validity:
    r"""Of the text's displayed formulas (`$$`, `\[`, equation environments), whether all are valid.

    Inside a code fence nothing is a formula. Single dollars are left alone: they may be money.
    """
    return _all_valid(
        [closed and is_valid_latex(source) for source, closed in _formulas(_without_fences(text))]
    )


def latex_first(text: str) -> bool:
    r"""Whether a completion begins with displayed LaTeX (`$$`, `\[`, …), white space aside."""
    return bool(_OPENING.match(text.lstrip()))


def is_valid_code(source: str) -> bool:
    """Whether Python accepts the source and it does something.

    A block that is empty, or holds comments, bare names and bare constants alone, is not valid:
    almost any word would be.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of doubtful escapes, which are still accepted
            body = ast.parse(textwrap.dedent(source)).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(not (isinstance(s, ast.Expr) and _is_bare(s.value)) for s in body)


def _is_bare(node: ast.expr) -> bool:
    if isinstance(node, ast.UnaryOp):
        return _is_bare(node.operand)
    if isinstance(node, ast.Tuple | ast.List):
        return all(_is_bare(element) for element in node.elts)
    return isinstance(node, ast.Name | ast.Constant)


def is_valid_latex(formula: str) -> bool:
    r"""Whether a formula (without its delimiters) is LaTeX mathematics that would compile.

    Unbalanced groups, missing arguments, `x^`, double scripts, `\left` without `\right`, unknown
    commands, a stray `&`, `$` or `#`, and an empty formula are not valid.
    """
    if not formula.strip() or len(formula) > MAX_FORMULA:
        return False
    try:
        return _structure_holds(formula) and _grammar_holds(formula)
    except RecursionError:
        return False


def _structure_holds(formula: str) -> bool:
    from pylatexenc.latexwalker import LatexWalker, LatexWalkerError, get_default_latex_context_db

    walker = LatexWalker(
        formula, latex_context=get_default_latex_context_db(), tolerant_parsing=False
    )
    try:
        nodes, _, read = walker.get_latex_nodes()
    except LatexWalkerError:
        return False
    # A lone backslash at the end is left unread.
    return read == len(formula) and all(_node_holds(node, aligned=False) for node in nodes)


def _node_holds(node: Any, *, aligned: bool) -> bool:
    """Whether nothing is there at which TeX would stop: an unknown environment, a stray `&`, `$`, `#`."""
    from pylatexenc import latexwalker as tree

    if isinstance(node, tree.LatexMathNode):
        return False  # a dollar inside displayed mathematics
    if isinstance(node, tree.LatexCharsNode):
        return "#" not in node.chars and (aligned or "&" not in node.chars)
    if isinstance(node, tree.LatexSpecialsNode):
        return node.specials_chars != "#" and (aligned or node.specials_chars != "&")
    children: list[Any] = []
    if isinstance(node, tree.LatexMacroNode) and node.nodeargd is not None:
        children = [child for child in node.nodeargd.argnlist if child is not None]
    elif isinstance(node, tree.LatexEnvironmentNode):
        if node.environmentname.rstrip("*") not in {*_INNER, *_ENVIRONMENTS}:
            return False
        children, aligned = node.nodelist, True
    elif isinstance(node, tree.LatexGroupNode):
        children = node.nodelist
    return all(_node_holds(child, aligned=aligned) for child in children)


def _grammar_holds(formula: str) -> bool:
    from latex2mathml.converter import convert_to_element

    try:
        element = convert_to_element(formula)
    except RecursionError:
        raise
    except Exception:  # each of its errors is a class of its own, without a common parent
        return False
    for part in element.iter():
        if len(part) < _PARTS.get(part.tag, 0):
            return False
        # What it does not know, it hands through as it stands.
        if part.tag != "mtext" and (part.text or "").startswith("\\"):
            return False
    return True


# ---------------------------------------------------------------- finding the blocks


@dataclass(frozen=True)
class _Fence:
    language: str
    source: str
    closed: bool
    lines: tuple[int, int]  # the first and the one after the last


def _fences(text: str) -> list[_Fence]:
    from markdown_it import MarkdownIt

    lines = text.split("\n")
    found = []
    for token in MarkdownIt("commonmark").parse(text):
        if token.type == "fence" and token.map is not None:
            first, after = token.map
            # CommonMark lets an open fence run to the end of the text.
            last = lines[after - 1].strip(" \t>") if after - first > 1 else ""
            closed = last.startswith(token.markup) and not last.strip(token.markup[0])
            language = token.info.strip().split(" ")[0].lower()
            found.append(_Fence(language, token.content, closed, (first, after)))
    return found


def _without_fences(text: str) -> str:
    lines = text.split("\n")
    for fence in _fences(text):
        first, after = fence.lines
        lines[first:after] = [""] * (after - first)
    return "\n".join(lines)


def _formulas(text: str) -> list[tuple[str, bool]]:
    """(source, whether its delimiter is closed) of each displayed formula, in order."""
    found = []
    at = 0
    while opening := _OPENING.search(text, at):
        name = opening["name"]
        closing = rf"\end{{{name}}}" if name else _DISPLAY[opening[0]]
        end = text.find(closing, opening.end())
        body = text[opening.end() :] if end < 0 else text[opening.end() : end]
        # The environment stays around its body: `&` is at home in an align.
        source = f"{opening[0]}{body}{closing}" if name and body.strip() else body
        found.append((source, end >= 0))
        at = len(text) if end < 0 else end + len(closing)
    return found


# ---------------------------------------------------------------- shares


def _all_valid(blocks: Sequence[bool]) -> Validity:
    return Validity(bool(blocks), all(blocks) if blocks else None)


def validity_shares(found: Sequence[Validity]) -> dict[str, float | None]:
    """{"present", "valid_if_present", "present_and_valid"} as shares of the texts.

    Raises ValueError for no texts; "valid_if_present" is None where nothing is present.
    """
    if not found:
        raise ValueError("no texts: a share of nothing is no number")
    present = sum(each.present for each in found)
    valid = sum(bool(each.valid) for each in found)
    return {
        "present": present / len(found),
        "valid_if_present": valid / present if present else None,
        "present_and_valid": valid / len(found),
    }
