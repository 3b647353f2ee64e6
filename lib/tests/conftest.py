"""Small random models of four architectures, on disk and loaded, made once for all tests."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from steerlab.models import load_model
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformer_lens.model_bridge import TransformerBridge
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    Olmo2Config,
    Olmo2ForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3ForCausalLM,
)

torch.set_num_threads(1)

ARCHITECTURES = ("gpt2", "gemma2", "qwen3", "olmo2")

LINES = [
    "The movie that I watched yesterday was good and warm and bright.",
    "The food was terrible, the room was cold and the soup was bad.",
    "She walked through the harbour and counted the boats in the garden.",
]


def small_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE whose one special token is BOS, end of text and padding, as in GPT-2."""
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=384,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(LINES * 3, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<|endoftext|>",
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
    )


# Writes BOS itself, as Gemma's does, and speaks of turns in words that it can tokenise.
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for turn in messages %}<{{ turn.role }}> {{ turn.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)


def random_hf_model(architecture: str, vocab_size: int, context: int = 64) -> PreTrainedModel:
    """Two layers, d_model 32, weights large enough that every token matters."""
    shared: dict[str, Any] = {
        "vocab_size": vocab_size,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "pad_token_id": 0,
    }
    llama_like = shared | {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "max_position_embeddings": context,
    }
    torch.manual_seed(0)
    model: PreTrainedModel
    if architecture == "gpt2":
        model = GPT2LMHeadModel(
            GPT2Config(n_embd=32, n_layer=2, n_head=2, n_positions=context, **shared)
        )
    elif architecture == "gemma2":
        model = Gemma2ForCausalLM(
            Gemma2Config(head_dim=16, query_pre_attn_scalar=16, sliding_window=16, **llama_like)
        )
    elif architecture == "qwen3":
        model = Qwen3ForCausalLM(Qwen3Config(head_dim=16, **llama_like))
    else:
        model = Olmo2ForCausalLM(Olmo2Config(**llama_like))
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return model


@pytest.fixture(autouse=True)
def no_text_waits_for_a_browser(monkeypatch):
    """A click writes the whole text, however slow the machine is."""
    if steps := sys.modules.get("steerlab.widgets.steps"):
        monkeypatch.setattr(steps, "AT_ONCE_S", float("inf"))


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """checkpoint(architecture) -> folder of a small random Hugging Face checkpoint."""
    made: dict[str, Path] = {}
    tokenizer = small_tokenizer()

    def make(architecture: str) -> Path:
        if architecture not in made:
            folder = tmp_path_factory.mktemp(architecture)
            random_hf_model(architecture, len(tokenizer)).save_pretrained(folder)
            tokenizer.save_pretrained(folder)
            made[architecture] = folder
        return made[architecture]

    return make


@pytest.fixture(scope="session")
def load_small(checkpoint: Callable[[str], Path]) -> Callable[[str], TransformerBridge]:
    """load_small(architecture) -> the loaded model, one for the whole session: do not change it."""
    loaded: dict[str, TransformerBridge] = {}

    def load(architecture: str) -> TransformerBridge:
        if architecture not in loaded:
            loaded[architecture] = load_model(checkpoint(architecture), device="cpu")
        return loaded[architecture]

    return load


@pytest.fixture(params=ARCHITECTURES)
def any_model(
    request: pytest.FixtureRequest, load_small: Callable[[str], TransformerBridge]
) -> TransformerBridge:
    """Each of the four architectures in turn."""
    return load_small(request.param)


@pytest.fixture(scope="session")
def model(load_small: Callable[[str], TransformerBridge]) -> TransformerBridge:
    """A small random GPT-2."""
    return load_small("gpt2")


@pytest.fixture(scope="session")
def chat_model(tmp_path_factory: pytest.TempPathFactory) -> TransformerBridge:
    """A small random GPT-2 with a chat template and room for a conversation."""
    tokenizer = small_tokenizer()
    tokenizer.chat_template = CHAT_TEMPLATE
    folder = tmp_path_factory.mktemp("chat")
    random_hf_model("gpt2", len(tokenizer), context=200).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return load_model(folder, device="cpu")


@pytest.fixture(scope="session")
def prompts() -> list[str]:
    """Three prompts of unequal length."""
    return [
        "The movie",
        "The movie that I watched yesterday was",
        "She walked through the garden",
    ]
