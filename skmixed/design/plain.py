"""Terms of plain columns, multiplied by numpy.

Plain are numbers, arithmetic and elementwise functions of numbers, and categories and truth values
with treatment contrasts. `skmixed.design.materializing` has formulaic evaluate all other terms;
which terms there are, and what their columns are called, does not depend on who evaluates them.
"""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce
from itertools import chain, product
from math import prod
from typing import Any

import numpy as np
import pandas as pd

from skmixed.core.linalg import FloatArray
from skmixed.design.grammar.expressions import FormulaTerms
from skmixed.design.grammar.functions import CONSTANTS, ELEMENTWISE
from skmixed.design.grammar.terms import ONE, Operand, Product
from skmixed.design.polynomial_contrasts import (
    polynomial_contrasts,
    polynomial_names,
    without_order,
)
from skmixed.design.values import is_categorical, truth_levels
from skmixed.design.wording import first_values

_ARITHMETIC: Mapping[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}

# Operands of a product, and whether each leaves the constant out of its span.
Scoped = tuple[tuple[str, bool], ...]


@dataclass(frozen=True, slots=True)
class TermColumns:
    """The columns of one term, in the spelling of `FormulaTerms.products`."""

    term: str
    names: tuple[str, ...]
    products: tuple[tuple[float, Scoped], ...]  # with their scales; their columns side by side


def read_plain(
    terms: FormulaTerms,
    prepared: Mapping[str, Any],  # what `prepare` returns
) -> dict[str, Any] | None:
    """Return the values of all operands, arrays of numbers or Categoricals; None unless all are."""
    numbers = {name: _numbers(values) for name, values in prepared.items()}
    found: dict[str, Any] = {}
    for each in _operands(terms):
        values = _operand(each, prepared, numbers)
        if values is None:
            return None
        found[each.text] = values if isinstance(values, np.ndarray) else pd.Categorical(values)
    return found


def replay_plain(
    terms: FormulaTerms,
    prepared: Mapping[str, Any],
    levels: Mapping[str, Sequence[Any]],  # of categorical operands
    ordered: Collection[str] = (),  # those with polynomial contrasts
) -> dict[str, Any]:
    """Return the values of operands that were plain, as `read_plain` does, with known levels.

    Raises ValueError for other levels, and for other types.
    """
    numbers = {name: _numbers(values) for name, values in prepared.items()}
    found: dict[str, Any] = {}
    for each in _operands(terms):
        values = _operand(each, prepared, numbers)
        if values is None:
            name = terms.restore(each.text)
            raise ValueError(f"cannot evaluate '{terms.given}': '{name}' has no numbers")
        if each.text in levels:
            refuse_unseen(terms, each.text, pd.Series(values), levels[each.text])
            is_ordered = each.text in ordered
            values = pd.Categorical(np.asarray(values), levels[each.text], ordered=is_ordered)
        found[each.text] = values
    return found


def _operands(terms: FormulaTerms) -> dict[Operand, None]:
    return dict.fromkeys(chain.from_iterable(term for term in terms.products if term != ONE))


def _numbers(values: Any) -> Any:
    """Return the numbers or truth values of a column, (n,), None if it has others."""
    if isinstance(values, np.ndarray):
        return values
    is_plain = isinstance(values.dtype, np.dtype) and values.dtype.kind in "ifb"
    return values.to_numpy() if is_plain else None


def _float(numbers: Any) -> Any:
    return numbers.astype(np.float64, copy=False) if isinstance(numbers, np.ndarray) else numbers


