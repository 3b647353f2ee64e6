"""Mutation operators for tensor code: a node of a solution in, what may stand in its place out.

They have the form of mutmut's own, which they complete: `change(node)` for the libcst nodes of some
kinds gives changed nodes. What a change breaks at once is no loss; what it leaves alike is dropped
by `mutants.py`.
"""

from __future__ import annotations

import ast
import itertools
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import libcst as cst

Change = Callable[[Any], Iterable[cst.CSTNode]]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


REDUCTIONS = _words(
    "mean sum norm argmax argmin max min amax amin any all std var prod cumsum softmax "
    "log_softmax logsumexp sort argsort topk stack cat squeeze unsqueeze flatten gather"
)
KEEPING = _words("mean sum norm argmax argmin amax amin any all std var")
_PAIRS = (
    "mean sum, argmax argmin, any all, max min, amax amin, std var, zeros ones, cat stack, "
    "zeros_like ones_like, cumsum cumprod, floor ceil, triu tril, relu sigmoid, sqrt square, "
    "append extend, startswith endswith"
)
OTHER_NAMES = {
    name: other
    for pair in _PAIRS.split(", ")
    for name, other in (pair.split(), reversed(pair.split()))
}
#: Methods that may be left out of a chain without changing what kind of thing comes out.
DROPPABLE = _words(
    "to float double half long bool detach clone clamp clamp_min clamp_max abs relu sqrt exp "
    "log t lower upper strip lstrip rstrip sort contiguous item tolist squeeze unsqueeze "
    "flatten softmax log_softmax cumsum flip transpose permute requires_grad_ normalize mean "
    "sum norm square"
)
DTYPES = {"float32": "float16", "float64": "float32", "bfloat16": "float32", "float16": "float32"}
CASTS = {"float": "half", "double": "half", "long": "float", "half": "float", "bool": "float"}
IN_PLACE = {
    cst.Add: "add_",
    cst.Subtract: "sub_",
    cst.Multiply: "mul_",
    cst.Divide: "div_",
    cst.BitAnd: "bitwise_and_",
    cst.BitOr: "bitwise_or_",
}
COMPARISONS: dict[type[cst.BaseCompOp], tuple[type[cst.BaseCompOp], ...]] = {
    cst.LessThan: (cst.GreaterThan, cst.GreaterThanEqual),
    cst.LessThanEqual: (cst.GreaterThan, cst.GreaterThanEqual),
    cst.GreaterThan: (cst.LessThan, cst.LessThanEqual),
    cst.GreaterThanEqual: (cst.LessThan, cst.LessThanEqual),
    cst.Equal: (cst.LessThanEqual, cst.GreaterThanEqual),
}
#: Calls for which the order of what they go through makes no difference.
UNORDERED = _words("sum any all max min set frozenset len sorted Counter")

OPERATORS: list[tuple[tuple[type, ...], Change]] = []


def _on(*kinds: type) -> Callable[[Change], Change]:
    def register(change: Change) -> Change:
        OPERATORS.append((kinds, change))
        return change

    return register


def _code(node: cst.CSTNode) -> str:
    return cst.Module([]).code_for_node(node)


def _expression(text: str) -> cst.BaseExpression:
    """An expression that can stand anywhere: in parentheses, unless it needs none."""
    try:
        bare = cst.parse_expression(text)
    except cst.ParserSyntaxError:  # it spans lines
        return cst.parse_expression(f"({text})")
    atoms = (cst.Name, cst.BaseNumber, cst.BaseString, cst.Call, cst.Subscript, cst.Attribute)
    closed = isinstance(bare, atoms) or bare.lpar
    return bare if closed else cst.parse_expression(f"({text})")


def _integer(node: cst.BaseExpression) -> int | None:
    """The whole number that an expression spells, if it does."""
    try:
        value = ast.literal_eval(_code(node))
    except (ValueError, SyntaxError):
        return None
    return value if type(value) is int else None


def _called(node: cst.Call) -> str:
    """The last name of what is called."""
    function = node.func
    if isinstance(function, cst.Attribute):
        return function.attr.value
    return function.value if isinstance(function, cst.Name) else ""


