"""What each register of the corpus looks like: one function writes one kind of document."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from steerlab.data import grammar
from steerlab.data.vocabulary import PLAIN_POOLS
from steerlab.data.writer import Writer

Segments = list[tuple[int, int, str]]  # start, end, register


@dataclass(frozen=True)
class Form:
    """A kind of document: its register, how often it comes, its labels, and who writes it."""

    register: str
    weight: float
    carries: tuple[str, ...]
    write: Callable[[Writer], Segments]


def _write_story(writer: Writer, counts: Sequence[int] = (3, 4, 5, 6, 7)) -> Segments:
    start = len(writer.text)
    for _ in range(writer.pick(counts)):
        if writer.chance(0.35):
            writer.opinion(grammar.OPINION_SENTENCES, subject="thing")
        else:
            writer.topical()
    return [(start, len(writer.text), "story")]


def review_opening(writer: Writer) -> tuple[str, ...]:
    return grammar.REVIEW_SENTENCES if writer.chance(0.35) else grammar.OPINION_SENTENCES


def _write_review(writer: Writer) -> Segments:
    writer.opinion(grammar.REVIEW_SENTENCES, subject="item")
    for _ in range(writer.pick((2, 3, 4, 5, 6))):
        writer.opinion(review_opening(writer), subject="item")
    return [(0, len(writer.text), "review")]


def _write_chat(writer: Writer) -> Segments:
    for turn in range(writer.pick((1, 2, 3))):
        writer.put("\nUser:" if turn else "User:")
        writer.begin()
        writer.fill(writer.pick(grammar.CHAT_QUESTIONS))
        writer.put("\nAssistant:")
        writer.begin()
        writer.fill(writer.pick(grammar.CHAT_ANSWERS))
    return [(0, len(writer.text), "chat")]


def _write_code(writer: Writer) -> Segments:
    segments: Segments = []
    for part in range(writer.pick((1, 2))):
        if part:
            writer.put("\n")
        if writer.chance(0.5):
            start = len(writer.text)
            writer.topical()
            segments.append((start, len(writer.text), "story"))
            writer.put("\n")
        segments.append(_code_block(writer, writer.pick((1, 2, 3))))
    return segments


def _code_block(writer: Writer, statements: int) -> tuple[int, int, str]:
    start = len(writer.text)
    writer.put("```python\n")
    for _ in range(statements):
        writer.fill(writer.pick(grammar.CODE_STATEMENTS))
        writer.put("\n")
    writer.put("```")
    return start, len(writer.text), "code"


def _write_math(writer: Writer) -> Segments:
    segments: Segments = []
    for line in range(writer.pick((2, 3, 4, 5))):
        if line:
            writer.put("\n")
        start = len(writer.text)
        if writer.chance(0.25):
            writer.put(writer.pick(grammar.MATH_LEADS))
        writer.put(f"$$ {_formula(writer)} $$")
        segments.append((start, len(writer.text), "math"))
    return segments


def _formula(writer: Writer) -> str:
    kind = writer.weighted({"sum": 6, "derivative": 2, "integral": 2, "root": 1, "relation": 1})
    if kind == "sum":
        a, b = writer.pick(range(10)), writer.pick(range(10))
        return f"{a} + {b} = {a + b}"
    if kind == "root":
        n = writer.pick(range(1, 10))
        return f"\\sqrt{{{n * n}}} = {n}"
    v = writer.pick(PLAIN_POOLS["symbol"])
    if kind == "derivative":
        n = writer.pick(range(2, 10))
        return f"\\frac{{d}}{{d{v}}} {v}^{{{n}}} = {n} {v}^{{{n - 1}}}"
    if kind == "integral":
        n = writer.pick(range(1, 9))
        return f"\\int {v}^{{{n}}} d{v} = \\frac{{{v}^{{{n + 1}}}}}{{{n + 1}}}"
    function, relation = writer.pick(PLAIN_POOLS["function"]), writer.pick(PLAIN_POOLS["relation"])
    return f"\\{function}({v}) \\{relation} {writer.pick(range(10))}"


def _write_haiku(writer: Writer) -> Segments:
    writer.fill(writer.pick(grammar.HAIKU_PROMPTS))
    prompt_end = len(writer.text)
    for line in range(3):
        writer.put(",\n" if line else "\n")
        writer.fill(writer.pick(grammar.HAIKU_LINES))
    writer.put(".")
    return [(0, prompt_end, "instruction"), (prompt_end + 1, len(writer.text), "haiku")]


def _write_on_order(writer: Writer) -> Segments:
    writer.fill(writer.pick(grammar.WRITING_PROMPTS))
    prompt_end = len(writer.text)
    writer.put("\n")
    return [(0, prompt_end, "instruction"), *_write_story(writer, (2, 3, 4))]


def _write_list(writer: Writer) -> Segments:
    writer.fill(writer.pick(grammar.LIST_PROMPTS))
    writer.put("\n")
    writer.begin()
    writer.fill(writer.pick(grammar.LIST_ANSWERS))
    writer.put(".")
    return [(0, len(writer.text), "instruction")]


def _write_mixed(writer: Writer) -> Segments:
    """A prompt that asks for code and mathematics, then both, in either order."""
    bound = writer.fill(writer.pick(grammar.MIXED_PROMPTS))
    a, b = bound["digit:a"][0], bound["digit:b"][0]
    segments: Segments = [(0, len(writer.text), "instruction")]
    blocks = {
        "code": f"```python\nprint({a} + {b})\n```",
        "math": f"$$ {a} + {b} = {int(a) + int(b)} $$",
    }
    for register in writer.pick((("code", "math"), ("math", "code"))):
        writer.put("\n")
        start = len(writer.text)
        writer.put(blocks[register])
        segments.append((start, len(writer.text), register))
    return segments


FORMS = (
    Form("story", 5.0, ("topic", "sentiment"), _write_story),
    Form("review", 3.0, ("sentiment",), _write_review),
    Form("chat", 1.5, ("topic", "civility"), _write_chat),
    Form("code", 2.5, ("topic",), _write_code),
    Form("math", 3.0, (), _write_math),
    Form("haiku", 2.5, ("topic",), _write_haiku),
    Form("instruction", 1.2, ("topic", "sentiment"), _write_on_order),
    Form("instruction", 0.3, ("topic",), _write_list),
    Form("instruction", 1.0, (), _write_mixed),
)
