"""Dose and response: what each dose of a method buys, and what it costs."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from steerlab.evaluation import mean_fluency
from steerlab.generation import Completion
from steerlab.widgets.measures import Written
from steerlab.widgets.methods import Method
from steerlab.widgets.steps import Work

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


@dataclass
class DoseResponse:
    """Measured so far: for each of `doses` its coefficient, score and NLL in nats a token.

    Scores are None where no word that counts was written, or none is known; everything is None at a
    dose that the method does not have, which `missed` explains. unit: what the slider is in.
    """

    method: str
    unit: str
    prompts: list[str]
    max_new_tokens: int
    doses: list[float] = field(default_factory=list)
    coefficients: list[float | None] = field(default_factory=list)
    scores: list[float | None] = field(default_factory=list)
    nlls: list[float | None] = field(default_factory=list)
    texts: list[list[str]] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    score_label: str | None = None


def measure(
    response: DoseResponse,
    model: TransformerBridge,
    method: Method,
    doses: Sequence[float],
    *,
    positions: str,
    generation: dict[str, Any],
    score: Callable[[list[Written]], float | None] | None,
) -> Work:
    """Write at every dose and fill `response`, a dose a step."""
    for i, dose in enumerate(sorted(doses)):
        yield i / len(doses), f"{response.unit} {dose:+.2f}"
        try:
            c = dose if method.coefficient is None else method.coefficient(dose)
        except ValueError as error:  # a clamp cannot have every dose
            _add(response, dose, None, None, None, [])
            response.missed.append(str(error))
        else:
            written = method.written(model, response.prompts, c, positions, generation)
            nll = mean_fluency(model, _as_completions(model, written, response, generation)).nll
            said = [text if isinstance(text, str) else text.text for text in written]
            _add(response, dose, c, score(written) if score else None, nll, said)


def _add(
    response: DoseResponse,
    dose: float,
    coefficient: float | None,
    score: float | None,
    nll: float | None,
    texts: list[str],
) -> None:
    response.doses.append(dose)
    response.coefficients.append(coefficient)
    response.scores.append(score)
    response.nlls.append(nll)
    response.texts.append(texts)


def _as_completions(
    model: TransformerBridge,
    written: list[Written],
    response: DoseResponse,
    generation: dict[str, Any],
) -> list[Completion]:
    """What a reader's function returned as text, in tokens."""
    from steerlab.tokens import encode

    found = []
    for prompt, text in zip(response.prompts, written, strict=True):
        if isinstance(text, str):
            read = tuple(encode(model, prompt, mode=generation["mode"]))
            new = tuple(model.tokenizer(text, add_special_tokens=False)["input_ids"])
            text = Completion(prompt, text, new, read)
        found.append(text)
    return found


# --------------------------------------------------------------------------- as a picture


def figure_png(response: DoseResponse) -> bytes:
    """The response as a PNG: score above, where there is one, and fluency below."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from steerlab.plots.figure import AGAINST, NEUTRAL, TOWARDS, caption, floats

    scored = response.score_label is not None
    fig = Figure(figsize=(6.4, 4.6 if scored else 2.8), dpi=100, layout="constrained")
    FigureCanvasAgg(fig)
    axes = fig.subplots(1 + scored, 1, sharex=True, squeeze=False)[:, 0]
    if scored:
        axes[0].plot(response.doses, floats(response.scores), "o-", color=TOWARDS)
        axes[0].set_ylim(-0.03, 1.03)
        axes[0].set_ylabel(str(response.score_label))
    axes[-1].plot(response.doses, floats(response.nlls), "o-", color=AGAINST)
    axes[-1].set_ylabel("price: NLL\n(nats per token)")
    unit = " (length added / length of the residual stream)" if response.unit == "dose" else ""
    axes[-1].set_xlabel(f"{response.unit}{unit}")
    axes[0].set_title(response.method, fontsize=10)
    for ax in axes:
        ax.axvline(0, color=NEUTRAL, lw=0.5)
        ax.spines[["top", "right"]].set_visible(False)
    n = len(response.prompts)
    caption(fig, f"{n} prompt{'s' * (n != 1)} × {response.max_new_tokens} tokens", "computed now")
    png = io.BytesIO()
    fig.savefig(png, format="png")
    return png.getvalue()


def in_words(response: DoseResponse) -> str:
    """What the picture shows, for those who cannot see it."""

    def spoken(values: list[float | None]) -> str:
        pairs = zip(response.doses, values, strict=True)
        return ", ".join(f"{d:+.2f}: {'none' if v is None else f'{v:.2f}'}" for d, v in pairs)

    said = f"{response.method}, by {response.unit}. "
    if response.score_label is not None:
        said += f"{' '.join(response.score_label.split())} {spoken(response.scores)}. "
    return said + f"NLL in nats per token {spoken(response.nlls)}."