def _with_argument(node: cst.Call, index: int, text: str) -> cst.Call:
    arguments = list(node.args)
    arguments[index] = arguments[index].with_changes(value=_expression(text))
    return node.with_changes(args=arguments)


@_on(cst.BinaryOperation, cst.BooleanOperation)
def dropped_term(node: cst.BinaryOperation) -> Iterator[cst.CSTNode]:
    """`a + b` becomes `a`, or `b`."""
    yield _expression(_code(node.left))
    yield _expression(_code(node.right))


@_on(cst.BinaryOperation)
def swapped_operands(node: cst.BinaryOperation) -> Iterator[cst.CSTNode]:
    """`a - b` becomes `b - a`."""
    if not isinstance(node.operator, cst.Add | cst.Multiply | cst.BitAnd | cst.BitOr | cst.BitXor):
        yield node.with_changes(left=node.right, right=node.left)


@_on(cst.BinaryOperation)
def other_operator(node: cst.BinaryOperation) -> Iterator[cst.CSTNode]:
    """`a * b` becomes `a + b`; `a & b` becomes `a ^ b`."""
    if isinstance(node.operator, cst.Multiply | cst.Divide):
        yield node.with_changes(operator=cst.Add())
    if isinstance(node.operator, cst.BitAnd | cst.BitOr):
        yield node.with_changes(operator=cst.BitXor())


@_on(cst.BinaryOperation)
def in_place(node: cst.BinaryOperation) -> Iterator[cst.CSTNode]:
    """`a + b` becomes `a.add_(b)`, where `a` is something that others can see."""
    method = IN_PLACE.get(type(node.operator))
    if method and isinstance(node.left, cst.Name | cst.Subscript | cst.Attribute):
        yield _expression(f"{_code(node.left)}.{method}({_code(node.right)})")


@_on(cst.BinaryOperation)
def detached_operand(node: cst.BinaryOperation) -> Iterator[cst.CSTNode]:
    """`a - b` becomes `a.detach() - b`, or `a - b.detach()`; meant for cells that learn."""
    for side in ("left", "right"):
        text = f"({_code(getattr(node, side))}).detach()"
        yield node.with_changes(**{side: cst.parse_expression(text)})


#: The one that makes a difference only where gradients are taken.
DETACH = OPERATORS[-1]


@_on(cst.Return)
def sign(node: cst.Return) -> Iterator[cst.CSTNode]:
    """`return x` becomes `return -x`."""
    if node.value is not None and not isinstance(node.value, cst.Tuple | cst.List):
        yield node.with_changes(value=_expression(f"-({_code(node.value)})"))


@_on(cst.Return)
def returned_dtype(node: cst.Return) -> Iterator[cst.CSTNode]:
    """`return x` becomes `return x.half()`."""
    if node.value is not None and not isinstance(node.value, cst.Tuple | cst.List):
        yield node.with_changes(value=cst.parse_expression(f"({_code(node.value)}).half()"))


@_on(cst.ComparisonTarget)
def comparison(node: cst.ComparisonTarget) -> Iterator[cst.CSTNode]:
    """`a < b` becomes `a > b`, `a >= b`; what lies next to it is mutmut's."""
    for other in COMPARISONS.get(type(node.operator), ()):
        yield node.with_changes(operator=other())


@_on(cst.If, cst.While, cst.IfExp, cst.CompIf)
def negated_condition(node: cst.If) -> Iterator[cst.CSTNode]:
    """`if c` becomes `if not c`."""
    yield node.with_changes(test=_expression(f"not ({_code(node.test)})"))


@_on(cst.Call)
def dimension(node: cst.Call) -> Iterator[cst.CSTNode]:
    """Another `dim`, by name or by its place."""
    for position, argument in enumerate(node.args):
        name = argument.keyword.value if argument.keyword else ""
        named = name in ("dim", "axis") or (not name and _called(node) in REDUCTIONS)
        value = _integer(argument.value)
        if named and value is not None:
            others = (other for other in (0, 1, 2, -1, -2) if other != value)
            yield from (_with_argument(node, position, str(other)) for other in others)


