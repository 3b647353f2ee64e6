"""The explorer: pick a direction, turn the knob, read the text, see what it costs.

Only the core widgets that ipywidgets 7 and 8 share. Everything runs in the callback of the button:
Colab does not render updates that come from threads.
"""

from steerlab.widgets.explorer import SteeringExplorer

__all__ = ["SteeringExplorer"]
