"""The model or tokenizer that shards and autoencoders name, loaded under that name."""

from __future__ import annotations

from typing import Any

from steerlab.hub import KNOWN
from steerlab.pipeline.errors import PipelineError, one_line
from steerlab.tiny import CHECKPOINT

TINY = "steerlab/tiny"  # what the embedded model is called in files


def loadable(name: str | None) -> str:
    """What `load_model` knows a model by that a file names. Raises PipelineError without a name."""
    if not name:
        raise PipelineError("neither file nor command says which model: name it with --model")
    return "tiny" if name == TINY else name


def tokenizer_of(name: str | None) -> Any:
    """A model's tokenizer, without its weights. Raises PipelineError where it cannot be had."""
    from transformers import AutoTokenizer

    word = loadable(name)
    source = KNOWN.get(word)
    place = str(CHECKPOINT) if word == "tiny" else (source.hub_id if source else None) or word
    try:
        return AutoTokenizer.from_pretrained(place)
    except Exception as error:
        raise PipelineError(
            f"the tokenizer of {word!r} cannot be loaded ({one_line(error)}): name the model or "
            "its folder with --model"
        ) from error
