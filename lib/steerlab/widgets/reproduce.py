"""What the explorer has shown, kept with everything that it takes to write it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from steerlab.generation import Completion
from steerlab.widgets.chat import Turns
from steerlab.widgets.code import Cell, Made
from steerlab.widgets.methods import Choice

if TYPE_CHECKING:
    from transformer_lens.model_bridge import TransformerBridge


@dataclass(frozen=True)
class Shown:
    """A steered text and where it came from.

    turns: the conversation that was answered, None for a single prompt. written: what the method
    gave; unsteered: what stood beside it. generation: the arguments of `generate`, by name.
    """

    model: TransformerBridge
    use: Choice
    prompt: str
    turns: Turns | None
    written: str | Completion
    unsteered: Completion
    positions: str
    generation: Mapping[str, Any]


def reproducing_cell(
    shown: Shown, namespace: Mapping[str, Any], made: Mapping[str, Made] | None = None
) -> str:
    """Code that writes the same text again, as `text`, where the notebook has what it names.

    namespace: the notebook's variables, in which the model, an autoencoder or a function are
    looked up. made: things that the cell makes itself, by name. Raises ValueError for a vector that
    is in none of them and too large to write out.
    """
    cell = Cell(namespace, made)
    method, c = shown.use.method, shown.use.coefficient
    if method.write is not None:
        cell.line(f"prompt = {cell.quoted(shown.prompt)}")
        call = method.expression(cell, c)
        text = ".text" if isinstance(shown.written, Completion) else ".removeprefix(prompt)"
        cell.line(f"text = {call}{text}")
    else:
        _steered(cell, shown)
    cell.line("print(text)")
    return cell.finished(f"{method.name}, {shown.use.strength}: {method.shown(c)}")


def _steered(cell: Cell, shown: Shown) -> None:
    model = cell.name_of(shown.model, "model", "the model")
    arguments = dict(shown.generation)
    if shown.turns is None:
        cell.line(f"prompt = {cell.quoted(shown.prompt)}")
    else:
        cell.use("steerlab.tokens", "chat_text")
        cell.line("turns = [")
        for turn in shown.turns:
            role, content = cell.quoted(turn["role"]), cell.quoted(turn["content"])
            cell.line(f'    {{"role": {role}, "content": {content}}},')
        cell.line("]")
        cell.line(f"prompt = chat_text({model}, turns)")
    cell.use("steerlab.generation", "generate")
    cell.use("steerlab.steering", "steer")
    interventions = shown.use.method.expression(cell, shown.use.coefficient)
    cell.line(f"interventions = {interventions}")
    cell.line(f"with steer({model}, interventions, positions={cell.quoted(shown.positions)}):")
    cell.line("    [completion] = generate(")
    cell.line(f"        {model},")
    cell.line("        prompt,")
    for name, value in arguments.items():
        written = cell.quoted(value) if isinstance(value, str) else repr(value)
        cell.line(f"        {name}={written},")
    cell.line("    )")
    cell.line("text = completion.text")
