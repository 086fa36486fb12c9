"""How the columns of a formula are made up of factor levels and numbers.

What formulaic learned says it: a column of a term is the product of one column of each of its
factors, of which the first varies fastest.
"""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np

from skmixed.core.fixed_part import FixedColumn, FixedPart
from skmixed.design.formula import INTERCEPT, FormulaMatrix
from skmixed.design.references import column_references

_Piece = tuple[str, Any]  # the name of a factor, and its codes or the name of a number


def fixed_part_of(matrix: FormulaMatrix) -> FixedPart:
    """Describe the columns of a formula.

    Parameters
    ----------
    matrix : FormulaMatrix
        What was learned about them.

    Returns
    -------
    FixedPart
        In the user's names.
    """
    columns: list[FixedColumn] = []
    for term, scoped_terms, names in matrix.structure:
        label = INTERCEPT if str(term) == "1" else matrix.restore(str(term))
        for scoped in scoped_terms:
            pieces = [_pieces(matrix, factor, names) for factor in scoped.factors]
            for product in itertools.product(*reversed(pieces)):
                columns.append(_column(label, product[::-1]))
    levels = _variable_levels(matrix)
    numbers = tuple(name for name in matrix.variables if name not in levels)
    return FixedPart(tuple(columns), levels, numbers)


def _pieces(matrix: FormulaMatrix, scoped_factor: Any, names: list[str]) -> list[_Piece]:
    """Return the columns of one factor of a term."""
    expression = scoped_factor.factor.expr
    name = matrix.restore(expression)
    coding = matrix.coding(expression, reduced=bool(scoped_factor.reduced))
    if coding is not None:
        return [(name, codes) for codes in coding.T]
    indices = dict.fromkeys(
        index
        for column in names
        for index in re.findall(re.escape(expression) + r"\[(.*?)\]", column)
    )
    return [(name, f"{name}[{index}]") for index in indices] or [(name, name)]


def _column(term: str, product: tuple[_Piece, ...]) -> FixedColumn:
    codes = {name: piece for name, piece in product if isinstance(piece, np.ndarray)}
    numbers = tuple(piece for _, piece in product if isinstance(piece, str))
    return FixedColumn(term, codes, numbers)


def _variable_levels(matrix: FormulaMatrix) -> dict[str, tuple[Any, ...]]:
    """Return the levels of the variables that only tell categories apart."""
    found: dict[str, tuple[Any, ...]] = {}
    for expression, levels in matrix.levels.items():
        references = column_references(expression, matrix.variables)
        names = {reference.column for reference in references}
        plain = expression.strip("`") in names or all(r.as_label for r in references)
        if len(names) == 1 and plain and levels is not None:
            found[names.pop()] = tuple(levels)
    return found
