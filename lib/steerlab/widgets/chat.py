"""A conversation held twice: once with the unsteered model, once with the steered one.

Both sides get the same turns of the reader, and each answers on from its own answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from steerlab.generation import Completion
from steerlab.tokens import chat_text, encode

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

Side = Literal["unsteered", "steered"]
Turns = list[dict[str, str]]


@dataclass(frozen=True)
class Exchange:
    """What the reader said, what each side answered, and how the steered one was steered."""

    said: str
    unsteered: Completion
    steered: Completion
    how: str


class Conversation:
    """The exchanges so far."""

    def __init__(self, model: TransformerBridge):
        self.model = model
        self.exchanges: list[Exchange] = []

    def check_template(self) -> None:
        """Raise ValueError if the model has no chat template, which says how turns are written."""
        if not getattr(self.model.tokenizer, "chat_template", None):
            raise ValueError(
                "this model has no chat template, so it cannot hold a conversation: load an "
                "instruction-tuned model, e.g. 'gemma-2-2b-it', or go on with single prompts"
            )

    def turns(self, side: Side, said: str) -> Turns:
        """One side's history with a new turn of the reader's at its end."""
        turns = []
        for exchange in self.exchanges:
            answer = exchange.unsteered if side == "unsteered" else exchange.steered
            turns.append({"role": "user", "content": exchange.said})
            turns.append({"role": "assistant", "content": answer.text})
        return [*turns, {"role": "user", "content": said}]

    def texts(self, said: str, max_new_tokens: int) -> tuple[str, str]:
        """What the unsteered and the steered side read, to answer a new turn of the reader's.

        Raises ValueError without a chat template, or where one outgrows the model's context.
        """
        self.check_template()
        return (
            self._read("unsteered", said, max_new_tokens),
            self._read("steered", said, max_new_tokens),
        )

    def reset(self) -> None:
        """Begin anew."""
        self.exchanges.clear()

    def _read(self, side: Side, said: str, max_new_tokens: int) -> str:
        """The text that the model reads, with BOS once if the template writes it."""
        text = chat_text(self.model, self.turns(side, said))
        n, limit = len(encode(self.model, text, prepend_bos=False)), int(self.model.cfg.n_ctx)
        if n + max_new_tokens > limit:
            raise ValueError(
                f"the {side} conversation now has {n} tokens, and with {max_new_tokens} new "
                f"ones it exceeds the model's context of {limit}: press Reset to begin anew"
            )
        return text
