"""How the columns of a formula are products of category codes and numbers.

This is read off what formulaic learned: a column of a term is the product of one column of each of
its expressions, of which the first varies fastest.
"""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np

from skmixed.core.model.fixed_part import FixedColumn, FixedPart
from skmixed.design.formula import INTERCEPT, FormulaMatrix
from skmixed.design.references import column_references

# An expression with its codes by level, (n_levels,), or with the name of a numeric column.
_Coded = tuple[str, Any]


def fixed_part_of(matrix: FormulaMatrix) -> FixedPart:
    """Describe the columns of a formula, in the user's names."""
    columns: list[FixedColumn] = []
    for term, scoped_terms, names in matrix.structure:
        label = INTERCEPT if str(term) == "1" else matrix.restore(str(term))
        for scoped in scoped_terms:
            coded = [_coded_columns(matrix, each, names) for each in scoped.factors]
            for product in itertools.product(*reversed(coded)):
                columns.append(_column(label, product[::-1]))
    levels = _variable_levels(matrix)
    numbers = tuple(name for name in matrix.variables if name not in levels)
    return FixedPart(tuple(columns), levels, numbers)


def _coded_columns(matrix: FormulaMatrix, scoped: Any, names: list[str]) -> list[_Coded]:
    """Return the columns of one expression of a term, given formulaic's scoped factor."""
    expression = scoped.factor.expr
    name = matrix.restore(expression)
    coding = matrix.coding(expression, reduced=bool(scoped.reduced))
    if coding is not None:
        return [(name, codes) for codes in coding.T]
    indices = dict.fromkeys(
        index
        for column in names
        for index in re.findall(re.escape(expression) + r"\[(.*?)\]", column)
    )
    return [(name, f"{name}[{index}]") for index in indices] or [(name, name)]


def _column(term: str, product: tuple[_Coded, ...]) -> FixedColumn:
    codes = {name: codes for name, codes in product if isinstance(codes, np.ndarray)}
    numbers = tuple(number for _, number in product if isinstance(number, str))
    return FixedColumn(term, codes, numbers)


def _variable_levels(matrix: FormulaMatrix) -> dict[str, tuple[Any, ...]]:
    """Return the levels of the columns of the data that serve as categories only."""
    found: dict[str, tuple[Any, ...]] = {}
    for expression, levels in matrix.levels.items():
        references = column_references(expression, matrix.variables)
        names = {reference.column for reference in references}
        plain = expression.strip("`") in names or all(r.as_label for r in references)
        if len(names) == 1 and plain and levels is not None:
            found[names.pop()] = tuple(levels)
    return found
