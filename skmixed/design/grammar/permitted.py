"""What expressions of formulas may hold: columns, numbers, text, operators and known functions.

Everything that is evaluated passes here first, as the tree that Python's parser makes of it, and
whatever is not listed is refused: a formula cannot reach what it was not given.
"""

from __future__ import annotations

import ast
import keyword
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from skmixed.design.grammar.functions import (
    CONSTANTS,
    CONTRASTS,
    FUNCTIONS,
    INSTEAD,
    ROOTS,
    SPELLINGS,
    Function,
)

MAX_OPERATORS = 200  # in one expression: Python's own functions on trees recurse, to 1,000 deep
MAX_COLUMNS = 1_000  # that one call may ask for
_LARGEST = 1e300  # of numbers without columns: 10^10^10 is a number that fills the memory
_SIGNS = (ast.UAdd, ast.USub)
_ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow)
_LOGICAL = (ast.BitAnd, ast.BitOr)
_COMPARISONS = (ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE)
_SIZES = frozenset(
    {"df", "degree", "levels", "breaks"}
)  # settings that say how many columns there are
_WORDS: Mapping[type, str] = {
    ast.Lambda: "a lambda",
    ast.IfExp: "if and else; ifelse(test, a, b) chooses by row",
    ast.ListComp: "a comprehension",
    ast.SetComp: "a comprehension",
    ast.DictComp: "a comprehension",
    ast.GeneratorExp: "a comprehension",
    ast.Subscript: "an index in brackets",
    ast.JoinedStr: "an f-string",
    ast.NamedExpr: "an assignment",
    ast.Starred: "a star before an argument",
    ast.BoolOp: "and, or, not; & and | are those of R",
    ast.Await: "await",
    ast.Yield: "yield",
    ast.YieldFrom: "yield",
}
_MAY_HOLD = "expressions hold columns, numbers, text, operators and known functions, and no "


class NotPermittedError(ValueError):
    """An expression that is not evaluated; the message says why."""


class UnknownNameError(NotPermittedError):
    """A name that is neither a column nor a known function."""

    def __init__(self, name: str, *, called: bool) -> None:
        super().__init__(name)
        self.name, self.called = name, called

    @property
    def remedy(self) -> str:
        """What to write instead of a call."""
        if self.name in INSTEAD:
            return INSTEAD[self.name]
        names = [_in_r(name) for name in FUNCTIONS if "." not in name]
        known = ", ".join(names)
        near = get_close_matches(self.name, [*names, "factor", "offset"], 1)
        nearest = f"did you mean {near[0]}()? " if near else ""
        own = self.name if self.name.isidentifier() else "f"
        return (
            f"{nearest}the functions are {known}, factor and those of numpy that are listed in the "
            f"guide; one of your own is given as context={{{own!r}: ...}}"
        )