def _operand(each: Operand, prepared: Mapping[str, Any], numbers: Mapping[str, Any]) -> Any:
    """Return the values of an operand: an array of numbers, or categories; None for others."""
    if each.kind == "literal":
        return None
    if each.kind == "name":
        values = prepared[each.text]
        return values if is_categorical(values) else _float(truth_levels(numbers[each.text]))
    code = _parsed(each.text)
    if isinstance(code, ast.Call) and isinstance(code.func, ast.Name) and code.func.id == "C":
        is_name = len(code.args) == 1 and not code.keywords and isinstance(code.args[0], ast.Name)
        return without_order(prepared.get(ast.unparse(code.args[0]))) if is_name else None
    try:
        values = _calculated(code, numbers)
    except (LookupError, ArithmeticError):
        return None
    return _float(truth_levels(values)) if isinstance(values, np.ndarray) else None


@lru_cache(maxsize=256)  # as many as texts of formulas are kept
def _parsed(code: str) -> ast.expr:
    return ast.parse(code, mode="eval").body


def _calculated(node: ast.expr, numbers: Mapping[str, FloatArray]) -> Any:
    """Calculate arithmetic as Python does; LookupError for other code."""
    if isinstance(node, ast.Name):
        if node.id not in numbers:
            return CONSTANTS[node.id]
        if numbers[node.id] is None:
            raise LookupError
        return numbers[node.id]
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return node.value
    if isinstance(node, ast.UnaryOp):
        return _ARITHMETIC[type(node.op)](_number(node.operand, numbers))
    if isinstance(node, ast.BinOp):
        sides = _number(node.left, numbers), _number(node.right, numbers)
        return _ARITHMETIC[type(node.op)](*sides)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
        calculated = _calculated if node.func.id == "I" else _number
        arguments = [calculated(argument, numbers) for argument in node.args]
        if len(arguments) == 1:
            return ELEMENTWISE[node.func.id](arguments[0])
    raise LookupError


def _number(node: ast.expr, numbers: Mapping[str, FloatArray]) -> Any:
    """Calculate what is calculated with further: truth values are 0 and 1 then."""
    values = _calculated(node, numbers)
    return _float(values) if isinstance(values, np.ndarray) else values


def refuse_unseen(
    terms: FormulaTerms, text: str, values: pd.Series[Any], levels: Sequence[Any]
) -> None:
    """Raise ValueError for categories of an operand that were not seen in learning."""
    known = set(levels)
    unseen = [value for value in values.unique().tolist() if value not in known]
    if unseen:
        name = terms.restore(text)
        what = f"the column '{name}'" if name in terms.columns else f"'{name}'"
        raise ValueError(
            f"{what} has values not seen in fitting: {first_values(unseen)}; seen: "
            + first_values(levels)
        )


def structure_of(
    terms: FormulaTerms,
    levels: Mapping[str, Sequence[Any]],
    ordered: Collection[str] = (),  # operands with polynomial contrasts
) -> tuple[TermColumns, ...]:
    """Return the columns of plain terms; operands with levels are categorical.

    A product leaves out what the terms before it span: the columns of all are of full rank.
    """
    spanned: set[frozenset[tuple[str, bool]]] = set()
    found = []
    for term in terms.products:
        texts = [operand.text for operand in term if term != ONE]
        choices = [[(text, True), None] if text in levels else [(text, False)] for text in texts]
        span = [tuple(each for each in chosen if each) for chosen in product(*choices)]
        products = _joined([scoped for scoped in span if frozenset(scoped) not in spanned])
        spanned.update(map(frozenset, span))
        names = [name for scoped in products for name in _names(scoped, levels, ordered)]
        columns = tuple((1.0, scoped) for scoped in products)
        found.append(TermColumns(":".join(texts) or "1", tuple(names), columns))
    return tuple(found)


