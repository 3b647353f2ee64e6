"""Checkpoints of the course's real models: every layer, real heads and special tokens, narrow, random.

What a hub model could break by being deep, by sharing heads, by tying its embedding, or by what
its tokenizer calls BOS and end of turn, breaks here, without its weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from steerlab.hub import KNOWN
from tokenizers import Tokenizer, decoders, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    Olmo2Config,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen3Config,
)

LINES = [
    "The movie that I watched yesterday was good and warm and bright.",
    "The food was terrible, the room was cold and the soup was bad.",
]

GEMMA_TEMPLATE = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for message in messages %}"
    "{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
QWEN_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
OLMO_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'assistant' %}"
    "{{ '<|assistant|>\n' + message['content'] + eos_token + '\n' }}{% else %}"
    "{{ '<|' + message['role'] + '|>\n' + message['content'] + '\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)

#: Special tokens by their part, the chat template, and the tokens that end a text, as on the hub.
SPECIAL: dict[str, tuple[dict[str, str], str | None, tuple[str, ...]]] = {
    "gpt2": (
        {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"},
        None,
        ("<|endoftext|>",),
    ),
    "gemma-2-2b-it": (
        {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>"},
        GEMMA_TEMPLATE,
        ("<eos>", "<end_of_turn>"),
    ),
    # Qwen3 has no BOS at all.
    "qwen3-4b": (
        {"pad_token": "<|endoftext|>", "eos_token": "<|im_end|>"},
        QWEN_TEMPLATE,
        ("<|im_end|>", "<|endoftext|>"),
    ),
    "olmo-2-7b": (
        {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "pad_token": "<|pad|>"},
        OLMO_TEMPLATE,
        ("<|endoftext|>",),
    ),
}
TURNS = {"gemma-2-2b-it": ["<start_of_turn>", "<end_of_turn>"], "qwen3-4b": ["<|im_start|>"]}

# Widths of the narrow models, with the real numbers of layers and heads: (d_model, d_head, d_mlp).
# As in the real ones, n_heads · d_head is d_model for GPT-2 and OLMo-2, and is not for the others.
NARROW = {
    "gpt2": (48, 4, 96),
    "gemma-2-2b-it": (24, 4, 48),
    "qwen3-4b": (64, 4, 64),
    "olmo-2-7b": (64, 2, 64),
}


def real_config(name: str, narrow: bool = False, **special: Any) -> PretrainedConfig:
    """The configuration of a known model, in its real width or a narrow one.

    Everything that the course's planner knows comes from its own table, so that a wrong number there
    gives a model of another size.
    """
    shape = KNOWN[name].shape
    d_model, d_head, d_mlp = NARROW[name] if narrow else (shape.d_model, shape.d_head, shape.d_mlp)
    options: dict[str, Any] = {
        "vocab_size": shape.d_vocab,
        "tie_word_embeddings": shape.tied,
    } | special
    if name == "gpt2":
        return GPT2Config(
            n_embd=d_model,
            n_layer=shape.n_layers,
            n_head=shape.n_heads,
            n_inner=d_mlp,
            n_positions=128 if narrow else 1024,
            **options,
        )
    options |= {
        "hidden_size": d_model,
        "intermediate_size": d_mlp,
        "num_hidden_layers": shape.n_layers,
        "num_attention_heads": shape.n_heads,
        "num_key_value_heads": shape.n_kv_heads,
        "max_position_embeddings": 256 if narrow else 4096,
    }
    if name.startswith("gemma"):
        return Gemma2Config(
            head_dim=d_head, query_pre_attn_scalar=d_head, sliding_window=32, **options
        )
    if name == "qwen3-4b":
        return Qwen3Config(head_dim=d_head, **options)
    return Olmo2Config(**options)


def tokenizer_like(name: str) -> PreTrainedTokenizerFast:
    """A small byte-level BPE with the special tokens and the chat template of a known model."""
    parts, template, _ = SPECIAL[name]
    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=384,
        special_tokens=[*dict.fromkeys([*parts.values(), *TURNS.get(name, ())])],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(LINES * 3, trainer)
    made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **parts)
    made.chat_template = template
    return made


def save_narrow(name: str, folder: Path) -> Path:
    """A random narrow checkpoint of a known model in a folder, as its hub repository would be."""
    tokenizer = tokenizer_like(name)
    ends = tokenizer.convert_tokens_to_ids(list(SPECIAL[name][2]))
    config = real_config(
        name,
        narrow=True,
        vocab_size=len(tokenizer),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=ends if len(ends) > 1 else ends[0],
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.1)
    model.generation_config.eos_token_id = ends
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
