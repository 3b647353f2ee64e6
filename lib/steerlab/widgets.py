"""The explorer: pick a direction, turn the knob, read the text, see what it costs.

Only the core widgets that ipywidgets 7 and 8 share. Everything runs in the callback of the button:
Colab does not render updates that come from threads.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import ipywidgets as widgets
from torch import Tensor
from transformer_lens.model_bridge import TransformerBridge

from steerlab.evaluation import Fluency, concept_score, fluency
from steerlab.generation import Completion, generate
from steerlab.settings import CourseSettings, course_settings
from steerlab.steering import AddVector, Intervention, coefficient_for_dose, dose_of, steer

InterventionMaker = Callable[[float], Mapping[str, Intervention]]
TextFunction = Callable[[str, float], str]
MethodLike = (
    tuple[Tensor, str | Sequence[str]]
    | tuple[TextFunction, Tensor, str | Sequence[str]]
    | InterventionMaker
    | TextFunction
)


@dataclass(frozen=True)
class Method:
    """One entry of the explorer's list.

    write(prompt, coefficient) gives the completion; coefficient(dose) the raw coefficient, or is
    None where no dose is known and the slider sets the coefficient itself.
    """

    write: Callable[[str, float], str | Completion]
    coefficient: Callable[[float], float] | None


class SteeringExplorer:
    """Unsteered and steered text side by side, with the concept score and what fluency it costs.

    methods: by name, each one of
    - (vector [d_model], hook_name), or (vectors [hook, d_model], hook_names): `AddVector` there;
    - a function of the coefficient that returns {hook_name: intervention};
    - your own function (prompt, coefficient) -> text. It may return the prompt too. Alone, its
      slider is in coefficients; as (function, vector, hook_name) it is in doses of that vector.

    words_for, words_against: what the concept score counts; without them it is left out.
    Display the object, or place its `.widget` in a layout of your own.
    """

    def __init__(
        self,
        model: TransformerBridge,
        methods: Mapping[str, MethodLike],
        *,
        words_for: Iterable[str] = (),
        words_against: Iterable[str] = (),
        settings: CourseSettings | None = None,
        positions: str = "all",
        temperature: float = 0.0,
        seed: int = 0,
    ):
        if not methods:
            raise ValueError("no method to explore; pass e.g. {'mean difference': (vector, hook)}")
        self.model = model
        self.settings = settings or course_settings(model)
        self.positions = positions
        self.words_for, self.words_against = tuple(words_for), tuple(words_against)
        self._sampling = {"temperature": temperature, "seed": seed}
        self._methods = {name: self._as_method(name, like) for name, like in methods.items()}
        self._unsteered: dict[str, tuple[Completion, Fluency]] = {}
        self._build()
        self._show_coefficient()

    # ------------------------------------------------------------ what a method is

    def _as_method(self, name: str, like: Any) -> Method:
        if isinstance(like, tuple) and len(like) == 2 and isinstance(like[0], Tensor):
            return self._vector_method(*like)
        if isinstance(like, tuple) and len(like) == 3 and callable(like[0]):
            function, vector, hook_name = like
            return Method(function, self._vector_method(vector, hook_name).coefficient)
        if not callable(like):
            raise TypeError(
                f"method {name!r} is {type(like).__name__}: pass (vector, hook_name), or a "
                "function of (coefficient) or (prompt, coefficient)"
            )
        return Method(like, None) if _n_arguments(like) >= 2 else self._made_method(like)

    def _vector_method(self, vector: Tensor, hook_name: str | Sequence[str]) -> Method:
        names = [hook_name] if isinstance(hook_name, str) else list(hook_name)
        vectors = vector[None] if vector.ndim == 1 else vector
        per_dose: list[float] = []

        def coefficient(dose: float) -> float:
            if not per_dose:
                per_dose.append(
                    coefficient_for_dose(
                        self.model, vectors, names, self.settings.prompts, 1.0, **self._reference
                    )
                )
            return dose * per_dose[0]

        def write(prompt: str, c: float) -> Completion:
            pairs = zip(names, vectors, strict=True)
            return self._steered(prompt, {name: AddVector(v, c) for name, v in pairs})

        return Method(write, coefficient)

    def _made_method(self, make: InterventionMaker) -> Method:
        def dose_at(c: float) -> float:
            return dose_of(self.model, make(c), self.settings.prompts, **self._reference)

        def coefficient(dose: float) -> float:
            return _solve(dose_at, dose)

        return Method(lambda prompt, c: self._steered(prompt, make(c)), coefficient)

    @property
    def _reference(self) -> dict[str, Any]:
        """Where doses are measured: prompts have no generated tokens, so all of theirs stand in."""
        named = self.positions in ("generated", "newest_only")
        return {"positions": "all" if named else self.positions, "mode": self.settings.mode}

    def _steered(self, prompt: str, interventions: Mapping[str, Intervention]) -> Completion:
        with steer(self.model, interventions, self.positions):
            return self._generate(prompt)

    def _generate(self, prompt: str) -> Completion:
        return generate(
            self.model,
            prompt,
            max_new_tokens=self.settings.max_new_tokens,
            mode=self.settings.mode,
            **self._sampling,  # type: ignore[arg-type]
        )[0]

    # ------------------------------------------------------------ the widgets

    def _build(self) -> None:
        wide = widgets.Layout(width="100%")
        half = widgets.Layout(width="50%", padding="0 12px 0 0")
        doses = self.settings.doses
        self.method = widgets.Dropdown(options=list(self._methods), description="method")
        self.dose = widgets.FloatSlider(
            value=self.settings.dose,
            min=min(doses),
            max=max(doses),
            step=0.05,
            description="dose",
            continuous_update=False,
            readout_format=".2f",
        )
        self.coefficient = widgets.Label()
        self.prompt = widgets.Textarea(
            value=self.settings.prompt, description="prompt", layout=wide
        )
        self.run = widgets.Button(description="Generate", button_style="primary")
        self.unsteered = widgets.HTML(layout=half)
        self.steered = widgets.HTML(layout=half)
        self.measures = widgets.HTML(layout=wide)
        self.error = widgets.HTML(layout=wide)
        self.widget = widgets.VBox(
            [
                widgets.HBox([self.method, self.dose, self.coefficient]),
                self.prompt,
                self.run,
                self.error,
                widgets.HBox([self.unsteered, self.steered], layout=wide),
                self.measures,
            ]
        )
        self.method.observe(self._show_coefficient, names="value")
        self.dose.observe(self._show_coefficient, names="value")
        self.run.on_click(self._on_click)

    def _ipython_display_(self) -> None:
        from IPython.display import display

        display(self.widget)

    # ------------------------------------------------------------ callbacks

    def _current_coefficient(self) -> float:
        convert = self._methods[self.method.value].coefficient
        return self.dose.value if convert is None else convert(self.dose.value)

    def _show_coefficient(self, change: Any = None) -> None:
        has_dose = self._methods[self.method.value].coefficient is not None
        self.dose.description = "dose" if has_dose else "coefficient"
        try:
            c = self._current_coefficient()
        except Exception as error:
            self.coefficient.value = ""
            self._show_error(error)
            return
        self.error.value = ""
        self.coefficient.value = f"coefficient {c:+.3g}" if has_dose else "dose unknown"

    def _on_click(self, button: Any = None) -> None:
        self.error.value = ""
        self.run.disabled, self.run.description = True, "Generating…"
        try:
            self._explore(self.prompt.value)
        except Exception as error:
            # A widget swallows exceptions of its callbacks: without this the reader sees nothing.
            self.steered.value = self.measures.value = ""
            self._show_error(error)
        finally:
            self.run.disabled, self.run.description = False, "Generate"

    def _explore(self, prompt: str) -> None:
        if not prompt.strip():
            raise ValueError("the prompt is empty: type a few words to continue")
        if prompt not in self._unsteered:
            plain = self._generate(prompt)
            self._unsteered[prompt] = plain, self._fluency(prompt, plain)
        plain, plain_fluency = self._unsteered[prompt]
        self.unsteered.value = _paragraph("unsteered", prompt, plain.text)
        c = self._current_coefficient()
        written = self._methods[self.method.value].write(prompt, c)
        if not isinstance(written, str | Completion):
            raise TypeError(f"the method returned {type(written).__name__}, not text")
        if isinstance(written, str):
            written = written.removeprefix(prompt)
        text = written if isinstance(written, str) else written.text
        title = f"{self.method.value}, {self.dose.description} {self.dose.value:+.2f}"
        self.steered.value = _paragraph(title, prompt, text)
        self.measures.value = self._table(
            [
                ("unsteered", plain.text, plain_fluency),
                ("steered", text, self._fluency(prompt, written)),
            ]
        )

    def _fluency(self, prompt: str, written: str | Completion) -> Fluency:
        return fluency(self.model, prompt, written, mode=self.settings.mode)

    def _table(self, rows: Sequence[tuple[str, str, Fluency]]) -> str:
        scored = bool(self.words_for and self.words_against)
        head = ["", *(["concept score"] if scored else [])]
        head += ["NLL (nats/token)", "distinct-2", "in repeated 4-grams"]
        lines = [head]
        for name, text, f in rows:
            score = concept_score(text, self.words_for, self.words_against) if scored else None
            numbers = [*([score] if scored else []), f.nll, f.distinct2, f.repeated]
            lines.append([name, *("–" if x is None else f"{x:.2f}" for x in numbers)])
        cells = "".join(
            "<tr>"
            + "".join(f"<td style='padding:2px 12px'>{escape(c)}</td>" for c in line)
            + "</tr>"
            for line in lines
        )
        return f"<table>{cells}</table>"

    def _show_error(self, error: Exception) -> None:
        self.error.value = (
            f"<pre style='color:#b00020; white-space:pre-wrap'>{escape(type(error).__name__)}: "
            f"{escape(str(error))}</pre>"
        )


def _paragraph(title: str, prompt: str, text: str) -> str:
    return (
        f"<b>{escape(title)}</b><p style='white-space:pre-wrap; line-height:1.4'>"
        f"<span style='color:#777'>{escape(prompt)}</span>{escape(text)}</p>"
    )


def _n_arguments(function: Callable[..., Any]) -> int:
    """Positional arguments that a function must be given."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        return 1
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in positional and p.default is p.empty for p in parameters)


def _solve(dose_at: Callable[[float], float], dose: float) -> float:
    """The coefficient, of dose's sign, at which an intervention has that dose within 1 %.

    Takes the dose for a power of the coefficient: one step where it is proportional to it.
    """
    if dose == 0:
        return 0.0
    c, power = math.copysign(1.0, dose), 1.0
    before: tuple[float, float] | None = None
    for _ in range(12):
        measured = dose_at(c)
        if measured == 0:
            raise ValueError("this intervention changes nothing there: no coefficient has a dose")
        if abs(measured / abs(dose) - 1) < 0.01:
            break
        if before is not None and before[0] != c:
            slope = math.log(measured / before[1]) / math.log(c / before[0])
            power = min(max(slope, 0.2), 5.0)
        before = c, measured
        c *= (abs(dose) / measured) ** (1 / power)
    return c