def kept_columns(
    structure: Sequence[tuple[TermColumns, bool]],  # and whether the term is kept
    products: Sequence[Product],  # of the terms
    levels: Mapping[str, Any],  # of categorical operands
) -> tuple[list[int], bool] | None:
    """Return the columns that span the kept terms, and whether the constant is needed beside.

    What a term spans is products of its operands, of categories with and without them; a column
    stands for one or several. None where no choice of columns spans the kept terms and no more.
    """
    wanted: set[frozenset[str]] = set()
    for (_, is_kept), term in zip(structure, products, strict=True):
        if is_kept:
            texts = [operand.text for operand in term if term != ONE]
            wanted |= _spanned([(text, False) for text in texts], levels)
    covered: set[frozenset[str]] = set()
    columns: list[int] = []
    start = 0
    for each, _ in structure:
        sizes = _sizes(each, levels)
        if sizes is None:
            return None
        for (_, scoped), size in zip(each.products, sizes, strict=True):
            span = _spanned(scoped, levels)
            if span <= wanted:
                columns += range(start, start + size)
                covered |= span
            start += size
    missing = wanted - covered
    return (columns, bool(missing)) if missing <= {frozenset()} else None


def _spanned(scoped: Sequence[tuple[str, bool]], levels: Mapping[str, Any]) -> set[frozenset[str]]:
    """Return the products that columns span; those of all levels span what is without them, too."""
    choices = [[text] if cut or text not in levels else [text, ""] for text, cut in scoped]
    return {frozenset(text for text in chosen if text) for chosen in product(*choices)}


def _sizes(term: TermColumns, levels: Mapping[str, Any]) -> list[int] | None:
    """Return how many columns every product of a term has, None where that is not known."""
    if len(term.products) == 1:
        return [len(term.names)]
    sizes = [_n_coded(scoped, levels) for _, scoped in term.products]
    return sizes if sum(sizes) == len(term.names) else None


def _n_coded(scoped: Scoped, levels: Mapping[str, Any]) -> int:
    """Count the columns of a product whose numbers have one each."""
    return prod(len(levels[text]) - cut for text, cut in scoped if levels.get(text))


def _joined(products: Sequence[Scoped]) -> list[Scoped]:
    """Join products that differ by an operand without the constant: a:b- and a are a:b."""
    found: list[Scoped] = []
    for scoped in sorted(products, key=len):
        for other in found:
            more = set(scoped) - set(other)
            if len(scoped) == len(other) + 1 and len(more) == 1 and next(iter(more))[1]:
                whole = tuple((text, cut and (text, cut) not in more) for text, cut in scoped)
                found = _joined([*(each for each in found if each is not other), whole])
                break
        else:
            found.append(scoped)
    return found


def _names(
    scoped: Scoped, levels: Mapping[str, Sequence[Any]], ordered: Collection[str]
) -> list[str]:
    """Return the names of the columns of a product, of which the first operand varies fastest."""
    if not scoped:
        return ["Intercept"]
    parts = []
    for text, cut in scoped:
        if text not in levels:
            parts.append([text])
        elif cut and text in ordered:
            parts.append([f"{text}[{name}]" for name in polynomial_names(len(levels[text]))])
        else:
            parts.append([f"{text}[{'T.' * cut}{level}]" for level in levels[text][cut:]])
    return [":".join(chosen[::-1]) for chosen in product(*reversed(parts))]


def fill(structure: Iterable[TermColumns], operands: Mapping[str, Any], n_rows: int) -> FloatArray:
    """Return the columns of plain terms, (n_rows, p), given the values of their operands."""
    columns = []
    for scoped in chain.from_iterable(term.products for term in structure):
        parts = [_columns(operands[text], cut) for text, cut in scoped[1]]
        columns += [
            reduce(np.multiply, chosen[::-1]) if chosen else np.ones(n_rows)
            for chosen in product(*reversed(parts))
        ]
    return np.array(columns).T if columns else np.empty((n_rows, 0))


def _columns(values: Any, cut: bool) -> list[FloatArray]:
    """Return the columns of an operand, (n_rows,) each; those of categories are 0 and 1.

    Contrasts of categories in an order are polynomial.
    """
    if isinstance(values, np.ndarray):
        return [values]
    codes = values.codes
    if cut and values.ordered:
        return list(polynomial_contrasts(len(values.categories))[codes].T)
    return [(codes == code).astype(np.float64) for code in range(cut, len(values.categories))]
