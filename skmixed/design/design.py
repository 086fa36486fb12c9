"""From a table to the columns and codes that are summed, learned once and replayed on new rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skmixed.core.covariance import KINDS, Kind
from skmixed.core.fixed_part import FixedColumn, FixedPart
from skmixed.core.groups import GroupIndex
from skmixed.core.layout import CONSTANT, FactorLayout, Layout, Rows
from skmixed.core.spec import Term
from skmixed.design.coding import fixed_part_of
from skmixed.design.collecting import ColumnCollection, Expression
from skmixed.design.formula import INTERCEPT, FormulaMatrix, evaluate_expression
from skmixed.design.grouping import Grouping
from skmixed.design.source import Source
from skmixed.design.syntax import FormulaParts
from skmixed.design.tables import IntArray
from skmixed.design.terms import RandomTerm

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Design:
    """Everything learned about the columns of a model.

    Parameters
    ----------
    layout : Layout
        Columns [1, fixed, further slopes, y] and factors.
    fixed : tuple of int
        The fixed columns, 0 for the intercept.
    terms : tuple of Term
        The random-effects terms.
    grouping : Grouping
        The levels.
    offsets : tuple of str
        Expressions with coefficient one.
    """

    layout: Layout
    fixed: tuple[int, ...]
    terms: tuple[Term, ...]
    grouping: Grouping
    offsets: tuple[str, ...]
    _plain: tuple[str, ...]
    _expressions: tuple[Expression, ...]
    _fixed_matrix: FormulaMatrix | None = None
    _slopes: tuple[tuple[tuple[str, tuple[int, ...]], ...], ...] = ()

    @classmethod
    def learn(
        cls,
        source: Source,
        random: Sequence[RandomTerm],
        fixed: FormulaParts | None,
        *,
        fit_intercept: bool = True,
        covariance: str | Mapping[str, str] = "unstructured",
    ) -> tuple[Design, FloatArray, tuple[IntArray, ...]]:
        """Learn a design from a table.

        Parameters
        ----------
        source : Source
            The table.
        random : sequence of RandomTerm
            The random-effects terms.
        fixed : FormulaParts or None
            The fixed part; None for all numeric columns.
        fit_intercept : bool
            Whether there is an intercept, where no formula says so.
        covariance : str or mapping of str to str
            Covariance structure of all terms, or of those of each factor.

        Returns
        -------
        design : Design
            What was learned.
        columns : ndarray of shape (n_rows, n_columns)
            The columns of the layout; the last one, the response, is not filled in.
        codes : tuple of ndarray of int of shape (n_rows,)
            Level of every row, a factor each.
        """
        table = ColumnCollection(source)
        fixed_places = table.add_fixed(fixed, fit_intercept)
        slopes = [table.add_slopes(term) for term in random]
        keys = tuple(dict.fromkeys(term.group for term in random))
        kinds = _kinds(covariance, [term.name for term in random])
        grouping, codes = Grouping.learn(source.groups, keys)
        terms = tuple(
            Term(keys.index(term.group), (CONSTANT,) * term.intercept + places, kind)
            for term, places, kind in zip(random, slopes, kinds, strict=True)
        )
        layout = Layout((*table.names, "y"), _factor_layouts(keys, terms))
        offsets = () if fixed is None else fixed.offsets
        design = cls(
            layout,
            fixed_places,
            terms,
            grouping,
            offsets,
            table.plain,
            tuple(table.expressions),
            table.fixed_matrix,
            tuple(table.slopes),
        )
        return design, table.filled(), codes

    @property
    def fixed_names(self) -> tuple[str, ...]:
        """Names of the fixed columns, the intercept among them."""
        return tuple(self.layout.columns[place] for place in self.fixed)

    @property
    def has_intercept(self) -> bool:
        """Whether the constant is a fixed column."""
        return CONSTANT in self.fixed

    @property
    def fixed_part(self) -> FixedPart:
        """What the fixed columns stand for; without a formula every column is a term."""
        if self._fixed_matrix is not None:
            return fixed_part_of(self._fixed_matrix)
        names = [self.layout.columns[place] for place in self.fixed if place != CONSTANT]
        columns = [FixedColumn(name, {}, (name,)) for name in names]
        constant = [FixedColumn(INTERCEPT)] if self.has_intercept else []
        return FixedPart((*constant, *columns), {}, tuple(names))

    @property
    def slopes(self) -> tuple[tuple[tuple[str, tuple[int, ...]], ...], ...]:
        """For every random term the slopes as they were written, with their columns' places."""
        return self._slopes

    def fixed_matrix(self, frame: pd.DataFrame) -> FloatArray:
        """Make the fixed columns for rows that have the variables of the fixed part alone.

        Parameters
        ----------
        frame : DataFrame of shape (n, ...)
            A column for every variable of `fixed_part`.

        Returns
        -------
        ndarray of shape (n, n_fixed)
            The fixed columns, the constant among them.
        """
        if self._fixed_matrix is not None:
            return self._fixed_matrix.matrix(frame)
        names = list(self.fixed_part.numbers)
        values = frame[names].to_numpy(dtype=np.float64)
        constant = np.ones((len(frame), int(self.has_intercept)))
        return np.concatenate([constant, values], axis=1)

    @property
    def uses_formulas(self) -> bool:
        """Whether some column is made by a formula."""
        return bool(self._expressions or self.offsets)

    @property
    def learns_from_rows(self) -> bool:
        """Whether some column depends on the rows it was learned from, not on its own row only."""
        return any(
            expression.matrix.is_stateful or expression.matrix.has_categorical
            for expression in self._expressions
        )

    @property
    def matrices(self) -> tuple[FormulaMatrix, ...]:
        """What was learned by the formulas that make columns."""
        return tuple(expression.matrix for expression in self._expressions)

    def rows(
        self, columns: FloatArray, codes: tuple[IntArray, ...], weights: FloatArray | None
    ) -> Rows:
        """Return rows ready to be summed.

        Parameters
        ----------
        columns : ndarray of shape (n, n_columns)
            The columns of the layout, the response filled in.
        codes : tuple of ndarray of int of shape (n,)
            Level of every row, a factor each.
        weights : ndarray of shape (n,) or None
            Positive weights.

        Returns
        -------
        Rows
            With the levels of this design.
        """
        indexes = tuple(factor.index for factor in self.grouping.factors)
        return Rows(columns, codes, indexes, weights)

    def new_rows(self, source: Source, y: FloatArray, weights: FloatArray | None) -> Rows:
        """Return other rows, ready to be summed under this design.

        Parameters
        ----------
        source : Source
            The rows.
        y : ndarray of shape (n_rows,)
            Their response.
        weights : ndarray of shape (n_rows,) or None
            Positive weights.

        Returns
        -------
        Rows
            With the levels that occur among them, known ones and new.

        Raises
        ------
        ValueError
            If a transform in a formula would learn something else from these rows, so that the
            columns would not be those of a fit to all rows together.
        """
        for expression in self._expressions:
            if not expression.matrix.learns_the_same(source.pandas):
                raise ValueError(
                    f"{expression.matrix.expression!r} has a transform that learns from all rows "
                    "at once, so that rows cannot be added later: make its columns beforehand, or "
                    "say all it would learn, as in bs(x, knots=[...], lower_bound=..., "
                    "upper_bound=...)"
                )
        columns = np.column_stack([self.columns(source), y])
        offset = self.offset(source)
        if offset is not None:
            columns[:, -1] -= offset
        grouping, codes = Grouping.learn(source.groups, [f.key for f in self.layout.factors])
        indexes = tuple(factor.index for factor in grouping.factors)
        return Rows(columns, codes, indexes, weights)

    def with_levels(self, indexes: Sequence[GroupIndex]) -> Design:
        """Return the same design with other levels, an index a factor."""
        return replace(self, grouping=Grouping.of_levels(indexes))

    def columns(self, source: Source) -> FloatArray:
        """Make the columns of the layout for new rows, without the response.

        Parameters
        ----------
        source : Source
            The rows.

        Returns
        -------
        ndarray of shape (n_rows, n_columns - 1)
            The columns.
        """
        columns = np.empty((source.n_rows, len(self.layout.columns) - 1))
        columns[:, CONSTANT] = 1.0
        if self._plain and source.numeric is not None:
            columns[:, 1 : 1 + len(self._plain)] = source.numeric
        for expression in self._expressions:
            expression.fill(columns, source.pandas)
        return columns

    def offset(self, source: Source) -> FloatArray | None:
        """Evaluate the offsets.

        Parameters
        ----------
        source : Source
            The rows.

        Returns
        -------
        ndarray of shape (n_rows,) or None
            Their sum; None where the model has none.
        """
        if not self.offsets:
            return None
        total = np.zeros(source.n_rows)
        for expression in self.offsets:
            total += evaluate_expression(expression, source.pandas)
        return total


def _kinds(covariance: str | Mapping[str, str], factors: Sequence[str]) -> list[Kind]:
    """Return the covariance structure of every term."""
    if not isinstance(covariance, str):
        unknown = sorted(set(covariance) - set(factors))
        if unknown:
            raise ValueError(
                f"covariance names factors {unknown} that the model does not have; "
                f"it has {sorted(set(factors))}"
            )
    wanted = [
        covariance if isinstance(covariance, str) else covariance.get(name, "unstructured")
        for name in factors
    ]
    known = {kind: kind for kind in KINDS}
    for kind in wanted:
        if kind not in known:
            raise ValueError(f"covariance {kind!r} is not one of {', '.join(map(repr, KINDS))}")
    return [known[kind] for kind in wanted]  # type: ignore[index]


def _factor_layouts(
    keys: Sequence[tuple[str, ...]], terms: Sequence[Term]
) -> tuple[FactorLayout, ...]:
    layouts = []
    for number, key in enumerate(keys):
        slopes = {column for term in terms if term.factor == number for column in term.columns} - {
            CONSTANT
        }
        layouts.append(FactorLayout(key, (CONSTANT, *sorted(slopes))))
    return tuple(layouts)