@_on(cst.Call)
def kept_dimension(node: cst.Call) -> Iterator[cst.CSTNode]:
    """`x.mean(dim=0)` becomes `x.mean(dim=0, keepdim=True)`."""
    names = {argument.keyword.value for argument in node.args if argument.keyword}
    if _called(node) in KEEPING and node.args and "keepdim" not in names:
        kept = cst.Arg(keyword=cst.Name("keepdim"), value=cst.Name("True"))
        yield node.with_changes(args=[*node.args, kept])


@_on(cst.Call)
def other_function(node: cst.Call) -> Iterator[cst.CSTNode]:
    """`mean` becomes `sum`, `cat` becomes `stack`, and so on."""
    other = OTHER_NAMES.get(_called(node))
    if other and isinstance(node.func, cst.Attribute):
        yield node.with_changes(func=node.func.with_changes(attr=cst.Name(other)))
    elif other in ("any", "all", "max", "min"):
        yield node.with_changes(func=cst.Name(other))


@_on(cst.Call)
def dropped_call(node: cst.Call) -> Iterator[cst.CSTNode]:
    """`x.clone()` becomes `x`."""
    if isinstance(node.func, cst.Attribute) and node.func.attr.value in DROPPABLE:
        inner = node.func.value
        module = isinstance(inner, cst.Name) and inner.value in ("torch", "math", "F", "np")
        if not module:
            yield _expression(_code(inner))
        elif node.args:
            yield _expression(_code(node.args[0].value))


@_on(cst.Attribute)
def dtype(node: cst.Attribute) -> Iterator[cst.CSTNode]:
    """`torch.float32` becomes `torch.float16`, `.float()` becomes `.half()`."""
    table = DTYPES if isinstance(node.value, cst.Name) and node.value.value == "torch" else CASTS
    if other := table.get(node.attr.value):
        yield node.with_changes(attr=cst.Name(other))


@_on(cst.Call)
def swapped_arguments(node: cst.Call) -> Iterator[cst.CSTNode]:
    """`f(a, b)` becomes `f(b, a)`."""
    plain = [i for i, arg in enumerate(node.args) if arg.keyword is None and not arg.star]
    for left, right in itertools.pairwise(plain):
        arguments = list(node.args)
        arguments[left] = node.args[left].with_changes(value=node.args[right].value)
        arguments[right] = node.args[right].with_changes(value=node.args[left].value)
        yield node.with_changes(args=arguments)


@_on(cst.Call)
def range_end(node: cst.Call) -> Iterator[cst.CSTNode]:
    """`range(n)` becomes `range(n - 1)`, `range(n + 1)`, `range(1, n)`."""
    if _called(node) not in ("range", "arange") or not node.args or node.args[0].star:
        return
    last = min(len(node.args), 2) - 1
    for index in range(last + 1):
        if node.args[index].keyword is None:
            for step in ("- 1", "+ 1"):
                yield _with_argument(node, index, f"{_code(node.args[index].value)} {step}")
    if last == 0:
        yield node.with_changes(args=[cst.Arg(cst.Integer("1")), *node.args])


@_on(cst.Index)
def index_step(node: cst.Index) -> Iterator[cst.CSTNode]:
    """`x[i]` becomes `x[i - 1]`, `x[i + 1]`."""
    value = _integer(node.value)
    if value is not None:
        yield from (node.with_changes(value=_expression(str(value + step))) for step in (-1, 1))
    elif isinstance(node.value, cst.BinaryOperation | cst.Name) and _code(node.value) != "None":
        for step in ("- 1", "+ 1"):
            yield node.with_changes(value=_expression(f"{_code(node.value)} {step}"))


