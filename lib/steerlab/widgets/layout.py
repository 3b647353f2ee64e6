"""The explorer's widgets and how they stand together; what they do is the explorer's."""

from __future__ import annotations

import ipywidgets as widgets

from steerlab.settings import CourseSettings
from steerlab.widgets.picker import Picker
from steerlab.widgets.steps import Steps


class ExplorerLayout:
    """Every widget as an attribute, and `widget`, the box that holds those with a use now.

    steps: what measures; writing: what writes a text. longest: the most tokens that may be asked for.
    """

    def __init__(
        self, settings: CourseSettings, picker: Picker, steps: Steps, writing: Steps, longest: int
    ):
        self.settings, self._picker = settings, picker
        self._steps, self._writing = steps, writing
        self._chatting = False
        wide = widgets.Layout(width="auto")  # 100% would be cut off by its own margins
        half = widgets.Layout(flex="1 1 260px", padding="0 12px 0 0")  # below each other if narrow
        doses = self.settings.doses
        self.source, self.method = picker.source, picker.method
        self.search, self.hits = picker.search, picker.hits
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
        self.chat = widgets.Checkbox(value=False, description="multi-turn chat", indent=False)
        self.prompt = widgets.Textarea(
            value=self.settings.prompt, description="prompt", layout=wide
        )
        self.length = widgets.BoundedIntText(
            value=self.settings.max_new_tokens,
            min=1,
            max=longest,
            description="tokens",
            layout=widgets.Layout(width="150px"),
        )
        self.run = widgets.Button(description="Generate", button_style="primary")
        self.reset = widgets.Button(description="Reset")
        self.copy = widgets.Button(description="Copy as code")
        self.measure = widgets.Button(description="Dose–response")
        self.unsteered = widgets.HTML(layout=half)
        self.steered = widgets.HTML(layout=half)
        self.measures = widgets.HTML(layout=wide)
        self.error = widgets.HTML(layout=wide)
        self.plot = widgets.HTML(layout=wide)
        self.saved = widgets.HTML(layout=wide)
        self.code = widgets.Textarea(rows=20, description="code", layout=wide)
        wrapped = widgets.Layout(width="auto", flex_flow="row wrap")
        self._buttons = widgets.HBox(layout=wrapped)
        self._below = widgets.VBox(
            [widgets.Label("Select all, copy, and paste into a new cell:"), self.code], layout=wide
        )
        self._strength = widgets.HBox([self.dose, self.coefficient], layout=wrapped)
        self._texts = widgets.HBox([self.unsteered, self.steered], layout=wrapped)
        self.widget = widgets.VBox(layout=wide)

    def _arrange(self) -> None:
        """Show the widgets that have a use now."""
        self._buttons.children = [
            self.run, *([self.reset] if self._chatting else [self.measure]), self.copy, self.length,
        ]  # fmt: skip
        self.widget.children = [
            *self._picker.rows,
            self._strength,
            self.chat,
            self.prompt,
            self._buttons,
            self._writing.row,
            self._steps.row,
            self.error,
            self._texts,
            self.measures,
            *([self.plot] if self.plot.value else []),
            *([self.saved] if self.saved.value else []),
            *([self._below] if self.code.value else []),
        ]

    def _ipython_display_(self) -> None:
        from IPython.display import display

        display(self.widget)
