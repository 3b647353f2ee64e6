"""A feature on one page: its contexts as HTML, each token as dark as the feature is active on it."""

from __future__ import annotations

import html
from collections.abc import Iterable

from steerlab.sae.features import Context, FeatureContexts
from steerlab.sae.labels import FeatureLabel

# Style attributes and no style sheet: notebooks, mail and Colab's output frames keep those. The
# colours hold on light and dark pages.
_CARD = (
    "border:1px solid #8888;border-radius:6px;padding:8px 12px;margin:6px 0;max-width:60em;"
    "font-family:sans-serif;font-size:13px"
)
_LINE = "font-family:monospace;white-space:pre-wrap;margin:3px 0;line-height:1.6"
_GREY = "color:#808080"


def context_card(found: FeatureContexts, label: FeatureLabel | None = None) -> str:
    """One feature as an HTML fragment: top contexts, one of each quartile, firing rate.

    Shading is relative to the feature's largest activation; every token's own activation stands in
    its tooltip. Text from the documents is escaped. A feature without contexts is called dead.
    """
    title = f"<b>feature {found.feature}</b>"
    if label is not None and label.concept is not None and label.detection is not None:
        title += (
            f" · {html.escape(label.concept)} "
            f"<span style='{_GREY}'>(detection {label.detection:.2f} on held-out documents)</span>"
        )
    facts = f"fires on {100 * found.rate:.3g}% of tokens, at most {found.maximum:.3g}"
    lines = [f"<div>{title}</div>", f"<div style='{_GREY}'>{facts}</div>"]
    if not found.top:
        lines.append("<div>dead here: it fires on none of these tokens</div>")
    else:
        lines.append("<div style='margin-top:6px'>strongest, one a document</div>")
        lines += [_line(context, found.maximum) for context in found.top]
        lines.append("<div style='margin-top:6px'>one of each quartile, weakest first</div>")
        lines += [_line(context, found.maximum) for context in found.quartiles]
    return f"<div style='{_CARD}'>{''.join(lines)}</div>"


def context_cards(
    found: Iterable[FeatureContexts], labels: dict[int, FeatureLabel] | None = None
) -> str:
    """Several cards, one below the other."""
    return "".join(context_card(each, (labels or {}).get(each.feature)) for each in found)


def _line(context: Context, maximum: float) -> str:
    spans = [
        _token(token, strength, maximum, peak=i == context.peak)
        for i, (token, strength) in enumerate(zip(context.tokens, context.activations, strict=True))
    ]
    which = "" if context.quartile is None else f"Q{context.quartile} "
    value = f"<span style='{_GREY}'>{which}{context.activation:6.2f} </span>"
    return f"<div style='{_LINE}'>{value}{''.join(spans)}</div>"


def _token(token: str, strength: float, maximum: float, *, peak: bool) -> str:
    # A line break inside a context would tear it apart.
    shown = html.escape(token.replace("\n", "↵"))
    if strength <= 0 or maximum <= 0:
        return f"<span>{shown}</span>"
    share = min(1.0, strength / maximum)
    mark = "font-weight:bold;" if peak else ""
    return (
        f"<span title='{strength:.3g}' style='{mark}border-radius:3px;"
        f"background:rgba(255,140,0,{0.1 + 0.7 * share:.2f})'>{shown}</span>"
    )
