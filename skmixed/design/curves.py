"""Curves of a model: their ranges and the columns they are made of, learned from a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.model.spec import Term
from skmixed.design.formula import (
    NO_CONTEXT,
    FormulaMatrix,
    evaluate_expression,
    learn_terms,
    read_argument,
)
from skmixed.design.grammar.expressions import (
    NamedColumns,
    read_terms,
    text_names,
    variables,
)
from skmixed.design.grammar.smooths import SmoothTerm, read_smooth
from skmixed.design.records import stored
from skmixed.design.splines import SplineBasis
from skmixed.design.wording import row_numbers
from skmixed.exceptions import ExtrapolationWarning, warn

_LEAST_VALUES = 3  # of x: through two a straight line says all
_FIRST_ROWS = 100  # rows that are looked at first


@dataclass(frozen=True, slots=True)
class CurveColumns:
    """The names of the columns of one curve: of all rows, of a level, or times a number."""

    name: str  # such as "s(x)" and, of a level of a factor, "s(x, by=g)[a]"
    free: tuple[str, ...]  # of the columns without a penalty
    penalised: tuple[str, ...]


@stored
@dataclass(frozen=True, slots=True, eq=False)
class Smooth:
    """What was learned about a curve, or the curves of the levels of a factor."""

    term: SmoothTerm
    basis: SplineBasis
    by: FormulaMatrix | None  # the columns that multiply it, one a curve; None: one, of ones
    variables: tuple[str, ...]  # columns of the data that the argument needs
    context: Mapping[str, Any] = field(default_factory=dict)  # what its expressions may name

    @classmethod
    def learn(
        cls, term: SmoothTerm, table: NamedColumns, context: Mapping[str, Any] = NO_CONTEXT
    ) -> tuple[Smooth, FloatArray]:
        """Learn a curve from a table; return its columns for its rows, too, (n, n_columns).

        Raises ValueError where there is nothing to make a curve of.
        """
        names = text_names(table.columns)
        x = evaluate_expression(term.argument, table, names, context)
        by, times = None, None
        if term.by is not None:
            terms = _by_terms(term, names, context)
            by, times = learn_terms(terms, table, context)
        used = variables(term.argument, names)
        smooth = cls(term, _basis_of(term, x), by, used, dict(context))
        smooth._refuse_outside(x)
        return smooth, smooth._columns(x, times)

    def record(self) -> dict[str, Any]:
        """Return all that was learned as a record."""
        by = None if self.by is None else self.by.record()
        return {
            "text": self.term.text,
            "low": self.basis.low,
            "high": self.basis.high,
            "by": by,
            "variables": list(self.variables),
        }

    @classmethod
    def from_record(
        cls, record: Mapping[str, Any], context: Mapping[str, Any] = NO_CONTEXT
    ) -> Smooth:
        """Return the curve of a record. Raises ValueError for text that is none."""
        term, by = read_smooth(record["text"]), record["by"]
        basis = SplineBasis(term.k, float(record["low"]), float(record["high"]), term.is_cyclic)
        matrix = None if by is None else FormulaMatrix.from_record(by, context)
        return cls(term, basis, matrix, tuple(record["variables"]), dict(context))

    @property
    def is_given(self) -> bool:
        """Whether the range is said in the formula, and so the same for any rows."""
        return self.term.low is not None and self.term.high is not None

    @property
    def is_by_level(self) -> bool:
        """Whether every level of a factor has a curve."""
        return self.by is not None and self.by.has_categorical

    @property
    def curves(self) -> list[CurveColumns]:
        """The curves, whose columns stand one after the other, the free ones first."""
        text, line = self.term.text, [] if self.basis.is_cyclic else ["line"]
        numbers = [str(number) for number in range(1, self.basis.n_penalised + 1)]
        names, constant = [text], []
        if self.by is not None and self.is_by_level:
            names = [text + column[column.index("[") :] for column in self.by.names]
        elif self.by is not None:  # what varies with x has a level, too
            constant = [self.by.names[0]]
        return [
            CurveColumns(
                name,
                (*constant, *(f"{name}[{each}]" for each in line)),
                tuple(f"{name}[{number}]" for number in numbers),
            )
            for name in names
        ]

    def values(self, table: NamedColumns) -> tuple[FloatArray, FloatArray | None]:
        """Return what it is a curve of in other rows, (n,), and what multiplies it, (n, n_curves).

        The latter is None where nothing does.
        """
        x = evaluate_expression(self.term.argument, table, context=self.context)
        return x, None if self.by is None else self.by.matrix(table)

    def columns(self, table: NamedColumns) -> FloatArray:
        """Return the columns of other rows, (n, n_columns); warns of those beyond the range."""
        x, times = self.values(table)
        outside = self.basis.are_outside(x)
        if len(outside):
            warn(
                f"{self._is_outside(outside)}: the curve goes on as a straight line there",
                ExtrapolationWarning,
            )
        return self._columns(x, times)

    @property
    def free_variables(self) -> tuple[str, ...]:
        """The columns of the data that its mean over the range depends on."""
        return () if self.by is None or self.is_by_level else self.by.variables

    def means(self, table: NamedColumns) -> FloatArray:
        """Return the columns without a penalty, (n, n_free), where curves have their means.

        The mean of a curve over its range, its penalised columns and its line, is zero.
        """
        free = np.zeros((len(table), sum(len(curve.free) for curve in self.curves)))
        if self.by is not None and not self.is_by_level:
            free[:, :1] = self.by.matrix(table)
        return free

    def single(self, x: FloatArray) -> FloatArray:
        """Return the columns of one curve at values x, (n,), times one: (n, n_columns)."""
        has_constant = self.by is not None and not self.is_by_level
        return self.basis.columns(x, has_constant=has_constant)

    def check_further(self, table: NamedColumns) -> None:
        """Raise ValueError for rows that cannot be added to those it was learned from.

        That is, where it would learn another range from them, and for rows outside of a given one.
        """
        x = evaluate_expression(self.term.argument, table, context=self.context)
        if not self.is_given and _basis_of(self.term, x) != self.basis:
            raise ValueError(
                f"{self.term.text!r} has its range from the rows of the fit, so that rows cannot "
                f"be added later: say it, as in s({self.term.argument}, low={self.basis.low:g}, "
                f"high={self.basis.high:g})"
            )
        self._refuse_outside(x)

    def _refuse_outside(self, x: FloatArray) -> None:
        outside = self.basis.are_outside(x)
        if len(outside):
            raise ValueError(f"{self._is_outside(outside)}: give one that holds all rows of a fit")

    def _is_outside(self, rows: IntArray) -> str:
        return (
            f"'{self.term.argument}' is outside of the range of {self.term.text!r}, "
            f"{self.basis.low:g} to {self.basis.high:g}, in {row_numbers(rows)}"
        )

    def _columns(self, x: FloatArray, times: FloatArray | None) -> FloatArray:
        """Return the columns of rows with values x, (n,), that are multiplied, (n, n_curves)."""
        one = self.single(x)
        return one if times is None else np.hstack([one * column[:, None] for column in times.T])


def _by_terms(term: SmoothTerm, columns: tuple[str, ...], context: Mapping[str, Any]) -> Any:
    """Read what a curve is multiplied by; nothing is evaluated."""
    assert term.by is not None
    terms = read_terms(term.by, f"0 + {term.by}", columns, frozenset(context))
    if len(terms.products) != 1 or terms.learns:
        raise ValueError(
            f"'{term.text}' is by '{term.by}', which is not one column: numbers, or a factor"
        )
    return terms


def read_smooth_expressions(
    term: SmoothTerm, columns: tuple[str, ...], context: Mapping[str, Any]
) -> None:
    """Read what a curve is made of. Raises ValueError for whatever is refused."""
    read_argument(term.argument, f"the curve '{term.text}'", columns, context)
    if term.by is not None:
        _by_terms(term, columns, context)


def _basis_of(term: SmoothTerm, x: FloatArray) -> SplineBasis:
    """Return the basis of a curve of values x, (n,), which say its range if it does not."""
    low = float(x.min()) if term.low is None else term.low
    high = float(x.max()) if term.high is None else term.high
    if term.low is None or term.high is None:
        n_values = len(np.unique(x[:_FIRST_ROWS]))
        n_values = n_values if n_values >= _LEAST_VALUES else len(np.unique(x))
        if n_values < _LEAST_VALUES:
            what = "is the same in all rows" if n_values == 1 else f"has {n_values} values"
            raise ValueError(
                f"'{term.argument}' {what}: the curve {term.text!r} needs three at least"
            )
    if not low < high:
        raise ValueError(f"the range of {term.text!r} is from {low:g} to {high:g}")
    return SplineBasis(term.k, low, high, term.is_cyclic)


@dataclass(frozen=True, slots=True, eq=False)
class FittedCurve:
    """One curve of all rows, and the places of its columns in the layout."""

    name: str
    smooth: Smooth
    number: int  # among the curves of the levels of a factor
    free: tuple[int, ...]  # without a penalty: fixed columns
    penalised: tuple[int, ...]
    term: Term  # that the latter make

    def marked(self, table: NamedColumns) -> FloatArray:
        """Return what it is a curve of in rows, of a level those of that level, (m,)."""
        x, times = self.smooth.values(table)
        return x if times is None else x[times[:, self.number] != 0.0]
