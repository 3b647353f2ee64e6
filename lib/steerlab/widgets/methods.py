"""What the explorer can steer with, and which coefficient has a dose of it.

However a method was given (a vector, a function, a feature, a concept), the explorer sees one
`Method`. It can be applied at a coefficient, it knows the coefficient of a dose, and it can write
itself down as code.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import Tensor

from steerlab.generation import Completion, generate
from steerlab.sae.clamp import ClampFeatures
from steerlab.sae.model import SAE
from steerlab.settings import CourseSettings
from steerlab.steering import (
    AddVector,
    Intervention,
    coefficient_at,
    coefficient_for_dose,
    dose_of,
    steer,
)
from steerlab.widgets.code import Cell

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

InterventionMaker = Callable[[float], Mapping[str, Intervention]]
TextFunction = Callable[[str, float], "str | Completion"]
ClampMaker = Callable[[SAE, Mapping[int, float]], Intervention]
MethodLike = (
    tuple[Tensor, str | Sequence[str]]
    | tuple[TextFunction, Tensor, str | Sequence[str]]
    | InterventionMaker
    | TextFunction
)


@dataclass(frozen=True)
class Method:
    """One thing to steer with.

    make(coefficient) gives {hook name: intervention}. A function that writes text itself has
    write(prompt, coefficient) instead. coefficient(dose) is None where no dose is known and the
    slider sets the coefficient itself. shown(coefficient) is how it reads beside the slider;
    expression(cell, coefficient) what `make` or `write` is in a code cell. concept: what it
    is for, where that has a name.
    """

    name: str
    expression: Callable[[Cell, float], str]
    make: InterventionMaker | None = None
    write: TextFunction | None = None
    coefficient: Callable[[float], float] | None = None
    shown: Callable[[float], str] = "coefficient {:+.3g}".format
    concept: str | None = None

    def written(
        self,
        model: TransformerBridge,
        prompts: Sequence[str],
        c: float,
        positions: str,
        generation: Mapping[str, Any],
    ) -> list[str | Completion]:
        """What it writes after each prompt at coefficient c; generation: arguments of `generate`.

        Raises TypeError where a function of the reader's gives something else than text.
        """
        if self.make is not None:
            with steer(model, self.make(c), positions):
                return list(generate(model, prompts, **generation))
        assert self.write is not None
        written = [self.write(prompt, c) for prompt in prompts]
        for text in written:
            if not isinstance(text, str | Completion):
                raise TypeError(f"the method returned {type(text).__name__}, not text")
        return [
            text.removeprefix(prompt) if isinstance(text, str) else text
            for prompt, text in zip(prompts, written, strict=True)
        ]


@dataclass(frozen=True)
class Choice:
    """A method at a coefficient; strength is what the slider says then, e.g. "dose +0.40"."""

    method: Method
    coefficient: float
    strength: str

    @property
    def how(self) -> str:
        """What stands above the steered text."""
        return f"{self.method.name}, {self.strength}"


class Ruler:
    """Measures doses on the settings' prompts, and finds the coefficient of a dose."""

    def __init__(self, model: TransformerBridge, settings: CourseSettings, positions: str):
        self.model = model
        self.prompts = settings.prompts
        self.hook_name, self.mode = settings.hook_name, settings.mode
        # Prompts have no generated tokens, so all of theirs stand in.
        named = positions in ("generated", "newest_only")
        self.reference: dict[str, Any] = {
            "positions": "all" if named else positions,
            "mode": settings.mode,
        }

    def dose(self, interventions: Mapping[str, Intervention]) -> float:
        """The dose of some interventions, never negative."""
        return dose_of(self.model, interventions, self.prompts, **self.reference)

    def of_vector(self, vectors: Tensor, hook_names: Sequence[str]) -> Callable[[float], float]:
        """dose -> coefficient of added vectors [hook, d_model]; measured once, when first asked."""
        per_dose: list[float] = []

        def coefficient(dose: float) -> float:
            if not per_dose:
                per_dose.append(
                    coefficient_for_dose(
                        self.model, vectors, hook_names, self.prompts, 1.0, **self.reference
                    )
                )
            return dose * per_dose[0]

        return coefficient

    def of_maker(self, make: InterventionMaker, start: float = 1.0) -> Callable[[float], float]:
        """dose -> coefficient of interventions that may depend on it in any way."""
        known: dict[float, float] = {}

        def coefficient(dose: float) -> float:
            if dose not in known:
                known[dose] = coefficient_at(lambda c: self.dose(make(c)), dose, start)
            return known[dose]

        return coefficient


# --------------------------------------------------------------------------- kinds of method


