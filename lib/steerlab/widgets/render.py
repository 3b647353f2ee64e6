"""What the explorer shows, as HTML. Texts are data here: all of them are escaped."""

from __future__ import annotations

import sysconfig
import traceback
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from steerlab.evaluation import Fluency
from steerlab.widgets.chat import Exchange, Side

_PACKAGE = str(Path(__file__).parents[1])
_INSTALLED = (sysconfig.get_paths()["stdlib"], "site-packages", "dist-packages")


def paragraph(title: str, prompt: str, text: str) -> str:
    """A prompt in grey, with what was written after it."""
    return (
        f"<b>{escape(title)}</b><p style='white-space:pre-wrap; line-height:1.4'>"
        f"<span style='color:#595959'>{escape(prompt)}</span>{escape(text)}</p>"
    )


def transcript(side: Side, exchanges: Iterable[Exchange]) -> str:
    """One side of a conversation; a steered answer says how it was steered."""
    lines = [f"<b>{side}</b>"]
    for exchange in exchanges:
        answer = exchange.unsteered if side == "unsteered" else exchange.steered
        how = f"<br><small style='color:#595959'>{escape(exchange.how)}</small>"
        lines.append(
            "<p style='white-space:pre-wrap; line-height:1.4; margin:6px 0'>"
            f"<span style='color:#595959'>you: {escape(exchange.said)}</span></p>"
            "<p style='white-space:pre-wrap; line-height:1.4; margin:6px 0 12px 16px'>"
            f"{escape(answer.text)}{how if side == 'steered' else ''}</p>"
        )
    return "".join(lines)


def table(rows: Sequence[tuple[str, float | None, Fluency]], score: str | None) -> str:
    """(name, concept score, fluency) by row; score: the heading of the concept score, if any."""
    head = ["", *([score] if score else [])]
    lines = [[*head, "NLL (nats/token)", "distinct-2", "in repeated 4-grams"]]
    for name, share, f in rows:
        numbers = [*([share] if score else []), f.nll, f.distinct2, f.repeated]
        lines.append([name, *("–" if x is None else f"{x:.2f}" for x in numbers)])
    cells = "".join(
        "<tr>" + "".join(f"<td style='padding:2px 12px'>{escape(c)}</td>" for c in line) + "</tr>"
        for line in lines
    )
    return f"<table>{cells}</table>"


def notes(lines: Iterable[str]) -> str:
    """Things to know before anything is pressed."""
    said = "".join(f"<p style='margin:2px 0; color:#595959'>{escape(line)}</p>" for line in lines)
    return f"<div style='line-height:1.4'>{said}</div>"


def error(raised: Exception) -> str:
    """What went wrong; and where, if it did so in code of the reader's own."""
    lines = [f"{type(raised).__name__}: {raised}"]
    frames = traceback.extract_tb(raised.__traceback__)
    own = [frame for frame in frames if not _ours(frame.filename)]
    if own:
        last = own[-1]
        lines.append(f"in {last.name}, line {last.lineno}: {last.line or ''}".rstrip(": "))
    shown = escape("\n".join(lines))
    return f"<pre style='color:#b00020; white-space:pre-wrap'>{shown}</pre>"


def _ours(filename: str) -> bool:
    return filename.startswith(_PACKAGE) or any(part in filename for part in _INSTALLED)