@_on(cst.Slice)
def slice_bound(node: cst.Slice) -> Iterator[cst.CSTNode]:
    """`x[a:b]` becomes `x[a + 1:b]`, `x[:b]`, and so on; `x[:]` loses its first or last."""
    for side, default in (("lower", "1"), ("upper", "-1")):
        bound = getattr(node, side)
        if bound is None:
            yield node.with_changes(**{side: cst.parse_expression(default)})
            continue
        yield node.with_changes(**{side: None})
        for step in ("- 1", "+ 1"):
            yield node.with_changes(**{side: _expression(f"{_code(bound)} {step}")})


@_on(cst.Integer, cst.Float)
def constant(node: cst.Integer) -> Iterator[cst.CSTNode]:
    """A number becomes one less, and ten times as much; one more is mutmut's."""
    value = node.evaluated_value
    yield _expression(repr(value - 1))
    if value:
        yield _expression(repr(value * 10))


@_on(cst.For, cst.CompFor)
def shortened_loop(node: cst.For) -> Iterator[cst.CSTNode]:
    """A loop leaves out its first turn, or its last."""
    text = _code(node.iter)
    yield node.with_changes(iter=_expression(f"list({text})[1:]"))
    if _code(node.target) != "_":  # otherwise all turns are alike
        yield node.with_changes(iter=_expression(f"list({text})[:-1]"))


@_on(cst.For, cst.Call, cst.ListComp)
def reversed_loop(node: Any) -> Iterator[cst.CSTNode]:
    """A loop runs backwards, where the order can make a difference."""
    if isinstance(node, cst.For) and _code(node.target) != "_":
        yield node.with_changes(iter=_expression(f"list({_code(node.iter)})[::-1]"))
    elif isinstance(node, cst.ListComp):
        yield _expression(f"{_code(node)}[::-1]")
    elif isinstance(node, cst.Call) and _called(node) not in UNORDERED:
        for position, argument in enumerate(node.args):
            if isinstance(argument.value, cst.GeneratorExp):
                yield _with_argument(node, position, f"list({_code(argument.value)})[::-1]")


@_on(cst.With)
def dropped_context(node: cst.With) -> Iterator[cst.CSTNode]:
    """`with a, b:` loses one of them, and `with a:` becomes its body."""
    if len(node.items) == 1:
        yield cst.If(cst.Name("True"), node.body, leading_lines=node.leading_lines)
        return
    for item in node.items:
        kept = [other for other in node.items if other is not item]
        kept[-1] = kept[-1].with_changes(comma=cst.MaybeSentinel.DEFAULT)
        yield node.with_changes(items=kept)


@_on(cst.Raise)
def other_exception(node: cst.Raise) -> Iterator[cst.CSTNode]:
    """`raise ValueError(m)` becomes `raise RuntimeError(m)`."""
    if isinstance(node.exc, cst.Call):
        yield node.with_changes(exc=node.exc.with_changes(func=cst.Name("RuntimeError")))


@_on(cst.SimpleStatementLine)
def dropped_statement(node: cst.SimpleStatementLine) -> Iterator[cst.CSTNode]:
    """A statement becomes `pass`; returns are left to the other operators."""
    if not isinstance(node.body[0], cst.Return | cst.Pass):
        yield node.with_changes(body=[cst.Pass()])


@_on(cst.AugAssign)
def out_of_place(node: cst.AugAssign) -> Iterator[cst.CSTNode]:
    """`x += y` becomes `x = y + x`, a new object where the old one was changed."""
    sign_of = _code(node.operator).strip().removesuffix("=")
    value = _expression(f"{_code(node.target)} {sign_of} ({_code(node.value)})")
    yield cst.Assign([cst.AssignTarget(node.target)], value)


@_on(cst.Assign)
def into_place(node: cst.Assign) -> Iterator[cst.CSTNode]:
    """`x = x + y` becomes `x += y`."""
    value, target = node.value, node.targets[0].target
    operators = {cst.Add: cst.AddAssign, cst.Subtract: cst.SubtractAssign}
    operators |= {cst.Multiply: cst.MultiplyAssign, cst.Divide: cst.DivideAssign}
    if isinstance(value, cst.BinaryOperation) and _code(value.left) == _code(target):
        other = operators.get(type(value.operator))
        if other is not None:
            yield cst.AugAssign(target, other(), value.right)