@dataclass(slots=True)
class Permission:
    """What one formula may name, and what was found in the expressions that were checked."""

    columns: Collection[str]
    context: Collection[str]
    used: set[str] = field(default_factory=set)
    learns: bool = False  # whether a function that learns from whole columns was called

    def check(self, node: ast.expr) -> None:
        """Raise NotPermittedError unless an expression may be evaluated."""
        self._check_expression(node, learning=False)

    def _check_expression(self, node: ast.expr, *, learning: bool) -> None:
        """Check what stands for a column; `learning` inside of a function that learns."""
        match node:
            case ast.Name():
                self._check_name(node.id)
            case ast.Constant():
                _check_constant(node.value)
            case ast.UnaryOp(op=ast.UAdd() | ast.USub()):
                self._check_expression(node.operand, learning=learning)
            case ast.BinOp(op=op) if isinstance(op, (*_ARITHMETIC, *_LOGICAL)):
                _check_size(node)
                self._check_expression(node.left, learning=learning)
                self._check_expression(node.right, learning=learning)
            case ast.Compare():
                self._check_comparison(node, learning=learning)
            case ast.Call():
                self._check_call(node, learning=learning)
            case _:
                raise _refused(node)

    def _check_name(self, name: str) -> None:
        if name in self.columns or name in CONSTANTS:
            return
        if name not in self.context:
            raise UnknownNameError(name, called=False)
        self.used.add(name)

    def _check_comparison(self, node: ast.Compare, *, learning: bool) -> None:
        sides = [node.left, *node.comparators]
        if len(sides) > 2:
            raise NotPermittedError("one comparison at a time: write (a < x) & (x < b)")
        if not isinstance(node.ops[0], _COMPARISONS):
            raise NotPermittedError(_MAY_HOLD + "'in' and 'is'")
        for side in sides:
            if isinstance(side, ast.BinOp) and isinstance(side.op, _LOGICAL):
                raise NotPermittedError(
                    "comparisons come before & and | in R, after them in Python: put each into "
                    "parentheses, as in (x > 1) & (z > 1)"
                )
            if _is_text(side):
                _check_text(side.value, learning=learning)  # type: ignore[attr-defined]
            else:
                self._check_expression(side, learning=learning)

    def _check_call(self, node: ast.Call, *, learning: bool) -> None:
        name = _dotted(node.func)
        if name is None:
            raise _refused(node.func, "a call of something that is not a function's name")
        if any(isinstance(each, ast.Starred) for each in node.args) or not all(
            each.arg for each in node.keywords
        ):
            raise NotPermittedError(_MAY_HOLD + _WORDS[ast.Starred])
        if name in self.context:
            self.used.add(name)
            for each in (*node.args, *(given.value for given in node.keywords)):
                self._check_argument(each, learning=True)  # which it may
            return
        function = FUNCTIONS.get(name)
        if function is None:
            raise UnknownNameError(name, called=True)
        self._check_arguments(name, function, node, learning=learning)

    def _check_argument(self, node: ast.expr, *, learning: bool) -> None:
        """Check an argument of a function of the user's: a column or a setting."""
        if isinstance(node, ast.Constant) or _items(node) is not None:
            self._check_setting(node, learning=learning)
        else:
            self._check_expression(node, learning=learning)

    def _check_arguments(
        self, name: str, function: Function, node: ast.Call, *, learning: bool
    ) -> None:
        n_least = function.n_columns
        n_most = n_least + function.n_settings + function.n_more
        if not n_least <= len(node.args) <= n_most:
            many = n_least if n_least == n_most else f"{n_least} to {n_most}"
            raise NotPermittedError(
                f"{name}() takes {many} argument{'s' * (n_most > 1)} without a name, not "
                f"{len(node.args)}"
            )
        learning = learning or function.learns
        self.learns = self.learns or learning
        n_columns = n_least + function.n_more
        for each in node.args[:n_columns]:
            if function.takes_text and _is_text(each):
                _check_text(each.value, learning=learning)  # type: ignore[attr-defined]
            else:
                self._check_expression(each, learning=learning)
        for each in node.args[n_columns:]:
            self._check_setting(each, learning=learning, sizes=name != "C", contrasts=name == "C")
        for given in node.keywords:
            if given.arg not in function.keywords:
                known = ", ".join(sorted(function.keywords)) or "none"
                raise NotPermittedError(
                    f"{name}() has no argument {given.arg!r}; those by name are: {known}"
                )
            self._check_setting(
                given.value,
                learning=learning,
                sizes=name != "C" and given.arg in _SIZES,
                contrasts=given.arg == "contrasts",
            )

    def _check_setting(
        self, node: ast.expr, *, learning: bool, sizes: bool = False, contrasts: bool = False
    ) -> None:
        """Check an argument that is no column: numbers, text, lists of them, contrasts."""
        if contrasts and self._is_contrast(node, learning=learning):
            return
        items = _items(node, contrasts=contrasts)
        if items is not None:
            for each in items:
                self._check_setting(each, learning=learning)
        elif isinstance(node, ast.Constant):
            _check_literal(node.value, learning=learning, sizes=sizes)
        elif isinstance(node, ast.UnaryOp) and _value(node) is not None:
            _check_constant(_value(node))
        elif isinstance(node, ast.UnaryOp) and _is_infinite(node.operand):
            return
        elif isinstance(node, ast.Name) and node.id not in self.columns:
            self._check_name(node.id)
        else:
            raise _refused(node, "columns or calculation where a number or a text is expected")

    def _is_contrast(self, node: ast.expr, *, learning: bool) -> bool:
        """Tell whether this is contrasts, as ``contr.sum`` or ``contr.treatment("b")``."""
        call = node if isinstance(node, ast.Call) else None
        name = _dotted(node if call is None else call.func)
        if name is None or name not in CONTRASTS:
            return False
        for each in () if call is None else call.args:
            self._check_setting(each, learning=learning)
        for given in () if call is None else call.keywords:
            if given.arg not in CONTRASTS[name]:
                raise NotPermittedError(f"{name}() has no argument {given.arg!r}")
            self._check_setting(given.value, learning=learning)
        return True


