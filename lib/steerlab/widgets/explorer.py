"""`SteeringExplorer`: the widgets and what happens when one is touched."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any

from steerlab.cavs import CAVs
from steerlab.evaluation import Fluency
from steerlab.generation import Completion
from steerlab.sae.clamp import ClampFeatures
from steerlab.sae.labels import FeatureLabels
from steerlab.sae.model import SAE
from steerlab.settings import CourseSettings, course_settings
from steerlab.widgets import render
from steerlab.widgets.chat import Conversation, Exchange, Turns
from steerlab.widgets.code import Made, notebook_variables
from steerlab.widgets.layout import ExplorerLayout
from steerlab.widgets.measures import Measures, Row, Written
from steerlab.widgets.methods import Choice, ClampMaker, Method, MethodLike, Ruler, as_method
from steerlab.widgets.picker import Picker
from steerlab.widgets.reproduce import Shown, reproducing_cell
from steerlab.widgets.response import DoseResponse, measure
from steerlab.widgets.saving import links, picture, record
from steerlab.widgets.sentences import OwnSentences
from steerlab.widgets.sources import Concepts, Features
from steerlab.widgets.steps import Steps, Work
from steerlab.widgets.writing import write, write_steered

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


def _shows_errors(callback: Callable[[Any], None]) -> Callable[..., None]:
    """A callback of a widget, whose exceptions it would swallow: they are shown in the explorer."""

    @wraps(callback)
    def reporting(self: SteeringExplorer, event: Any = None) -> None:
        self.error.value = ""
        try:
            callback(self)
        except Exception as error:
            self.error.value = render.error(error)

    return reporting


def _text(written: Written) -> str:
    return written if isinstance(written, str) else written.text


class SteeringExplorer(ExplorerLayout):
    """Unsteered and steered text side by side, with the concept score and what fluency it costs.

    methods: by name, each one of
    - (vector [d_model], hook_name), or (vectors [hook, d_model], hook_names): `AddVector` there;
    - a function of the coefficient that returns {hook_name: intervention};
    - your own function (prompt, coefficient) -> text. It may return the prompt too. Alone, its
      slider is in coefficients; as (function, vector, hook_name) it is in doses of that vector.

    sae, labels: features to search among and clamp; labels are `FeatureLabels` or {feature: text}.
    clamp: your own function (sae, {feature: activation}) -> intervention in place of
    `ClampFeatures`. cavs: concepts to search among, added as vectors.

    words_for, words_against: what the concept score counts. words: {concept: words}; a feature or
    CAV of one of these concepts is scored by its words against those of the others. Without either
    the score is left out.

    sentences: (towards, away from) to begin with, which the reader may change into sentences of their
    own; a direction is found from them as a mean difference, a CAV, or the fewest features of `sae`.
    made: how a copied cell makes what no notebook around the explorer has, by name.

    The slider is in doses (see `steerlab.steering.dose_of`), the raw coefficient stands beside it.
    Multi-turn chat works on models with a chat template, for every method that is not a function
    of your own that writes text. Display the object, or place its `.widget` in a layout of your own.

    Raises TypeError and ValueError for arguments of a wrong kind. Everything that goes wrong later
    is shown in the widget.
    """

    def __init__(
        self,
        model: TransformerBridge,
        methods: Mapping[str, MethodLike] | None = None,
        *,
        sae: SAE | None = None,
        labels: FeatureLabels | Mapping[int, str] | None = None,
        clamp: ClampMaker = ClampFeatures,
        cavs: CAVs | None = None,
        words_for: Iterable[str] = (),
        words_against: Iterable[str] = (),
        words: Mapping[str, Iterable[str]] | None = None,
        settings: CourseSettings | None = None,
        positions: str = "all",
        temperature: float = 0.0,
        seed: int = 0,
        sentences: tuple[Sequence[str], Sequence[str]] | None = None,
        made: Mapping[str, Made] | None = None,
    ):
        if not methods and sae is None and cavs is None and sentences is None:
            raise ValueError(
                "no method to explore; pass e.g. {'mean difference': (vector, hook)}, sae=, or cavs="
            )
        if labels is not None and sae is None:
            raise ValueError("labels name the features of an SAE: pass sae= as well")
        self.model = model
        settings = settings or course_settings(model)
        self.positions = positions
        self._sampling: dict[str, Any] = {"temperature": temperature, "seed": seed}
        ruler = Ruler(model, settings, positions)
        lists: list[Features | Concepts] = []
        if sae is not None:
            lists.append(Features(ruler, sae, labels, clamp))
        if cavs is not None:
            lists.append(Concepts(ruler, cavs))
        own = {name: as_method(name, like, ruler) for name, like in (methods or {}).items()}
        writing = None
        if sentences is not None:
            named = labels if isinstance(labels, FeatureLabels) else None
            writing = OwnSentences(ruler, *sentences, sae, named)
            writing.find.on_click(self._find_direction)
        picker = Picker(own, lists, writing)
        steps = Steps(self._show_error, self._show_measured)
        texts = Steps(self._show_error, self._let_write_again)
        super().__init__(settings, picker, steps, texts, int(model.cfg.n_ctx))
        self._made = made or {}
        self._response: DoseResponse | None = None
        self._png: bytes | None = None
        self._rows: list[Row] = []
        self._measures = Measures(model, settings.mode, words_for, words_against, words or {})
        self._unsteered: dict[tuple[str, int], tuple[Completion, Fluency]] = {}
        self._conversation = Conversation(model)
        self._shown: Shown | None = None
        self._connect()
        self._change_source()

    def _connect(self) -> None:
        self.source.observe(self._change_source, names="value")
        self.search.observe(self._search, names="value")
        for chosen in (self.method, self.hits, self.dose):
            chosen.observe(self._show_coefficient, names="value")
        self.chat.observe(self._toggle_chat, names="value")
        self.run.on_click(self._on_click)
        self.reset.on_click(self._begin_anew)
        self.copy.on_click(self._show_code)
        self.measure.on_click(self._measure_doses)

    # ------------------------------------------------------------ what to steer with

    @_shows_errors
    def _change_source(self) -> None:
        self._arrange()
        self._picker.begin()
        self.coefficient.value = ""
        if not self._picker.empty:
            self._set_coefficient()

    @_shows_errors
    def _find_direction(self) -> None:
        if self._picker.own is not None:
            self._steps.begin(self._picker.own.fit())

    @_shows_errors
    def _search(self) -> None:
        self.coefficient.value = ""
        self._picker.fill()

    @_shows_errors
    def _show_coefficient(self) -> None:
        if not self._picker.empty:
            self._set_coefficient()

    def _set_coefficient(self) -> None:
        """Write the coefficient beside the slider."""
        self.coefficient.value = ""
        method = self._picker.chosen()
        has_dose = method.coefficient is not None
        self.dose.description = "dose" if has_dose else "coefficient"
        self.coefficient.value = (
            method.shown(self._coefficient_of(method)) if has_dose else "dose unknown"
        )

    def _coefficient_of(self, method: Method) -> float:
        convert = method.coefficient
        return self.dose.value if convert is None else convert(self.dose.value)

    # ------------------------------------------------------------ one prompt

    @_shows_errors
    def _on_click(self) -> None:
        self.run.disabled, self.run.description = True, "Generating…"
        self._shown, self.code.value = None, ""
        self._save()
        work = self._take_turn() if self._chatting else self._explore()
        self._writing.begin(work, at_once=True)

    def _let_write_again(self) -> None:
        """After a text, an error or a stop."""
        self.run.disabled = False
        self.run.description = "Send" if self._chatting else "Generate"

    def _explore(self) -> Work:
        prompt, generation = self.prompt.value, self._generation()
        self.steered.value = self.measures.value = ""
        if not prompt.strip():
            raise ValueError("the prompt is empty: type a few words to continue")
        use, asked = self._chosen(), (prompt, generation["max_new_tokens"])
        if asked not in self._unsteered:
            plain = yield from write(
                self.model, prompt, generation, "unsteered", part=(0.0, 0.5),
                show=lambda text: self._show(self.unsteered, "unsteered", prompt, f"{text} …"),
            )  # fmt: skip
            self._unsteered[asked] = plain, self._measures.fluency(prompt, plain)
        plain, plain_fluency = self._unsteered[asked]
        self._show(self.unsteered, "unsteered", prompt, plain.text)
        written = yield from write_steered(
            self.model, use, prompt, generation, self.positions, part=(0.5, 1.0),
            show=lambda text: self._show(self.steered, use.how, prompt, f"{text} …"),
        )  # fmt: skip
        self._show(self.steered, use.how, prompt, _text(written))
        self._remember(use, prompt, None, written, plain, generation)
        costs = {"unsteered": plain_fluency, "steered": self._measures.fluency(prompt, written)}
        self._show_rows(use.method, {"unsteered": plain, "steered": written}, costs)

    def _show(self, panel: Any, title: str, prompt: str, text: str) -> None:
        panel.value = render.paragraph(title, prompt, text)

    def _show_rows(
        self, method: Method, texts: Mapping[str, Written], costs: Mapping[str, Fluency]
    ) -> None:
        self._rows = self._measures.rows(method.concept, texts, costs)
        self.measures.value = self._measures.table(method.concept, self._rows)
        self._save()

    def _generation(self) -> dict[str, Any]:
        """The arguments of `generate`."""
        new, mode = self.length.value, self.settings.mode
        return {"max_new_tokens": new, "mode": mode, **self._sampling}

    def _chosen(self) -> Choice:
        """The method that is picked, as strong as the slider says now."""
        method = self._picker.chosen()
        strength = f"{self.dose.description} {self.dose.value:+.2f}"
        return Choice(method, self._coefficient_of(method), strength)

    # ------------------------------------------------------------ a conversation

    def _take_turn(self) -> Work:
        said = self.prompt.value
        if not said.strip():
            raise ValueError("your turn is empty: type what you want to say")
        use, generation = self._chosen(), self._generation() | self._in_chat
        if use.method.make is None:
            raise ValueError(
                f"{use.method.name!r} is a function that answers a single prompt: for multi-turn chat "
                "choose a vector, a feature, a concept or a function that returns interventions"
            )
        turns = self._conversation.turns("steered", said)
        plainly, steerably = self._conversation.texts(said, generation["max_new_tokens"])
        plain = yield from write(self.model, plainly, generation, "unsteered", part=(0.0, 0.5))
        steered = yield from write_steered(
            self.model, use, steerably, generation, self.positions, part=(0.5, 1.0)
        )
        assert isinstance(steered, Completion)
        how = f"{use.how}, {use.method.shown(use.coefficient)}"
        self._conversation.exchanges.append(Exchange(said, plain, steered, how))
        self._show_conversation()
        self.prompt.value = ""
        self._remember(use, said, turns, steered, plain, generation)
        answers = {"unsteered, last answer": plain, "steered, last answer": steered}
        costs = {name: self._measures.fluency(a.prompt, a) for name, a in answers.items()}
        self._show_rows(use.method, answers, costs)

    @property
    def _in_chat(self) -> dict[str, Any]:
        """A conversation is a text with its template, which has written BOS already."""
        return {"mode": "raw", "prepend_bos": False}

    @_shows_errors
    def _toggle_chat(self) -> None:
        if self.chat.value == self._chatting:
            return
        self._writing.halt()
        if self.chat.value:
            try:
                self._conversation.check_template()
            except ValueError:
                self.chat.value = False
                raise
        self._chatting = self.chat.value
        self.prompt.description = "your turn" if self._chatting else "prompt"
        self.run.description = "Send" if self._chatting else "Generate"
        self._clear()
        if self._chatting:
            self._show_conversation()

    @_shows_errors
    def _begin_anew(self) -> None:
        self._writing.halt()
        self._conversation.reset()
        self._clear()

    def _show_conversation(self) -> None:
        exchanges = self._conversation.exchanges
        self.unsteered.value = render.transcript("unsteered", exchanges) if exchanges else ""
        self.steered.value = render.transcript("steered", exchanges) if exchanges else ""

    def _clear(self) -> None:
        self._shown, self._response, self._png = None, None, None
        for panel in (
            self.unsteered, self.steered, self.measures, self.code, self.plot, self.saved,
        ):  # fmt: skip
            panel.value = ""
        self._arrange()

    # ------------------------------------------------------------ dose and response

    @_shows_errors
    def _measure_doses(self) -> None:
        method = self._picker.chosen()
        if self._steps.running:
            raise ValueError("something is still being measured: press Stop, or wait for its end")
        prompt = self.prompt.value
        prompts = dict.fromkeys(p for p in (prompt, *self.settings.prompts) if p.strip())
        judge = self._measures.judge(method.concept)
        self._response = DoseResponse(
            method.name,
            self.dose.description,
            list(prompts),
            self.length.value,
            score_label=judge[0] if judge else None,
        )
        self._steps.begin(
            measure(
                self._response, self.model, method, self.settings.doses,
                positions=self.positions, generation=self._generation(),
                score=judge[1] if judge else None,
            )
        )  # fmt: skip

    @_shows_errors
    def _show_measured(self) -> None:
        """What has been found, when long work is done or stopped."""
        if not self._picker.empty:
            self._set_coefficient()
        if self._response is not None and self._response.doses:
            self.plot.value, self._png = picture(self._response)
        self._save()

    def _show_error(self, error: Exception) -> None:
        self.error.value = render.error(error)

    # ------------------------------------------------------------ to take away

    def _remember(
        self,
        use: Choice,
        prompt: str,
        turns: Turns | None,
        written: Written,
        unsteered: Completion,
        generation: Mapping[str, Any],
    ) -> None:
        self._shown = Shown(
            self.model, use, prompt, turns, written, unsteered, self.positions, generation
        )

    def as_code(self) -> str:
        """The cell that writes the steered text again. Raises ValueError where there is none yet."""
        if self._shown is None:
            raise ValueError("there is no steered text yet: generate one, then copy it as code")
        return reproducing_cell(self._shown, notebook_variables(), self._made)

    def as_record(self) -> dict[str, Any]:
        """All that is shown, in plain values: text, measures, dose-response, code."""
        try:
            cell = self.as_code()
        except ValueError:  # nothing written yet, or a vector too large to write out
            cell = None
        shown, rows = self._shown, self._rows if self._shown else []
        return record(shown, rows, self._response, self.settings.name, cell)

    def _save(self) -> None:
        """Offer what is shown as files."""
        kept = self._shown is not None or (self._response is not None and self._response.doses)
        self.saved.value = links(self.as_record(), self._png) if kept else ""
        self._arrange()

    @_shows_errors
    def _show_code(self) -> None:
        self.code.value = ""
        try:
            self.code.value = self.as_code()
        finally:
            self._arrange()
