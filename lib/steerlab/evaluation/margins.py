r"""How much a model leans towards mathematics at the next token.

Which tokens are mathematics is settled for each tokenizer by the text of its tokens, not by ids or
by the first piece of some words: delimiters, LaTeX commands, and signs that stand for nothing else.
What code uses as well (digits, `=`, `+`, braces, `\n` spelled out) counts among the rest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge

_SIGNS = "×÷±∓√∑∏∫∬∮∂∇∞≤≥≠≈≡∝∈∉∋⊂⊆⊃⊇∪∩∅∀∃∄⇔⟺∴∵ℝℕℤℚℂ⊕⊗⊥∥∠"
# One or more of these and nothing else, white space around it aside. A backslash and one letter
# would be an escape of a string as often as LaTeX; a lone backslash opens a command wherever a
# tokenizer cuts `\frac` in two.
_MATH = re.compile(rf"(?:\$|\\[()\[\]{{}}]|\\[A-Za-z]{{2,}}|\\|[\^_]\{{|\}}[\^_]?\{{|[{_SIGNS}])+")


@dataclass(frozen=True, eq=False)
class MathTokens:
    """Which tokens of a vocabulary are mathematics and which are the rest; no token is both.

    math, rest: [d_vocab]. Rows of the vocabulary without a token (many models round its size up)
    are in neither. texts: of the math tokens, by id.
    """

    math: Bool[Tensor, " d_vocab"]
    rest: Bool[Tensor, " d_vocab"]
    texts: dict[int, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.math.shape != self.rest.shape or self.math.ndim != 1:
            raise ValueError(
                f"math is {list(self.math.shape)} and rest {list(self.rest.shape)}; expected two "
                "masks [d_vocab]"
            )
        both = (self.math & self.rest).nonzero().flatten().tolist()
        if both:
            raise ValueError(f"tokens {both[:5]} are in both sets; a margin needs disjoint ones")
        if not self.math.any() or not self.rest.any():
            raise ValueError("one of the two sets of tokens is empty; a margin needs both")


def math_tokens(model: TransformerBridge, also: Iterable[str] = ()) -> MathTokens:
    """The math tokens of this model's tokenizer, and all other tokens it has.

    also: further texts, e.g. ("=", "+"), each of them one token alone or after a space.
    Raises ValueError where one of them is no single token, or where the tokenizer has none at all.
    """
    tokenizer = model.tokenizer
    size, known = int(model.cfg.d_vocab), min(len(tokenizer), int(model.cfg.d_vocab))
    texts = tokenizer.batch_decode([[i] for i in range(known)], clean_up_tokenization_spaces=False)
    special = set(tokenizer.all_special_ids)
    found = {
        i: text
        for i, text in enumerate(texts)
        if i not in special and _MATH.fullmatch(text.strip())
    }
    wanted = [also] if isinstance(also, str) else list(also)
    for one in wanted:
        ids = [i for i, text in enumerate(texts) if text.strip() == one and i not in special]
        if not ids:
            raise ValueError(
                f"also: {one!r} is no single token of this model's tokenizer; its pieces would be "
                "tokens of other texts too"
            )
        found |= {i: texts[i] for i in ids}
    if not found:
        raise ValueError(
            "no token of this model's tokenizer stands for mathematics; name some with also=(…)"
        )
    math, rest = torch.zeros(size, dtype=torch.bool), torch.zeros(size, dtype=torch.bool)
    math[sorted(found)] = True
    rest[:known] = ~math[:known]
    return MathTokens(math, rest, dict(sorted(found.items())))


def math_margin(
    logits: Float[Tensor, "*batch d_vocab"], tokens: MathTokens
) -> tuple[Float[Tensor, "*batch"], Float[Tensor, "*batch"]]:
    """(margin, log-odds) of mathematics at one position.

    margin: largest logit of a math token minus the largest of the rest, in logits; it looks at two
    tokens alone. log-odds: log P(math) − log P(rest), by logsumexp, in nats; it looks at all.
    Raises ValueError for another vocabulary or logits that are NaN.
    """
    if logits.shape[-1] != len(tokens.math):
        raise ValueError(
            f"logits have {logits.shape[-1]} entries, the token sets {len(tokens.math)}: they "
            "belong to different models"
        )
    if torch.isnan(logits).any():
        raise ValueError("logits hold NaN: the intervention is far too strong, or NaN")
    logits = logits.float()
    math, rest = (
        logits[..., tokens.math.to(logits.device)],
        logits[..., tokens.rest.to(logits.device)],
    )
    margin = math.amax(dim=-1) - rest.amax(dim=-1)
    return margin, math.logsumexp(dim=-1) - rest.logsumexp(dim=-1)


def kl_divergence(
    steered: Float[Tensor, "*batch d_vocab"], unsteered: Float[Tensor, "*batch d_vocab"]
) -> Float[Tensor, "*batch"]:
    """KL(steered ‖ unsteered) of the next-token distributions of two sets of logits, in nats."""
    log_p, log_q = steered.float().log_softmax(dim=-1), unsteered.float().log_softmax(dim=-1)
    # A logit of −inf has no probability and adds nothing.
    terms = torch.where(log_p > float("-inf"), log_p.exp() * (log_p - log_q), 0.0)
    return terms.sum(dim=-1).clamp_min(0.0)
