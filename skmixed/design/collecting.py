"""The columns of a design while they are being collected from a table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from skmixed.core.linalg import FloatArray
from skmixed.core.sums.layout import CONSTANT
from skmixed.design.coding import fixed_part_of
from skmixed.design.formula import INTERCEPT, FormulaMatrix, learn_matrix
from skmixed.design.references import uses_all_columns
from skmixed.design.source import Source
from skmixed.design.syntax import FormulaParts
from skmixed.design.terms import RandomTerm

_BLOCK_COPY = 3  # numeric columns from which on one block copy is faster than a copy of each


@dataclass(frozen=True, slots=True, eq=False)
class FormulaColumns:
    """Columns of a formula and their places among the columns of the layout."""

    matrix: FormulaMatrix
    chosen: tuple[int, ...]  # which columns of the matrix are wanted
    places: tuple[int, ...]  # where each of them stands in the layout

    def fill(self, columns: FloatArray, frame: pd.DataFrame) -> None:
        """Write the chosen columns into `columns`, (n_rows, >= n_columns), in place."""
        columns[:, list(self.places)] = self.matrix.matrix(frame)[:, list(self.chosen)]


class ColumnCollection:
    """The columns of a layout while they are being collected."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.names: list[str] = [INTERCEPT]
        self.values: list[FloatArray] = [np.ones(source.n_rows)]
        self.plain: tuple[str, ...] = ()
        self.expressions: list[FormulaColumns] = []
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
        """Add the columns that vary over levels; return their places, the constant left out."""
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
            self.expressions.append(FormulaColumns(matrix, tuple(wanted), chosen))
        return tuple(places)

    def _place(self, name: str, values: FloatArray) -> int:
        """Return the place of a column, added unless one of this name and these values is there.

        A column of other values under the same name gets its place in brackets after the name.
        """
        if name in self.names:
            place = self.names.index(name)
            if np.array_equal(self.values[place], values):
                return place
            name = f"{name} [{len(self.names)}]"
        self.names.append(name)
        self.values.append(values)
        return len(self.names) - 1

    def filled(self) -> FloatArray:
        """Return the columns side by side, (n_rows, n_columns + 1), the last one left for y."""
        columns = np.empty((self.source.n_rows, len(self.names) + 1))
        first = 0
        if len(self.plain) >= _BLOCK_COPY and self.source.numeric is not None:
            columns[:, CONSTANT] = 1.0
            first = 1 + len(self.plain)
            columns[:, 1:first] = self.source.numeric
        for place in range(first, len(self.values)):
            columns[:, place] = self.values[place]
        return columns