def as_method(name: str, like: Any, ruler: Ruler) -> Method:
    """The method that a reader gave under a name. Raises TypeError for something that is none."""
    if isinstance(like, tuple) and len(like) == 2 and isinstance(like[0], Tensor):
        return vector_method(name, like[0], like[1], ruler)
    if isinstance(like, tuple) and len(like) == 3 and callable(like[0]):
        function, vector, hook_name = like
        return text_method(name, function, vector_method(name, vector, hook_name, ruler))
    if not callable(like):
        raise TypeError(
            f"method {name!r} is {type(like).__name__}: pass (vector, hook_name), or a "
            "function of (coefficient) or (prompt, coefficient)"
        )
    if _n_arguments(like) >= 2:
        return text_method(name, like, None)
    return made_method(name, like, ruler)


def vector_method(
    name: str,
    vector: Tensor,
    hook_name: str | Sequence[str],
    ruler: Ruler,
    *,
    in_code: Callable[[Cell], str] | None = None,
    concept: str | None = None,
) -> Method:
    """A vector added at one hook point, or one at each of several.

    in_code writes the vector in a cell; without it the cell looks for a variable that holds it.
    """
    names = [hook_name] if isinstance(hook_name, str) else list(hook_name)
    vectors = vector[None] if vector.ndim == 1 else vector

    def make(c: float) -> dict[str, Intervention]:
        return {each: AddVector(v, c) for each, v in zip(names, vectors, strict=True)}

    def expression(cell: Cell, c: float) -> str:
        cell.use("steerlab.steering", "AddVector")
        if isinstance(hook_name, str):
            written = in_code(cell) if in_code else cell.tensor(vectors[0], "vector")
            return f"{{{cell.quoted(hook_name)}: AddVector({written}, {c!r})}}"
        written = cell.tensor(vectors, "vectors")
        cell.line(f"hook_names = [{', '.join(map(cell.quoted, names))}]")
        pairs = f"zip(hook_names, {written}, strict=True)"
        return f"{{name: AddVector(vector, {c!r}) for name, vector in {pairs}}}"

    coefficient = ruler.of_vector(vectors, names)
    return Method(name, expression, make, coefficient=coefficient, concept=concept)


def made_method(name: str, make: InterventionMaker, ruler: Ruler) -> Method:
    """A reader's function of the coefficient that returns {hook name: intervention}."""

    def expression(cell: Cell, c: float) -> str:
        return f"{cell.name_of(make, 'make', f'the function of {name!r}')}({c!r})"

    return Method(name, expression, make, coefficient=ruler.of_maker(make))


def text_method(name: str, function: TextFunction, measured: Method | None) -> Method:
    """A reader's function (prompt, coefficient) -> text, in doses of a vector if one is given."""

    def expression(cell: Cell, c: float) -> str:
        called = cell.name_of(function, "write", f"the function of {name!r}")
        return f"{called}(prompt, {c!r})"

    coefficient = measured.coefficient if measured else None
    return Method(name, expression, write=function, coefficient=coefficient)


def clamp_method(
    name: str,
    sae: SAE,
    feature: int,
    reference: float | None,
    ruler: Ruler,
    *,
    clamp: ClampMaker = ClampFeatures,
    concept: str | None = None,
) -> Method:
    """A feature set to an activation α, which is the coefficient here.

    reference: the 99.9th percentile of the feature's non-zero activations, None where unknown.
    clamp: what makes the intervention, called as clamp(sae, {feature: α}).
    """
    hook_name = str(sae.hook_name)

    def make(alpha: float) -> dict[str, Intervention]:
        return {hook_name: clamp(sae, {feature: alpha})}

    def shown(alpha: float) -> str:
        if alpha == 0:
            return f"α 0: the feature is switched off (dose {ruler.dose(make(0.0)):.2f})"
        if reference is None:
            return f"α {alpha:+.3g}, reference unknown"
        return f"α {alpha:+.3g} = {alpha / reference:+.2f} × its reference {reference:.3g}"

    def expression(cell: Cell, alpha: float) -> str:
        held = cell.name_of(sae, "sae", "the autoencoder")
        if clamp is ClampFeatures:
            cell.use("steerlab.sae", "ClampFeatures")
            called = "ClampFeatures"
        else:
            called = cell.name_of(clamp, "clamp", "the function that clamps")
        return f"{{{cell.quoted(hook_name)}: {called}({held}, {{{feature}: {alpha!r}}})}}"

    coefficient = ruler.of_maker(make, reference or 1.0)
    return Method(name, expression, make, coefficient=coefficient, shown=shown, concept=concept)


def _n_arguments(function: Callable[..., Any]) -> int:
    """Positional arguments that a function must be given."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        return 1
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in positional and p.default is p.empty for p in parameters)
