"""A notebook cell that writes again what the explorer has shown.

What a cell steers with lies in the reader's notebook: a model, an autoencoder, a function. They are
called by the names of the variables that hold them there. A vector that no variable holds is
written out, all its numbers, so that the cell is exact all the same.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

MOST_NUMBERS = 8192
"""The largest vector that is written out into a cell, some 44,000 characters."""


@dataclass(frozen=True)
class Made:
    """A thing that a cell can make for itself: by an expression, with (module, name) imported."""

    thing: Any
    expression: str
    imports: tuple[tuple[str, str], ...] = ()


class Cell:
    """The cell being written: what it imports and needs, and its lines so far.

    namespace: the variables of the notebook, by name. made: what the cell makes in their place, in an
    order in which each can be made from those before it.
    """

    def __init__(self, namespace: Mapping[str, Any], made: Mapping[str, Made] | None = None):
        self._made = dict(made or {})
        self.namespace = {**namespace, **{name: one.thing for name, one in self._made.items()}}
        self._imports: dict[str, set[str]] = {}
        self._needs: dict[str, str | None] = {}
        self._lines: list[str] = []

    def use(self, module: str, name: str) -> None:
        """Import a name."""
        self._imports.setdefault(module, set()).add(name)

    def line(self, text: str) -> None:
        """Add a line of code."""
        self._lines.append(text)

    @staticmethod
    def quoted(text: str) -> str:
        """A text as Python writes it, in double quotes."""
        return json.dumps(text, ensure_ascii=False)

    def name_of(self, thing: Any, default: str, what: str) -> str:
        """The variable that holds this very object. Without one, a name for the reader to give."""
        own = getattr(thing, "__name__", "")
        variables = dict(self._variables())
        if own in variables and variables[own] is thing:
            return self._need(own)
        for name, value in variables.items():
            if value is thing:
                return self._need(name)
        default = own if own.isidentifier() else default
        self._needs[default] = what
        return default

    def tensor(self, tensor: Tensor, default: str) -> str:
        """An expression that gives this tensor in float32: a variable that holds it, or its numbers.

        Raises ValueError for one that no variable holds and that is too large to write out.
        """
        tensor = tensor.detach().float().cpu()
        for name, value in self._variables():
            for expression, held in _tensors(name, value):
                if held.shape == tensor.shape and torch.equal(held.detach().float().cpu(), tensor):
                    self._need(name)
                    return expression
        if tensor.numel() > MOST_NUMBERS:
            raise ValueError(
                f"the vector has {tensor.numel():,} numbers, too many for a cell, and no variable of "
                f"this notebook holds it: assign it to one, e.g. {default} = ..."
            )
        self._write_out(tensor, default)
        return default

    def finished(self, title: str) -> str:
        """The whole cell: what it is, what it needs, imports, code."""
        making = [name for name in self._made if name in self._needs]
        for module, name in (pair for each in making for pair in self._made[each].imports):
            self.use(module, name)
        given = [n for n, what in self._needs.items() if what is None and n not in making]
        head = [f"# {line}" for line in title.splitlines()]
        if given:
            head.append(f"# Needs {', '.join(given)}, as this notebook has them.")
        head += [
            f"# Needs {name}: {what} that you gave to the explorer; no variable holds it now."
            for name, what in self._needs.items()
            if what is not None
        ]
        plain = sorted(module for module, names in self._imports.items() if not names)
        imports = [f"import {module}" for module in plain] + [
            f"from {module} import {', '.join(sorted(names))}"
            for module, names in sorted(self._imports.items())
            if names
        ]
        made = [f"{name} = {self._made[name].expression}" for name in making]
        return "\n".join([*head, *imports, *([""] if imports else []), *made, *self._lines]) + "\n"

    def _need(self, name: str) -> str:
        self._needs.setdefault(name, None)
        return name

    def _variables(self) -> Iterator[tuple[str, Any]]:
        """Variables that a reader made: IPython keeps old outputs under names with underscores."""
        for name, value in list(self.namespace.items()):
            if name.isidentifier() and not name.startswith("_"):
                yield name, value

    def _write_out(self, tensor: Tensor, name: str) -> None:
        self._imports.setdefault("base64", set())
        self._imports.setdefault("torch", set())
        numbers = base64.b64encode(tensor.contiguous().numpy().tobytes()).decode()
        self.line("numbers = (")
        for start in range(0, len(numbers), 88):
            self.line(f'    "{numbers[start : start + 88]}"')
        self.line(")")
        self.line("values = bytearray(base64.b64decode(numbers))")
        shape = f".reshape({list(tensor.shape)})" if tensor.ndim > 1 else ""
        self.line(f"{name} = torch.frombuffer(values, dtype=torch.float32){shape}")


def _tensors(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    """Tensors that a variable holds, with the expression for each: itself, its rows, its values."""
    if isinstance(value, Tensor) and value.is_floating_point() and not value.is_meta:
        yield name, value
        if value.ndim == 2 and len(value) <= 256:
            yield from ((f"{name}[{i}]", row) for i, row in enumerate(value))
    elif type(value) is dict:
        for key, held in value.items():
            if isinstance(held, Tensor) and isinstance(key, str | int):
                yield f"{name}[{key!r}]", held


def notebook_variables() -> Mapping[str, Any]:
    """The variables of the notebook that runs this; none outside of one."""
    try:
        from IPython import get_ipython
    except ImportError:
        return {}
    shell = get_ipython()
    return {} if shell is None else shell.user_ns
