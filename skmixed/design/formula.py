"""Model matrices from expressions, learned from one table and replayed on others.

The expressions are formulaic's, with R's spellings translated. Function calls in them are Python
code and are run: an expression is to be trusted as much as the program it stands in.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skmixed.core.model.fixed_part import FixedColumn, FixedPart
from skmixed.design.expressions import Naming, column_references, name_columns, prepare, variables
from skmixed.design.materializing import (
    categorical_levels,
    function_names,
    intercept_position,
    replay,
)
from skmixed.design.wording import known_columns

INTERCEPT = "(Intercept)"  # name of the constant column


@dataclass(frozen=True, slots=True, eq=False)
class FormulaMatrix:
    """What was learned about the columns of one model matrix; it pickles and holds no rows.

    Columns of strings and of the category type are categorical, with treatment contrasts against
    the first level. Their levels are those that occur, sorted or in the order of the categories.
    Booleans are the numbers 0 and 1. ``C()`` makes any column categorical.
    """

    expression: str  # as it was given
    names: tuple[str, ...]  # of the columns; the constant is INTERCEPT
    has_intercept: bool
    variables: tuple[str, ...]  # the columns of the data that it needs
    # Whether a transform such as poly, scale or bs learned from all rows; levels do not count.
    is_stateful: bool
    has_categorical: bool
    _naming: Naming = field(repr=False)
    _spec: Any = field(repr=False)  # formulaic's ModelSpec

    def matrix(self, frame: pd.DataFrame) -> NDArray[np.float64]:
        """Return the columns for other rows, (n, p), exactly as they were learned.

        Raises ValueError for a missing column or value, a category not seen in learning, and a
        value at which the expression is not finite.
        """
        return replay(self._spec, prepare(frame, self._naming), self._naming)[1]

    @property
    def structure(self) -> list[tuple[Any, list[Any], list[str]]]:
        """The terms in formulaic's form, with their scoped terms and column names."""
        return [(term, list(scoped), list(names)) for term, scoped, names in self._spec.structure]

    def restore(self, text: str) -> str:
        """Return a text of formulaic with the columns' own names."""
        return self._naming.restore(text)

    def coding(self, expression: str, *, reduced: bool) -> NDArray[np.float64] | None:
        """Return the columns of a categorical expression by level, (n_levels, n_columns).

        The expression is in formulaic's spelling; None if it is numeric. `reduced` leaves the
        constant out of the columns' span.
        """
        kind, state = self._spec.encoder_state.get(expression, (None, {}))
        if kind is None or kind.value != "categorical":
            return None
        contrasts = state.get("contrasts")
        if contrasts is None:
            return np.eye(len(state.get("categories", ())))
        levels = list(contrasts.levels)
        if reduced and len(levels) == 1:
            return np.empty((1, 0))
        coding = contrasts.contrasts.get_coding_matrix(levels, reduced_rank=reduced)
        return np.asarray(coding, dtype=np.float64)

    def would_learn_the_same(self, frame: pd.DataFrame) -> bool:
        """Tell whether the transforms would learn the same from another table.

        They do where nothing is learned, and where the expression gives all there is to learn, as
        in ``bs(x, knots=[2, 4], lower_bound=0, upper_bound=9)``.
        """
        if not self.is_stateful:
            return True
        return self.learned_the_same_as(learn_matrix(self.expression, frame)[0])

    def learned_the_same_as(self, other: FormulaMatrix) -> bool:
        """Tell whether the same expression learned the same transforms from another table.

        Categories are not compared.
        """
        return _same_state(self._spec.transform_state, other._spec.transform_state)

    @property
    def categories(self) -> dict[str, tuple[Any, ...]]:
        """Levels of every categorical expression whose levels were learned."""
        return {
            self._naming.restore(expression): tuple(levels)
            for expression, levels in categorical_levels(self._spec).items()
            if levels is not None
        }


def _same_state(first: Any, second: Any) -> bool:
    """Compare what transforms learned: nested dictionaries of numbers and arrays."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return first.keys() == second.keys() and all(
            _same_state(first[key], second[key]) for key in first
        )
    return bool(np.array_equal(np.asarray(first), np.asarray(second)))


def learn_matrix(expression: str, frame: pd.DataFrame) -> tuple[FormulaMatrix, NDArray[np.float64]]:
    """Learn the columns of an expression from a table; return them for its rows too, (n, p).

    The expression is the right-hand side of a formula without bars and offsets, such as ``"open +
    agree * x"``; the constant is included unless ``0 +`` or ``- 1`` takes it out, and p may be 0.
    Raises ValueError for an expression that cannot be evaluated, a missing value, and a value at
    which the expression is not finite.
    """
    return _learn(expression, expression, frame)


def evaluate_expression(expression: str, frame: pd.DataFrame) -> NDArray[np.float64]:
    """Evaluate a response or an offset, such as ``"2 * Days^2"``: one number per row, (n,).

    The expression is arithmetic: ``+``, ``*`` and ``^`` mean what they mean within ``I()``. Raises
    ValueError where `learn_matrix` does, and if the result is categorical, has several columns, or
    uses no column of the table.
    """
    quoted = f"`{expression}`" if expression in frame.columns else expression
    if not variables(quoted, frame.columns):
        raise ValueError(
            f"'{expression}' uses no column of the data; {known_columns(frame.columns)}"
        )
    learned, values = _learn(expression, f"0 + I({quoted})", frame)
    if learned.has_categorical:
        raise ValueError(f"'{expression}' is categorical; a numeric expression is needed")
    if values.shape[1] != 1:
        raise ValueError(f"'{expression}' has {values.shape[1]} columns; one is needed")
    return values[:, 0]


def _learn(
    given: str, expression: str, frame: pd.DataFrame
) -> tuple[FormulaMatrix, NDArray[np.float64]]:
    naming = name_columns(given, expression, frame, function_names())
    spec, values = replay(naming.expression, prepare(frame, naming), naming)
    intercept = intercept_position(spec)
    names = [naming.restore(name) for name in spec.column_names]
    if intercept is not None:
        names[intercept] = INTERCEPT
    learned = FormulaMatrix(
        expression=given,
        names=tuple(names),
        has_intercept=intercept is not None,
        variables=naming.columns,
        is_stateful=any(spec.transform_state.values()),
        has_categorical=bool(categorical_levels(spec)),
        _naming=naming,
        _spec=spec,
    )
    return learned, values


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
    for expression, levels in matrix.categories.items():
        references = column_references(expression, matrix.variables)
        names = {reference.column for reference in references}
        plain = expression.strip("`") in names or all(r.as_label for r in references)
        if len(names) == 1 and plain:
            found[names.pop()] = levels
    return found
