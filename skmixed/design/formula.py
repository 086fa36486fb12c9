"""Model matrices from expressions, learned from one table and replayed on others.

The expressions are those of formulaic, with R's spellings translated. Their function calls are
Python code and are evaluated: an expression is as trusted as the program it stands in.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skmixed.design.materializing import (
    categorical_factors,
    function_names,
    intercept_position,
    replay,
)
from skmixed.design.naming import Naming, name_columns, prepare
from skmixed.design.references import variables
from skmixed.design.wording import known_columns

INTERCEPT = "(Intercept)"
"""Name of the constant column."""


@dataclass(frozen=True, slots=True, eq=False)
class FormulaMatrix:
    """What was learned about the columns of one model matrix.

    Columns of strings and of the category type are categorical, with treatment contrasts against
    the first level. The levels are those seen when learning, sorted, or in the order of the
    categories. Columns of booleans are numbers, 0 and 1. ``C()`` makes any column categorical. It
    pickles, and holds no rows.

    Parameters
    ----------
    expression : str
        The expression as it was given.
    names : tuple of str
        The names of the columns; the constant is ``"(Intercept)"``.
    has_intercept : bool
        Whether the constant is among the columns.
    variables : tuple of str
        The columns of the data it needs.
    is_stateful : bool
        Whether a transform learned from all rows at once, such as ``poly``, ``scale`` or ``bs``.
        Learning the levels of a categorical column does not count.
    has_categorical : bool
        Whether a column is categorical.
    """

    expression: str
    names: tuple[str, ...]
    has_intercept: bool
    variables: tuple[str, ...]
    is_stateful: bool
    has_categorical: bool
    _naming: "Naming" = field(repr=False)
    _spec: Any = field(repr=False)

    def matrix(self, frame: pd.DataFrame) -> NDArray[np.float64]:
        """Build the columns for other rows, exactly as they were learned.

        Parameters
        ----------
        frame : DataFrame
            A table with at least `variables`, in any order.

        Returns
        -------
        ndarray of shape (n, p)
            One row for every row of `frame`, in its order.

        Raises
        ------
        ValueError
            For a missing column, a missing value, a category that was not seen when learning, and
            a value at which the expression is not finite.
        """
        return replay(self._spec, prepare(frame, self._naming), self._naming)[1]

    @property
    def structure(self) -> list[tuple[Any, list[Any], list[str]]]:
        """The terms as formulaic has them, with their scoped terms and names of columns."""
        return [(term, list(scoped), list(names)) for term, scoped, names in self._spec.structure]

    @property
    def levels(self) -> dict[str, list[Any] | None]:
        """Levels of every categorical expression, in the user's names; None where it has none."""
        found = categorical_factors(self._spec)
        return {self.restore(factor): levels for factor, levels in found.items()}

    def restore(self, text: str) -> str:
        """Return a text of formulaic with the columns' own names."""
        return self._naming.restore(text)

    def coding(self, factor: str, *, reduced: bool) -> NDArray[np.float64] | None:
        """Return the columns of a categorical factor at each of its levels.

        Parameters
        ----------
        factor : str
            The factor, in formulaic's words.
        reduced : bool
            Whether the constant is left out of what the columns span.

        Returns
        -------
        ndarray of shape (n_levels, n_columns) or None
            None if the factor is numeric.
        """
        kind, state = self._spec.encoder_state.get(factor, (None, {}))
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

    def learns_the_same(self, frame: pd.DataFrame) -> bool:
        """Tell whether the transforms would learn the same from another table.

        Parameters
        ----------
        frame : DataFrame
            A table with at least `variables`.

        Returns
        -------
        bool
            True where nothing is learned, and where the expression gives all there is to learn,
            as ``bs(x, knots=[2, 4], lower_bound=0, upper_bound=9)`` does.
        """
        if not self.is_stateful:
            return True
        return self.knows_the_same(learn_matrix(self.expression, frame)[0])

    def knows_the_same(self, other: "FormulaMatrix") -> bool:
        """Tell whether the transforms learned the same from another table.

        Parameters
        ----------
        other : FormulaMatrix
            The same expression, learned elsewhere.

        Returns
        -------
        bool
            Categories are not compared.
        """
        return _same_state(self._spec.transform_state, other._spec.transform_state)

    @property
    def categories(self) -> dict[str, tuple[Any, ...]]:
        """The levels of every categorical factor that were learned, by its expression."""
        return {
            self._naming.restore(factor): tuple(levels)
            for factor, levels in categorical_factors(self._spec).items()
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
    """Learn the columns of an expression from a table, and build them for its rows.

    Parameters
    ----------
    expression : str
        The right-hand side of a formula, without bars and offsets: ``"open + agree * x"``. The
        constant is included unless it is taken out by ``0 +`` or ``- 1``.
    frame : DataFrame
        A table without missing values in the columns that the expression uses.

    Returns
    -------
    FormulaMatrix
        What was learned.
    ndarray of shape (n, p)
        One row for every row of `frame`, in its order; p may be 0.

    Raises
    ------
    ValueError
        For an expression that cannot be evaluated, a missing value, and a value at which the
        expression is not finite.
    """
    return _learn(expression, expression, frame)


def evaluate_expression(expression: str, frame: pd.DataFrame) -> NDArray[np.float64]:
    """Evaluate a response or an offset: one number for every row.

    Parameters
    ----------
    expression : str
        Such as ``"Reaction"``, ``"log1p(total.fruits)"`` or ``"2 * Days^2"``. It is arithmetic:
        ``+``, ``*`` and ``^`` have the meanings they have within ``I()``.
    frame : DataFrame
        A table without missing values in the columns that the expression uses.

    Returns
    -------
    ndarray of shape (n,)
        The values.

    Raises
    ------
    ValueError
        Where `learn_matrix` raises it, and when the result is categorical, has several columns,
        or uses no column of the table.
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
        has_categorical=bool(categorical_factors(spec)),
        _naming=naming,
        _spec=spec,
    )
    return learned, values
