"""What the page's notebook does: load a model and all that can steer it, and show the explorer.

Voilà hides what a cell raises. Here it becomes something to read: a model that cannot be loaded says
so in the place of the explorer, and what only one part of it lacks is a line above it.
"""

from __future__ import annotations

import os
from typing import Any

MODEL_VARIABLE = "STEERLAB_EXPLORE_MODEL"
SAE_VARIABLE = "STEERLAB_EXPLORE_SAE"

N_EXAMPLES = 12  # sentences a side to begin with


def _by(module: str, loader: str, thing: Any, arguments: str) -> Any:
    """How a copied cell loads what this page has loaded."""
    from steerlab.widgets.code import Made

    return Made(thing, f"{loader}{arguments}".replace("'", '"'), ((module, loader),))


class Page:
    """The page of one visitor, filled step by step: `load()`, `build()`, then shown.

    Neither raises: what goes wrong is what the page shows.
    """

    def __init__(self, model_name: str | None = None, sae_name: str | None = None):
        self.model_name = model_name or os.environ.get(MODEL_VARIABLE) or "tiny"
        self._sae_name = sae_name or os.environ.get(SAE_VARIABLE) or None
        self.model: Any = None
        self.explorer: Any = None
        self.notes: list[str] = []
        self._failure: Exception | None = None

    def load(self) -> None:
        """Load the model."""
        from steerlab.models import load_model

        try:
            self.model = load_model(self.model_name)
        except Exception as error:
            self._failure = error

    def build(self) -> None:
        """Make the explorer, of whatever this model has."""
        if self.model is None:
            return
        try:
            self.explorer = self._explorer()
        except Exception as error:
            self._failure = error

    def _ipython_display_(self) -> None:
        import ipywidgets as widgets
        from IPython.display import display

        from steerlab.widgets import render

        if self._failure is not None:
            display(widgets.HTML(render.error(self._failure)))
            return
        if self.notes:
            display(widgets.HTML(render.notes(self.notes)))
        display(self.explorer.widget)

    def _explorer(self) -> Any:
        from steerlab.data import sentences, sentiment_words, words_of_topics
        from steerlab.directions import mean_difference
        from steerlab.settings import course_settings
        from steerlab.widgets import SteeringExplorer
        from steerlab.widgets.code import Made

        model, settings = self.model, course_settings(self.model)
        given: dict[str, Any] = {}
        n = settings.n_sentences
        happy = mean_difference(
            model,
            sentences("positive", n, 0),
            sentences("negative", n, 0),
            settings.hook_name,
            mode=settings.mode,
        )
        made = {
            "model": _by("steerlab.models", "load_model", model, f"({self.model_name!r})"),
            "positive_sentiment": Made(
                happy,
                f'mean_difference(\n    model,\n    sentences("positive", {n}, 0),\n'
                f'    sentences("negative", {n}, 0),\n    "{settings.hook_name}",\n'
                f'    mode="{settings.mode}",\n)',
                (("steerlab.directions", "mean_difference"), ("steerlab.data", "sentences")),
            ),
        }
        sae = self._loaded_sae(settings.sae)
        if sae is not None:
            given["sae"] = sae
            given["labels"] = self._loaded_labels(settings.sae)
            name = self._sae_name or settings.sae
            made["sae"] = _by("steerlab.sae", "load_sae", sae, f"({name!r}, model)")
        if settings.name == "tiny":
            from steerlab.cavs import load_cavs

            given["cavs"] = load_cavs("tiny")
            made["cavs"] = _by("steerlab.directions", "load_cavs", given["cavs"], "('tiny')")
            given["words"] = words_of_topics("concepts", [], [])
        explorer = SteeringExplorer(
            model,
            {"positive sentiment": (happy, settings.hook_name)},
            settings=settings,
            words_for=sentiment_words("positive"),
            words_against=sentiment_words("negative"),
            sentences=(sentences("negative", N_EXAMPLES, 1), sentences("positive", N_EXAMPLES, 1)),
            made=made,
            **given,
        )
        if sae is not None:
            explorer.source.value = "feature"
            explorer.prompt.value = settings.haiku
        return explorer

    def _loaded_sae(self, usual: str | None) -> Any:
        from steerlab.sae.pretrained import load_sae

        name = self._sae_name or usual
        if name is None:
            self.notes.append(
                "No features to search: the course knows of no autoencoder of this model. "
                "Name one with --sae."
            )
            return None
        try:
            return load_sae(name, self.model)
        except Exception as error:
            self.notes.append(f"No features to search: {error}")
            return None

    def _loaded_labels(self, usual: str | None) -> Any:
        from pathlib import Path

        from steerlab.sae.pretrained import load_labels

        name = self._sae_name or usual or ""
        places: list[Any] = [Path(name) / "features" / "labels.json", Path(name) / "labels.json"]
        places = [path for path in places if path.is_file()]
        if name == "tiny" or name.startswith("tiny/"):
            places = [name]
        try:
            return load_labels(places[0]) if places else None
        except Exception as error:
            self.notes.append(f"The features have no labels: {error}")
            return None
