"""`course_settings(model)`: every value in a notebook that belongs to one model.

Layers, doses, prompts and chat or raw mode live here, so that a notebook holds no number that is
right for one model only, and runs unchanged on a model that nobody has seen before.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from steerlab.hub import KNOWN
from steerlab.models import known_name_of, resolve_name
from steerlab.tiny import CHECKPOINT as TINY_FOLDER
from steerlab.tokens import Mode

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

DOSES = (-0.8, -0.6, -0.4, -0.2, 0.0, 0.2, 0.4, 0.6, 0.8)

# Openings that call for a judgement: what the model says next shows its sentiment.
OPENINGS = (
    "The movie that I watched yesterday was",
    "The food at the new restaurant was",
    "Yesterday I read a book and it was",
    "My opinion of the show is that it was",
)

# The same in the words of the embedded model's corpus, the only language that it knows.
TINY_OPENINGS = (
    "The movie that I saw yesterday was",
    "The book that I got on Sunday was",
    "I tried the puzzle yesterday and it was",
    "My opinion of the show is that it was",
)

# What a model writes after this is about nothing in particular, so a topic that comes in shows.
HAIKU = "Here is a haiku:\n"
TINY_HAIKU = "Write a haiku.\n"
ASKED_HAIKU = "Write a haiku."

QUESTIONS = (
    "In two sentences, tell me about a movie that you watched yesterday.",
    "In two sentences, describe a meal at a new restaurant.",
    "In two sentences, tell me about the last book that you read.",
    "In two sentences, describe your journey to work this morning.",
)


@dataclass(frozen=True)
class CourseSettings:
    """What a notebook needs to know of a model.

    name: course name, or the folder's name. mode: "raw" text, or "chat" turns. layer: the middle
    layer that is steered; layers: all of them. prompts: what steered text starts from. dose: a
    usable strength; doses: the grid of a sweep, with 0 in it, both without unit (see
    `steerlab.steering.dose_of`). max_new_tokens: length of a completion. sentences: which labelled
    sentences are contrasted ("concepts": `steerlab.data.sentences`); n_sentences: how many a side.
    haiku: a prompt that names no topic. sae: the autoencoder of its residual stream, as `load_sae` names
    it; None where the course knows of none.

    topics: which corpus has labelled topics that the model can read (see `steerlab.data.topic_texts`);
    n_topic_texts: how many of its texts; skip_tokens: how many of their first tokens come before the
    topic shows; max_text_tokens: where they are cut.
    n_topic_writings: how many texts steered towards topics make one point of a figure.
    base: the model that this one was tuned from, if that one is known too.
    feature_page: address of a public page about a {feature} of `sae`, where there are such pages.
    """

    name: str
    mode: Mode
    n_layers: int
    layer: int
    prompts: tuple[str, ...]
    dose: float = 0.4
    doses: tuple[float, ...] = DOSES
    max_new_tokens: int = 24
    batch_size: int = 32
    sentences: str = "concepts"
    n_sentences: int = 64
    haiku: str = HAIKU
    sae: str | None = None
    topics: str = "concepts"
    n_topic_texts: int = 1000
    n_topic_writings: int = 96
    skip_tokens: int = 4
    max_text_tokens: int = 127
    base: str | None = None
    feature_page: str | None = None

    @property
    def prompt(self) -> str:
        """The prompt that single demonstrations use."""
        return self.prompts[0]

    @property
    def prompt_set(self) -> str:
        """Which prompts measure interference in it (see `steerlab.data.prompts`)."""
        return "concepts" if self.topics == "concepts" else "english"

    @property
    def layers(self) -> tuple[int, ...]:
        """Every layer of the model, from 0."""
        return tuple(range(self.n_layers))

    @property
    def hook_name(self) -> str:
        """The hook point that is steered: the residual stream where `layer` reads it."""
        return self.hook_names[self.layer]

    @property
    def hook_names(self) -> tuple[str, ...]:
        """The residual stream where each layer reads it."""
        return tuple(f"blocks.{layer}.hook_resid_pre" for layer in self.layers)


# What differs from the derived defaults: (mode, prompts, layer or None for the middle one).
_TAUGHT: dict[str, tuple[Mode, tuple[str, ...], int | None]] = {
    "tiny": ("raw", TINY_OPENINGS, None),
    "gpt2": ("raw", OPENINGS, None),
    "gemma-2-2b": ("raw", OPENINGS, None),
    "gemma-2-2b-it": ("chat", QUESTIONS, None),
    "qwen3-4b": ("chat", QUESTIONS, None),
    "olmo-2-7b": ("chat", QUESTIONS, None),
}

# A residual-stream autoencoder for each model that has a public one, and the embedded model's own.
_SAES = {
    "tiny": "tiny",
    "gpt2": "gpt2-small-res-jb/blocks.6.hook_resid_pre",
    "gemma-2-2b": "gemma-scope-2b-pt-res/layer_21/width_65k/average_l0_20",
    "gemma-2-2b-it": "gemma-scope-2b-pt-res/layer_21/width_65k/average_l0_20",
    "olmo-2-7b": "olmo2-7b-sae-65k-v1",
}
# Neuronpedia's pages about the features of these.
_FEATURE_PAGES = {
    "gpt2": "https://www.neuronpedia.org/gpt2-small/6-res-jb/{feature}",
    "gemma-2-2b": "https://www.neuronpedia.org/gemma-2-2b/21-gemmascope-res-65k/{feature}",
    "gemma-2-2b-it": "https://www.neuronpedia.org/gemma-2-2b/21-gemmascope-res-65k/{feature}",
}
# Instruction-tuned models and what they were tuned from, where both can be loaded.
_BASES = {"gemma-2-2b-it": "gemma-2-2b"}


def course_settings(model: TransformerBridge | str | os.PathLike[str]) -> CourseSettings:
    """Settings for a loaded model, a known name or a checkpoint folder.

    A model that the course does not know gets raw mode, its middle layer, and completions that fit
    its context. Raises ValueError for an unknown name and FileNotFoundError for an empty folder.
    """
    if isinstance(model, str | os.PathLike):
        resolved = resolve_name(model)
        source = KNOWN.get(resolved)
        if source is not None and source.hub_id is not None:
            return _settings(resolved, source.shape.n_layers)
        folder = TINY_FOLDER if resolved == "tiny" else Path(resolved)
        return _settings(resolved, *_shape_on_disk(folder))
    name = known_name_of(model) or Path(str(model.cfg.model_name)).name
    return _settings(name, int(model.cfg.n_layers), int(model.cfg.n_ctx))


def _settings(name: str, n_layers: int, context: int | None = None) -> CourseSettings:
    mode, prompts, layer = _TAUGHT.get(name, ("raw", OPENINGS, None))
    settings = CourseSettings(
        name=name if name in KNOWN else Path(name).name,
        mode=mode,
        n_layers=n_layers,
        layer=n_layers // 2 if layer is None else layer,
        prompts=prompts,
        haiku=TINY_HAIKU if name == "tiny" else ASKED_HAIKU if mode == "chat" else HAIKU,
        sae=_SAES.get(name),
        feature_page=_FEATURE_PAGES.get(name),
    )
    if name in _TAUGHT and name != "tiny":
        # Models of real language. Posts of newsgroups begin with quotations and greetings.
        settings = replace(
            settings,
            topics="newsgroups",
            skip_tokens=64,
            max_text_tokens=128,
            base=_BASES.get(name),
        )
    if context is not None and context < 128:
        # Room for the prompt: an opening takes at most half of a very short context.
        settings = replace(settings, max_new_tokens=max(1, min(24, context // 4)))
    return settings


def _shape_on_disk(folder: Path) -> tuple[int, int]:
    """(layers, context) from a checkpoint's config.json. Raises FileNotFoundError, ValueError."""
    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"{folder} has no config.json: it is not a Hugging Face checkpoint")
    config = json.loads(path.read_text(encoding="utf-8"))
    layers = config.get("num_hidden_layers", config.get("n_layer"))
    context = config.get("max_position_embeddings", config.get("n_positions"))
    if layers is None or context is None:
        raise ValueError(f"{path} names neither its layers nor its context length")
    return int(layers), int(context)
