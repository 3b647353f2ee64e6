"""Long work in steps, with a bar to watch and a button that stops it.

A kernel runs the callbacks of widgets one after another, so a click on Stop would wait until the work
is done. Here every step is a callback of its own. What calls them is a `Play` widget that nobody sees:
it counts in the browser, waits while the kernel is busy, and lets other clicks in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

import ipywidgets as widgets

Work = Iterator[tuple[float, str]]
"""What share is done and what comes next, before each step. It keeps its own results."""

MOST_STEPS = 1_000_000
AT_ONCE_S = 1.0


class Steps:
    """Runs one piece of work at a time. Place `row` in a layout: it shows itself while work is on.

    failed is called with what a step raises; the work ends there. ended is called after the last
    step, after a failure and after a stop.
    """

    def __init__(self, failed: Callable[[Exception], None], ended: Callable[[], None]):
        self._failed, self._ended = failed, ended
        self._work: Work | None = None
        self._play = widgets.Play(
            min=0, max=MOST_STEPS, interval=20, layout=widgets.Layout(display="none")
        )
        # 7 has the trait under a private name.
        self._playing = "playing" if self._play.has_trait("playing") else "_playing"
        self.bar = widgets.FloatProgress(min=0.0, max=1.0, layout=widgets.Layout(width="160px"))
        self.doing = widgets.Label()
        self.stop = widgets.Button(description="Stop")
        self.row = widgets.HBox(
            [self.bar, self.stop, self.doing, self._play], layout=widgets.Layout(display="none")
        )
        self._play.observe(self._tick, names="value")
        self.stop.on_click(self.halt)

    @property
    def running(self) -> bool:
        """Whether there is work that has not ended."""
        return self._work is not None

    def begin(self, work: Work, *, at_once: bool = False) -> None:
        """Start. Nothing is done yet, or `at_once` what a reader waits for without a bar.

        Raises ValueError while other work is on.
        """
        if self.running:
            raise ValueError("something is still being measured: press Stop, or wait for its end")
        self._play.value = 0
        self._work = work
        self.bar.value, self.doing.value = 0.0, ""
        pause = monotonic() + AT_ONCE_S
        while at_once and self.running and monotonic() < pause:
            self.step()
        if not self.running:
            return
        self.row.layout.display = None
        setattr(self._play, self._playing, True)

    def step(self) -> None:
        """Do the next step, if there is one."""
        if self._work is None:
            return
        try:
            self.bar.value, self.doing.value = next(self._work)
        except StopIteration:
            self._end()
        except Exception as error:
            self._end()
            self._failed(error)

    def _tick(self, change: Any) -> None:
        self.step()

    def halt(self, button: Any = None) -> None:
        """End the work, if there is some, where it is."""
        if self._work is not None:
            self._end()

    def _end(self) -> None:
        self._work = None
        setattr(self._play, self._playing, False)
        self.row.layout.display = "none"
        self._ended()
