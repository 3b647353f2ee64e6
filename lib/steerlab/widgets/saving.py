"""What a reader takes away: everything shown as JSON, the picture as PNG, by links in the page.

The files are in the links themselves: no folder is written to, and it works wherever widgets do.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from typing import Any

from steerlab.evaluation import Fluency
from steerlab.generation import Completion
from steerlab.widgets.reproduce import Shown
from steerlab.widgets.response import DoseResponse, figure_png, in_words


def record(
    shown: Shown | None,
    rows: Sequence[tuple[str, float | None, Fluency]],
    response: DoseResponse | None,
    model_name: str,
    cell: str | None,
) -> dict[str, Any]:
    """All that is on the screen, in plain values.

    rows: the measures of the texts shown. cell: the code that writes the text again, if it can be
    written. Doses have no unit, coefficients that of the residual stream, NLL is in nats a token.
    """
    found: dict[str, Any] = {"model": model_name}
    if shown is not None:
        found["text"] = {
            "method": shown.use.method.name,
            "strength": shown.use.strength,
            "coefficient": shown.use.coefficient,
            "prompt": shown.prompt,
            "turns": shown.turns,
            "positions": shown.positions,
            "generation": dict(shown.generation),
            "unsteered": shown.unsteered.text,
            "steered": _plain(shown.written),
            "measures": [
                {"text": name, "concept_score": share, **asdict(fluency)}
                for name, share, fluency in rows
            ],
        }
    if response is not None:
        found["dose_response"] = asdict(response)
    if cell is not None:
        found["cell"] = cell
    return found


def links(found: dict[str, Any], png: bytes | None) -> str:
    """Links that save the record, and the picture where there is one."""
    text = json.dumps(found, ensure_ascii=False, indent=1).encode()
    made = [_link("steering.json", "application/json", text, "JSON")]
    if png is not None:
        made.append(_link("dose-response.png", "image/png", png, "PNG"))
    if "cell" in found:
        made.append(_link("steering.py", "text/x-python", found["cell"].encode(), "code"))
    return f"<p style='margin:4px 0'>Save as {' · '.join(made)}</p>"


def picture(response: DoseResponse) -> tuple[str, bytes]:
    """The dose-response as an image with its text, and the image alone."""
    png = figure_png(response)
    missed = f"<p style='color:#595959'>{escape(response.missed[0])}</p>" if response.missed else ""
    source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
    image = (
        f"<img src='{source}' alt='{escape(in_words(response))}' "
        "style='max-width:100%; height:auto'>"
    )
    return image + missed, png


def _link(name: str, kind: str, content: bytes, shown: str) -> str:
    data = f"data:{kind};base64,{base64.b64encode(content).decode()}"
    return (
        f"<a download='{name}' href='{data}' "
        f"style='color:#0b57d0; text-decoration:underline'>{shown}</a>"
    )


def _plain(written: str | Completion) -> str:
    return written if isinstance(written, str) else written.text