def _dotted(node: ast.expr) -> str | None:
    """Return a name, or one after ``np.`` or ``contr.``; None for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        root = node.value.id
        return f"{root}.{node.attr}" if root in ROOTS else None
    return None


def _refused(node: ast.expr, otherwise: str = "such code") -> NotPermittedError:
    if isinstance(node, ast.Attribute):
        remedy = INSTEAD.get(node.attr)
        reason = f"{_MAY_HOLD}attributes, such as '.{node.attr}'"
        return NotPermittedError(reason + (f"; {remedy}" if remedy else ""))
    return NotPermittedError(_MAY_HOLD + _WORDS.get(type(node), otherwise))


def _in_r(name: str) -> str:
    """Return the name of a function as R has it."""
    spelled = [text for text, python in SPELLINGS.items() if python == name]
    return name if name == "C" or not spelled else spelled[0]


def _is_infinite(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "Inf"


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _items(node: ast.expr, *, contrasts: bool = False) -> list[ast.expr] | None:
    """Return what a list holds, also one of R, or a dictionary of contrasts; None for others."""
    match node:
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return items
        case ast.Call(func=ast.Name(id="c"), args=items, keywords=[]):
            return items
        case ast.Dict(keys=keys, values=values) if contrasts:
            return [*(key for key in keys if key is not None), *values]
    return None


def _check_constant(value: Any) -> None:
    if isinstance(value, str):
        raise NotPermittedError("text stands beside == or !=, or as an argument, not by itself")
    if not isinstance(value, bool | int | float):
        raise NotPermittedError(f"{value!r} is no number that a formula may hold")
    if abs(value) > _LARGEST:
        raise NotPermittedError("a number is too large")


def _check_literal(value: Any, *, learning: bool, sizes: bool) -> None:
    """Check a number or a text that is a setting; None is left to the function."""
    if isinstance(value, str):
        _check_text(value, learning=learning)
    elif value is not None:
        _check_constant(value)
        if sizes and not isinstance(value, bool) and value > MAX_COLUMNS:
            raise NotPermittedError(f"{value} columns are asked for; the most are {MAX_COLUMNS:,}")


def _check_text(text: str, *, learning: bool) -> None:
    """Refuse text that cannot be seen, and quotes where formulaic makes code of a call's text."""
    if not text.isprintable() or "\\" in text:
        raise NotPermittedError("text may not hold backslashes and characters that do not print")
    if learning and any(mark in text for mark in "'\"`{}[]"):
        raise NotPermittedError(
            "text in a function that learns from the column may not hold quotes and brackets"
        )


def _check_size(node: ast.BinOp) -> None:
    """Refuse calculations without columns whose result is too large; a power is the way there."""
    if isinstance(node.op, ast.Pow):
        base, exponent = _value(node.left), _value(node.right)
        if base is None or exponent is None:
            return
        value = _value(node)
        if value is None or abs(value) > _LARGEST:
            raise NotPermittedError("a power of numbers is too large, or is no number")


def _value(node: ast.expr) -> float | None:
    """Return the value of an expression without columns, in double precision; None for others."""
    try:
        match node:
            case ast.Constant(value=int() | float() as value):
                return float(value)
            case ast.UnaryOp(op=op, operand=operand) if isinstance(op, _SIGNS):
                inner = _value(operand)
                return inner if inner is None or isinstance(op, ast.UAdd) else -inner
            case ast.BinOp(left=left, op=op, right=right):
                sides = _value(left), _value(right)
                if sides[0] is None or sides[1] is None:
                    return None
                return _calculate(op, *sides)  # type: ignore[arg-type]
    except (ArithmeticError, ValueError):
        return math.inf
    return None


def _calculate(op: ast.operator, left: float, right: float) -> float | None:
    match op:
        case ast.Add():
            return left + right
        case ast.Sub():
            return left - right
        case ast.Mult():
            return left * right
        case ast.Div():
            return left / right
        case ast.FloorDiv():
            return left // right
        case ast.Mod():
            return left % right
        case ast.Pow():
            return math.pow(left, right)
    return None


def check_context(context: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what formulas may call besides the known functions, by name; empty for None.

    Raises ValueError for names that are no plain names or belong to functions of formulas.
    """
    if context is None:
        return {}
    for name in context:
        if not isinstance(name, str) or not name.isidentifier() or keyword.iskeyword(name):
            raise ValueError(f"context has the name {name!r}; names of Python are needed")
        if name.startswith("_") or not name.isascii():
            raise ValueError(f"context has the name {name!r}; it may not begin with '_', in ASCII")
        taken = {*FUNCTIONS, *CONTRASTS, *CONSTANTS, *ROOTS, "c", "factor", "offset", "s"}
        if name in taken:
            raise ValueError(f"context has the name {name!r}, which formulas have already")
    return dict(context)
