"""From a table to the columns and codes that are summed, learned once and replayed on new rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skmixed.core.covariance import KINDS, Kind
from skmixed.core.fixed_part import FixedColumn, FixedPart
from skmixed.core.groups import GroupIndex
from skmixed.core.layout import CONSTANT, FactorLayout, Layout, Rows
from skmixed.core.spec import Term
from skmixed.design.coding import fixed_part_of
from skmixed.design.formula import INTERCEPT, FormulaMatrix, evaluate_expression, learn_matrix
from skmixed.design.grouping import Grouping
from skmixed.design.references import uses_all_columns
from skmixed.design.syntax import FormulaParts
from skmixed.design.tables import IntArray, to_pandas
from skmixed.design.terms import RandomTerm

FloatArray = NDArray[np.float64]

_TOGETHER = 3  # so many columns are copied faster in one go than one by one


@dataclass(frozen=True, eq=False)
class Source:
    """Rows as they come: what a design is learned from, and replayed on.

    Parameters
    ----------
    n_rows : int
        Number of rows.
    names : tuple of str
        Names of the columns of `numeric`.
    numeric : ndarray of shape (n_rows, len(names)) or None
        The columns that are no grouping columns; None where formulas pick the columns.
    frame : data frame or None
        The table formulas are evaluated on.
    groups : mapping of str to Series or array of shape (n_rows,)
        The grouping columns.
    """

    n_rows: int
    names: tuple[str, ...] = ()
    numeric: FloatArray | None = None
    frame: Any = None
    groups: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def pandas(self) -> pd.DataFrame:
        """The table as one of pandas."""
        if self.frame is None:
            raise ValueError("a formula picks columns by name: X must be a data frame")
        return to_pandas(self.frame)


@dataclass(frozen=True, slots=True, eq=False)
class _Expression:
    """Columns of a formula and where they stand among the columns of the layout.

    Parameters
    ----------
    matrix : FormulaMatrix
        How to make them.
    chosen : tuple of int
        Which of its columns are wanted.
    places : tuple of int
        Where each stands.
    """

    matrix: FormulaMatrix
    chosen: tuple[int, ...]
    places: tuple[int, ...]

    def fill(self, columns: FloatArray, frame: pd.DataFrame) -> None:
        """Write the columns where they stand."""
        columns[:, list(self.places)] = self.matrix.matrix(frame)[:, list(self.chosen)]


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
    _expressions: tuple[_Expression, ...]
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
        table = _Columns(source)
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


class _Columns:
    """The columns of a layout while they are being collected."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.names: list[str] = [INTERCEPT]
        self.values: list[FloatArray] = [np.ones(source.n_rows)]
        self.plain: tuple[str, ...] = ()
        self.expressions: list[_Expression] = []
        self.fixed_matrix: FormulaMatrix | None = None
        self.slopes: list[tuple[tuple[str, tuple[int, ...]], ...]] = []

    def add_fixed(self, fixed: FormulaParts | None, fit_intercept: bool) -> tuple[int, ...]:
        """Add the fixed columns; return the places of all of them."""
        if fixed is not None:
            table = self.source.pandas
            if uses_all_columns(fixed.fixed):  # "." is every column that is no grouping column
                table = table.drop(columns=[n for n in self.source.groups if n in table])
            matrix, values = learn_matrix(fixed.fixed, table)
            self.fixed_matrix = matrix
            return self._add_expression(matrix, values)
        assert self.source.numeric is not None
        self.plain = self.source.names
        self.names += self.source.names
        self.values += list(self.source.numeric.T)
        places = tuple(range(1, len(self.names)))
        return (CONSTANT, *places) if fit_intercept else places

    def add_slopes(self, term: RandomTerm) -> tuple[int, ...]:
        """Add the columns whose effects vary, but for the constant; return their places."""
        if all(slope.strip("`") in self.plain for slope in term.slopes):
            places = tuple(1 + self.plain.index(slope.strip("`")) for slope in term.slopes)
            self.slopes.append(tuple((self.names[place], (place,)) for place in places))
            return places
        if self.source.frame is None:
            missing = [slope for slope in term.slopes if slope.strip("`") not in self.plain]
            raise ValueError(
                f"random slopes {missing} of {term.name!r} are not among the columns "
                f"{list(self.plain)}; expressions need X to be a data frame"
            )
        matrix, values = learn_matrix(term.expression, self.source.pandas)
        places = self._add_expression(matrix, values)
        slopes: dict[str, tuple[int, ...]] = {}
        for column, place in zip(fixed_part_of(matrix).columns, places, strict=True):
            if place != CONSTANT:
                slopes[column.term] = (*slopes.get(column.term, ()), place)
        self.slopes.append(tuple(slopes.items()))
        return tuple(place for place in places if place != CONSTANT)

    def _add_expression(self, matrix: FormulaMatrix, values: FloatArray) -> tuple[int, ...]:
        places = [self._place(name, values[:, j]) for j, name in enumerate(matrix.names)]
        wanted = [j for j, place in enumerate(places) if place != CONSTANT]
        if wanted:
            chosen = tuple(places[j] for j in wanted)
            self.expressions.append(_Expression(matrix, tuple(wanted), chosen))
        return tuple(places)

    def _place(self, name: str, values: FloatArray) -> int:
        """Return where a column stands, adding it unless it is there."""
        if name in self.names:
            place = self.names.index(name)
            if np.array_equal(self.values[place], values):
                return place
            name = f"{name} [{len(self.names)}]"
        self.names.append(name)
        self.values.append(values)
        return len(self.names) - 1

    def filled(self) -> FloatArray:
        """Return all columns side by side, with room for the response."""
        columns = np.empty((self.source.n_rows, len(self.names) + 1))
        first = 0
        if len(self.plain) >= _TOGETHER and self.source.numeric is not None:
            columns[:, CONSTANT] = 1.0
            first = 1 + len(self.plain)
            columns[:, 1:first] = self.source.numeric
        for place in range(first, len(self.values)):
            columns[:, place] = self.values[place]
        return columns


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
