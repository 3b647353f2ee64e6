"""Steer language models and train sparse autoencoders: the library behind the steerlab course.

`import steerlab` is light: torch and transformer_lens are imported when a model is first asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from steerlab.models import load_model, preload
    from steerlab.settings import CourseSettings, course_settings

__all__ = ["CourseSettings", "course_settings", "load_model", "preload"]

_HOMES = {
    "load_model": "steerlab.models",
    "preload": "steerlab.models",
    "CourseSettings": "steerlab.settings",
    "course_settings": "steerlab.settings",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'steerlab' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
